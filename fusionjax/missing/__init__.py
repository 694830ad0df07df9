"""What to do where a modality is missing: siblings with one signature, on features and presence.

| file           | P(y | F_S) is                                                                  |
|----------------|--------------------------------------------------------------------------------|
| `drop.py`      | the log-linear model without the term, and an intercept for each pattern       |
| `gaussian.py`  | the exact marginal of a Gaussian feature model: each subset has its own θ^S    |
| `average.py`   | a model of complete records, averaged over P(F_missing | F_observed)           |
| `absence.py`   | without the term, and with evidence for the absence itself                     |
| `token.py`     | a learned token in its place                                                   |
| `indicator.py` | 0 in its place, and a column that says so, on the records as they came         |
| `mean.py`      | the training mean in its place                                                 |
| `zero.py`      | 0 in its place                                                                 |

Each is `fit(key, observations, bias) -> Params` and `log_prob(params, bias, features, presence)`.
`observations` are the records as they came; a sibling that wants modality dropout does it itself.
Presence is an array, so that one compilation serves every pattern: `every_pattern` is all of them.
All but `absence`, `token` and `indicator`, who read something into a gap, give the prior to a
record that has nothing.
"""
