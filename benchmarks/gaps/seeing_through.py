"""Over many splits: accuracy and calibration of every method, and AUROC for the swapped view."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks.gaps import conflict, methods
from benchmarks.gaps.conflict import Fitted
from benchmarks.variants.published import CONFLICT, stated
from experiments.cards import multiview
from fusionjax import metrics

RESAMPLES = 500


def run(
    source: Path, name: str, seeds: int, landmarks: int, steps: int = 250, folds: int = 3
) -> dict[str, Any]:
    """One data set under the protocol, on `seeds` random splits; JSON values."""
    data = multiview.read(source, name)
    fits = (conflict.fitted(data, seed, landmarks, folds, steps) for seed in range(seeds))
    splits = [_split(fit) for fit in fits]
    return {
        "data": name,
        "seeds": seeds,
        "landmarks": landmarks,
        "steps": steps,
        "shown": _table(splits, "shown"),
        "clean": _table(splits, "clean"),
        "swapped_view_auroc": _spread([s["auroc"] for s in splits]),
        "swapped_view_auroc_without_noisy_views": _spread([s["auroc_quiet"] for s in splits]),
        "pi": _spread([float(s["pi"][0]) for s in splits]),
        "pi_fitted_on_clean_records": _spread([float(s["pi_clean"][0]) for s in splits]),
        "joint_model_takes_part": float(np.mean([s["joint"] for s in splits])),
        "clean_accuracy_less_the_best_rival": _paired(splits, "clean"),
        "shown_accuracy_less_the_best_rival": _paired(splits, "shown"),
        "published_accuracy_shown": stated(name, CONFLICT),
    }


def _split(fit: Fitted) -> dict[str, Any]:
    """One split: probabilities of every method on both test sets, and the mixture's findings."""
    mixed = methods.mixture(fit)
    ways = methods.rivals(fit) | {"mixture": partial(methods.log_prob, fit, mixed)}
    doubt, swapped = methods.doubt(fit, mixed, fit.shown), fit.spoilt.swapped
    quiet = ~fit.spoilt.noisy
    kept: dict[str, Any] = {
        "auroc": float(metrics.binary_auroc(doubt.ravel(), swapped.ravel())),
        "auroc_quiet": float(metrics.binary_auroc(doubt[quiet], swapped[quiet])),
        "pi": np.asarray(mixed.trust.pi),
        "pi_clean": np.asarray(methods.on_clean(fit).pi),
        "joint": mixed.joint,
        "test": fit.test,
        "label": np.asarray(fit.clean.onehot).argmax(axis=1),
    }
    for name, seen in (("clean", fit.clean), ("shown", fit.shown)):
        said = {way: log_prob(seen) for way, log_prob in ways.items()}
        kept[name] = {way: np.exp(each.astype(float)) for way, each in said.items()}
        kept[f"{name} scores"] = {w: methods.scores(each, seen) for w, each in said.items()}
    return kept


def _table(splits: list[dict[str, Any]], test: str) -> dict[str, dict[str, Any]]:
    """Each method's accuracy, ECE and NLL: mean and deviation over splits."""
    each = [split[f"{test} scores"] for split in splits]
    return {
        way: {metric: _spread([one[way][metric] for one in each]) for metric in each[0][way]}
        for way in each[0]
    }


def _paired(splits: list[dict[str, Any]], test: str) -> dict[str, Any]:
    """Mixture less the rival of the highest mean accuracy, with the interval over records.

    A record stands in the test sets of several splits: it is resampled with all of them.
    """
    accuracy = {
        way: np.mean([split[f"{test} scores"][way]["accuracy"] for split in splits])
        for way in methods.RIVALS
    }
    best = max(accuracy, key=accuracy.__getitem__)
    label, group = (np.concatenate([split[key] for split in splits]) for key in ("label", "test"))
    ours, theirs = (_stacked(splits, test, way) for way in ("mixture", best))
    gap = metrics.difference(metrics.accuracy, ours, theirs, label, group, 0, RESAMPLES)
    return {"rival": best, **{key: round(float(v), 5) for key, v in gap._asdict().items()}}


def _stacked(splits: list[dict[str, Any]], test: str, way: str) -> Float[np.ndarray, "row class"]:
    return np.concatenate([split[test][way] for split in splits])


def _spread(values: Iterable[float]) -> dict[str, float]:
    held = np.array(list(values))
    deviation = held.std(ddof=1) if len(held) > 1 else 0.0
    return {"mean": round(float(held.mean()), 4), "deviation": round(float(deviation), 4)}
