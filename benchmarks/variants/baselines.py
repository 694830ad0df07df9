"""scikit-learn on the same features side by side, with as many trials and the same validation."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from benchmarks.variants.features import Data
from benchmarks.variants.heads import Budget, Cost, Hyper, Outcome
from fusionjax import baselines

Found = tuple[Callable[[np.ndarray], np.ndarray], np.ndarray, int]


def logistic_regression(data: Data, scenarios: np.ndarray, budget: Budget) -> Outcome:
    """Ridge logistic regression; 0 and a presence bit stand for a missing modality.

    Its one dial, the penalty, has a grid of its own: two random draws of it could miss.
    """

    def fit(seed: int, x: np.ndarray, y: np.ndarray, vx: np.ndarray, vy: np.ndarray) -> Found:
        model = baselines.logistic(x, y, vx, vy, classes=len(data.classes))
        return (
            (lambda rows: baselines.log_prob(model, rows)),
            np.full(budget.trials, np.nan),
            (model.coef.size + model.intercept.size),
        )

    return _run(data, scenarios, fit, empty=0.0)


def gradient_boosting(data: Data, scenarios: np.ndarray, budget: Budget) -> Outcome:
    """Histogram gradient boosting, which reads NaN as missing; 100 trees a class at most."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    boosted: Any = HistGradientBoostingClassifier
    rng = np.random.default_rng(0)
    draws = [
        {
            "learning_rate": 10 ** rng.uniform(-2, -0.3),
            "max_leaf_nodes": int(rng.integers(3, 32)),
            "l2_regularization": 10 ** rng.uniform(-3, 1),
        }
        for _ in range(budget.trials)
    ]

    def fit(seed: int, x: np.ndarray, y: np.ndarray, vx: np.ndarray, vy: np.ndarray) -> Found:
        floor = 1 / (len(y) + len(data.classes))

        def log_prob(model: Any, rows: np.ndarray) -> np.ndarray:
            prob = np.full((len(rows), len(data.classes)), floor)
            prob[:, model.classes_] = np.maximum(model.predict_proba(rows), floor)
            return np.log(prob / prob.sum(axis=1, keepdims=True))

        models = [
            boosted(early_stopping=False, random_state=seed, **one).fit(x, y) for one in draws
        ]
        losses = np.array([-log_prob(m, vx)[np.arange(len(vy)), vy].mean() for m in models])
        best: Any = models[int(losses.argmin())]
        leaves = sum(tree.get_n_leaf_nodes() for stage in best._predictors for tree in stage)
        return (lambda rows: log_prob(best, rows)), losses, leaves

    return _run(data, scenarios, fit, empty=np.nan)


Fit = Callable[[Data, np.ndarray, Budget], Outcome]
BASELINES: dict[str, Fit] = {
    "logistic regression": logistic_regression,
    "gradient boosting": gradient_boosting,
}


def _run(
    data: Data,
    scenarios: Bool[np.ndarray, "scenario record modality"],
    fit: Callable[..., Found],
    empty: float,
) -> Outcome:
    valid, test, losses, sizes, seconds = [], [], [], [], np.zeros(2)
    for seed in range(len(data.bias)):
        here = data.presence

        def rows_of(split: Any, shown: np.ndarray, seed: int = seed) -> np.ndarray:
            return _side_by_side(data, seed, split.index[seed], shown, empty)

        kept = [s.index[seed][s.there[seed]] for s in (data.train, data.validation)]
        x, vx = (_side_by_side(data, seed, rows, here, empty) for rows in kept)
        started = time.perf_counter()
        predict, loss, size = fit(seed, x, data.label[kept[0]], vx, data.label[kept[1]])
        fitted = time.perf_counter()
        valid.append(predict(rows_of(data.validation, here)))
        test.append([predict(rows_of(data.test, here & shown)) for shown in scenarios])
        seconds += [fitted - started, time.perf_counter() - fitted]
        losses.append(loss)
        sizes.append(size)
    asked = data.test.index.size * len(scenarios) + data.validation.index.size
    train, predict = round(seconds[0], 2), seconds[1] / asked
    cost = Cost(int(np.mean(sizes)), math.nan, 0.0, train, predict, math.nan)
    unknown = Hyper(*[np.full(len(valid), np.nan)] * 3)
    return Outcome(
        np.asarray(valid, np.float32),
        np.asarray(test, np.float32),
        unknown,
        np.asarray(losses),
        cost,
    )


def _side_by_side(
    data: Data, seed: int, rows: np.ndarray, shown: np.ndarray, empty: float
) -> Float[np.ndarray, "row column"]:
    blocks = [
        np.where(shown[rows, i, None], f.vector[seed][rows, 1:], empty)
        for i, f in enumerate(data.features)
    ]
    return np.concatenate([*blocks, shown[rows]], axis=1)
