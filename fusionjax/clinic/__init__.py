"""The synthetic clinic: files of patients whose true P(y | X_S) is known for every subset S.

`world` is the probability model; `image`, `note`, `sound` and `biomarkers` render findings as what
a hospital stores and read them back; `write` makes the folder.
"""
