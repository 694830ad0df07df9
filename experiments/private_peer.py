"""diffprivlib's logistic regression, in an environment of its own: a peer for `private`.

    PEER/bin/python experiments/private_peer.py IN.npz OUT.npz

IN holds train, label, test, norm and epsilon; OUT gets prob [test record, class]. It promises pure
ε-differential privacy of a record. Imports nothing of the project, for PEER has it not.
"""

import sys
import warnings
from importlib import import_module

import numpy as np


def main(source: str, target: str) -> None:
    """Fit to the arrays in `source` and write the probabilities to `target`."""
    given = np.load(source)
    regression = import_module("diffprivlib.models").LogisticRegression
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = regression(epsilon=float(given["epsilon"]), data_norm=float(given["norm"]))
        model.fit(given["train"], given["label"])
        np.savez(target, prob=model.predict_proba(given["test"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
