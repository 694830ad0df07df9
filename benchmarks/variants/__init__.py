"""What `benchmarks.fusion_variants` is made of, in the order in which a comparison runs.

| file           | does                                                                         |
|----------------|------------------------------------------------------------------------------|
| `features.py`  | a card to the features of every record, for every seed, kept by content hash |
| `heads.py`     | a variant to its parameters: all seeds and all trials of the search together |
| `baselines.py` | logistic regression and gradient boosting on the same features               |
| `packages.py`  | fusions of iMML and fusilli on the same features, in a Python of their own   |
| `cells.py`     | what a contender predicted, one file each, so that a run can go on           |
| `scores.py`    | temperature, metrics, paired intervals, Holm's correction, ranks             |
| `summary.py`   | all of that as plain values: `result.json` and `scores.csv`                  |
| `figures.py`   | the ranking, accuracy against cost, calibration, robustness                  |
| `published.py` | what others published on the cards, by protocols of their own                |
| `page.py`      | one HTML page of it all                                                      |
"""
