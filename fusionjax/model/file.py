"""A model as a folder of two files, and back: see `archive`."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fusionjax import archive, preprocess
from fusionjax import card as cards
from fusionjax.calibrate.by_pattern import ByPattern, Trial
from fusionjax.conformal import Limits
from fusionjax.errors import CardError, ModelError
from fusionjax.model.nouns import Map, Member, Model
from fusionjax.posterior import Certificate
from fusionjax.triage import Cases, Distance

SCHEMA = 3
CALIBRATION = ("patterns", "scale", "shift", "nll", "records", "natural")


def save(model: Model, folder: Path, *, keep_cases: bool = False) -> None:
    """Write `model.json` and `model-….safetensors` into `folder`, both or neither.

    Ids and evidence of training records are left out unless `keep_cases`: a model may travel
    farther than its patients agreed to. What else it holds of them is sums and quantiles.
    """
    model = model if keep_cases else model._replace(cases=None)
    parts = [preprocess.to_arrays(s) for s in model.statistics]
    about = {
        "schema": SCHEMA,
        "card": cards.dumps(model.card),
        "statistics": [plain for _, plain in parts],
        "encoders": model.encoders,
        "members": len(model.members),
        "width": model.width,
        "projection": model.projection,
        "certificate": model.certificate._asdict(),
        "believed": model.believed,
        "calibration": {
            "name": model.calibration.name,
            "trials": [trial._asdict() for trial in model.calibration.trials],
        },
        "limits": model.limits._asdict(),
        "cases": None if model.cases is None else model.cases.id,
    }
    archive.save(folder, about, _flatten(model, [arrays for arrays, _ in parts]))


def load(folder: Path) -> Model:
    """Read a model that `save` wrote.

    Raises ModelError where a file is absent, altered, cut short, too large or of another schema.
    """
    about, arrays = archive.load(folder, SCHEMA)
    try:
        model = _assemble(about, arrays, folder)
        _check(model)
        return model
    except (AttributeError, CardError, LookupError, TypeError, ValueError) as error:
        raise ModelError(
            folder / "model.json", f"does not describe a model ({error!r})", "Fit it again."
        ) from error


def _check(model: Model) -> None:
    """Raise ValueError where the parts of a model do not belong together."""
    modalities, classes, draws = len(model.card.modalities), len(model.bias), len(model.tau)
    if not len(model.encoders) == len(model.theta) == modalities:
        raise ValueError("encoders, weights and modalities differ in number")
    if len(model.card.classes) != classes or model.tau.shape != (draws, modalities):
        raise ValueError("classes or modalities differ in number")
    if any(theta.shape[:2] != (draws, classes) for theta in model.theta):
        raise ValueError("draws or classes differ in number")
    if not model.members or any(len(one.maps) != modalities for one in model.members):
        raise ValueError("no encoders, or not one a modality")
    calibration, expected = model.calibration, (draws, modalities, classes)
    columns = len(calibration.patterns) + 1
    if calibration.shift.shape != expected or calibration.scale.shape != (draws, columns):
        raise ValueError("the calibration is of another model")


def _flatten(model: Model, statistics: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    tree = {
        "bias": model.bias,
        "tau": model.tau,
        "calibration": {name: getattr(model.calibration, name) for name in CALIBRATION},
        "cases": {}
        if model.cases is None
        else {"presence": model.cases.presence, "evidence": model.cases.evidence},
        "modality": {
            str(i): {
                "member": {
                    str(m): {"weights": one.weights[i], "map": one.maps[i]._asdict()}
                    for m, one in enumerate(model.members)
                },
                "theta": model.theta[i],
                "familiar": model.familiar[i]._asdict(),
                "statistics": statistics[i],
            }
            for i in range(len(model.theta))
        },
    }
    return {"/".join(path): leaf for path, leaf in _walk(tree)}


def _walk(tree: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], np.ndarray]]:
    if not isinstance(tree, dict):
        return [(path, np.asarray(tree))]
    return [item for key, branch in tree.items() for item in _walk(branch, (*path, key))]


def _grow(leaves: dict[str, np.ndarray]) -> dict:
    tree: dict = {}
    for name, leaf in leaves.items():
        *path, last = name.split("/")
        branch = tree
        for key in path:
            branch = branch.setdefault(key, {})
        branch[last] = leaf
    return tree


def _assemble(about: dict, arrays: dict[str, np.ndarray], folder: Path) -> Model:
    tree = _grow(arrays)
    parts = [tree["modality"][str(i)] for i in range(len(about["encoders"]))]
    card = cards.from_dict(about["card"], folder / "dataset.toml")
    members = range(about["members"])
    statistics = tuple(
        preprocess.from_arrays(m.kind, p.get("statistics", {}), plain)
        for m, p, plain in zip(card.modalities, parts, about["statistics"], strict=True)
    )
    return Model(
        card=card,
        statistics=statistics,
        encoders=tuple(about["encoders"]),
        width=about["width"],
        projection=about["projection"],
        members=tuple(_member([p["member"][str(m)] for p in parts]) for m in members),
        bias=jnp.asarray(tree["bias"]),
        theta=tuple(jnp.asarray(p["theta"]) for p in parts),
        tau=jnp.asarray(tree["tau"]),
        certificate=Certificate(
            **{**about["certificate"], "notes": tuple(about["certificate"]["notes"])}
        ),
        believed=about["believed"],
        calibration=ByPattern(
            name=about["calibration"]["name"],
            trials=tuple(Trial(**trial) for trial in about["calibration"]["trials"]),
            **{name: tree["calibration"][name] for name in CALIBRATION},
        ),
        limits=_limits(about["limits"]),
        familiar=tuple(Distance(**p["familiar"]) for p in parts),
        cases=None if about["cases"] is None else Cases(tuple(about["cases"]), **tree["cases"]),
    )


def _limits(about: dict[str, Any]) -> Limits:
    found = Limits(**about)
    groups = ("pooled", "marginal", "helped")
    return found._replace(**{name: tuple(getattr(found, name)) for name in groups})


def _member(parts: list[dict]) -> Member:
    parts = jax.tree.map(jnp.asarray, parts)
    maps = tuple(Map(**part["map"]) for part in parts)
    return Member(tuple(part.get("weights", {}) for part in parts), maps)
