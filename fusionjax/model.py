"""What prediction needs, as one value: card, statistics, ψ, θ's posterior, calibration.

A saved model is a folder of two files: `model.safetensors` holds every array, `model.json` the
rest, with a schema version and the checksum of the arrays. Neither can run code.
"""

import hashlib
import json
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from fusionjax import card as cards
from fusionjax import conformal, files, preprocess, triage
from fusionjax import encoders as psi
from fusionjax import predict as predicting
from fusionjax.calibrate import by_pattern, shown
from fusionjax.calibrate.by_pattern import ByPattern, Trial
from fusionjax.card import Card, Modality, TextOptions
from fusionjax.conformal import Limits
from fusionjax.errors import CardError, ModelError
from fusionjax.fusion import reliability
from fusionjax.log_linear import evidence
from fusionjax.posterior import Certificate
from fusionjax.train import encode
from fusionjax.triage import Cases, Distance
from fusionjax.types import Batch, Encoder, Inputs, Params

SCHEMA = 3
CALIBRATION = ("patterns", "scale", "shift", "nll", "records", "natural")


class Map(NamedTuple):
    """The last linear layer of ψ: θ's features are 1 and (F[1:] − shift) @ matrix."""

    shift: Float[Array, " p"]
    matrix: Float[Array, "p q"]


class Member(NamedTuple):
    """One ψ: parameters of its encoders and their last linear layers, one entry a modality."""

    weights: tuple[Params, ...]
    maps: tuple[Map, ...]


class Model(NamedTuple):
    """A fitted diagnosis; tuples have one entry a modality, in the order of the card.

    `theta[i]` holds draws [draw, class, p_i] for the mean of the members' features, `tau`
    draws [draw, modality]; an encoder gives `width` features if it is trained, else `projection`.
    `believed` is the prior probability π_i that a modality can be believed, `calibration` what is
    done to the evidence, `limits` those of prediction sets by presence pattern, and `familiar` how
    far from training features is far. `cases` are training records by id; None where they were not
    kept.
    """

    card: Card
    statistics: tuple[Any, ...]
    encoders: tuple[str, ...]
    width: int
    projection: int
    members: tuple[Member, ...]
    bias: Float[Array, " class"]
    theta: tuple[Float[Array, "draw class _"], ...]
    tau: Float[Array, "draw modality"]
    certificate: Certificate
    believed: float
    calibration: ByPattern
    limits: Limits
    familiar: tuple[Distance, ...]
    cases: Cases | None


class Diagnosis(NamedTuple):
    """What the model says of some patients.

    `reliable[:, i]` is P(r_i = 1 | X), `chosen` the prediction set, empty where nothing can be
    promised. `far[:, i]` is the share of training records whose modality i lies nearer to their
    mean, NaN where it is missing; `nearest` counts the model's cases, −1 where there is none.
    """

    predictive: predicting.Predictive
    presence: Bool[np.ndarray, "batch modality"]
    reliable: Float[np.ndarray, "batch modality"]
    chosen: Bool[np.ndarray, "batch class"]
    far: Float[np.ndarray, "batch modality"]
    nearest: Int[np.ndarray, "batch count"]


def encoder_stack(
    modalities: tuple[Modality, ...], names: tuple[str, ...], width: int, projection: int
) -> tuple[Encoder, ...]:
    """The encoders named, one a modality; the same arguments give the same functions."""
    sizes = (projection if name == "linear" else width for name in names)
    return tuple(_encoder(*one) for one in zip(modalities, names, sizes, strict=True))


@cache
def _encoder(modality: Modality, name: str, size: int) -> Encoder:
    options = modality.options
    known = {"vocabulary": options.vocabulary} if isinstance(options, TextOptions) else {}
    return psi.build(modality.kind, name, size, **known)


def features(model: Model, batch: Batch) -> tuple[Float[Array, "batch _"], ...]:
    """θ's features [batch, p_i] of each modality: the mean over members."""
    stack = encoder_stack(model.card.modalities, model.encoders, model.width, model.projection)
    each = [mapped(stack, member, batch.inputs) for member in model.members]
    return jax.tree.map(lambda *parts: sum(parts) / len(parts), *each)


@partial(jax.jit, static_argnums=0)
def mapped(
    stack: tuple[Encoder, ...], member: Member, inputs: tuple[Inputs, ...]
) -> tuple[Float[Array, "batch _"], ...]:
    """One member's features: the constant 1, then ψ's output through its last linear layer."""
    vectors = [f.vector for f in encode(stack, member.weights, inputs)]
    return tuple(
        jnp.concatenate([f[:, :1], (f[:, 1:] - m.shift[None, :]) @ m.matrix], axis=1)
        for f, m in zip(vectors, member.maps, strict=True)
    )


def diagnose(
    model: Model, batch: Batch, prior: Float[np.ndarray, " class"] | None = None
) -> Diagnosis:
    """Predict for a batch; `prior` states another prevalence than that of the training records."""
    bias = model.bias if prior is None else jnp.log(jnp.asarray(prior, jnp.float32))
    seen, here = features(model, batch), np.asarray(batch.presence)
    found = predicting.predictive(
        model.theta, bias, seen, batch.presence, *calibrated(model, batch.presence)
    )
    experts = reliability.expert_log_probs(_expert(model), bias, seen)
    believed = jnp.full(len(model.theta), model.believed)
    reliable = reliability.reliable(experts, bias, batch.presence, believed)
    most = conformal.limits_of(model.limits, shown.spelled(here))
    return Diagnosis(
        found,
        here,
        np.asarray(reliable),
        conformal.members(conformal.lac(np.asarray(found.prob)), most),
        triage.each_farness(model.familiar, tuple(np.asarray(f)[:, 1:] for f in seen), here),
        triage.nearest(model.cases, here, mean_evidence(model, seen, batch.presence)),
    )


def calibrated(
    model: Model, presence: Bool[Array | np.ndarray, "batch modality"]
) -> tuple[Float[Array, "draw batch"], Float[Array, "draw modality class"]]:
    """The scale and the shift that `predict` takes for records of these patterns."""
    scale = by_pattern.scale_of(model.calibration, np.asarray(presence))
    return jnp.asarray(scale), jnp.asarray(model.calibration.shift)


def mean_evidence(
    model: Model,
    seen: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> Float[np.ndarray, "batch modality class"]:
    """Evidence at the posterior mean of θ, before calibration: what cases are compared by."""
    return np.asarray(evidence(tuple(t.mean(0) for t in model.theta), seen, presence))


def _expert(model: Model) -> tuple[Float[Array, "class _"], ...]:
    """Each modality's mean θ_i, calibrated as it is where it is alone."""
    alone = np.eye(len(model.theta), dtype=bool)
    scale = by_pattern.scale_of(model.calibration, alone).mean(0)
    shift = model.calibration.shift.mean(0)
    return tuple(
        (s * t.mean(0)).at[:, 0].add(c) for s, c, t in zip(scale, shift, model.theta, strict=True)
    )


def save(model: Model, folder: Path, *, keep_cases: bool = False) -> None:
    """Write `model.safetensors` and `model.json` into `folder`, each whole or not at all.

    Ids and evidence of training records are left out unless `keep_cases`: a model may travel
    farther than its patients agreed to. What else it holds of them is sums and quantiles.
    """
    from safetensors.numpy import save as dump

    folder.mkdir(parents=True, exist_ok=True)
    model = model if keep_cases else model._replace(cases=None)
    parts = [preprocess.to_arrays(s) for s in model.statistics]
    blob = dump(_flatten(model, [arrays for arrays, _ in parts]))
    about = {
        "schema": SCHEMA,
        "sha256": hashlib.sha256(blob).hexdigest(),
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
    files.write(folder / "model.safetensors", blob)
    files.write(folder / "model.json", json.dumps(about, indent=1, ensure_ascii=False))


def load(folder: Path) -> Model:
    """Read a model that `save` wrote.

    Raises ModelError where a file is absent, altered, cut short or of a newer schema.
    """
    about, arrays = _read(folder)
    try:
        return _assemble(about, arrays, folder)
    except (AttributeError, CardError, LookupError, TypeError, ValueError) as error:
        raise ModelError(
            folder / "model.json", f"does not describe a model ({error!r})", "Fit it again."
        ) from error


def _read(folder: Path) -> tuple[dict, dict[str, np.ndarray]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    for name in ("model.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise ModelError(folder, f"holds no {name}", "Point at the folder of a finished run.")
    try:
        about = json.loads((folder / "model.json").read_bytes())
        schema, checksum = about["schema"], about["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(folder / "model.json", "is not a model's JSON", "Fit it again.") from error
    if schema != SCHEMA:
        raise ModelError(
            folder,
            f"has schema {schema}, this version reads {SCHEMA}",
            "Use the version of FusionJAX that wrote it.",
        )
    blob = (folder / "model.safetensors").read_bytes()
    if hashlib.sha256(blob).hexdigest() != checksum:
        raise ModelError(
            folder / "model.safetensors",
            "is not the file that was saved: its checksum differs",
            "Copy it again, or fit the model again.",
        )
    try:
        return about, parse(blob)
    except SafetensorError as error:
        raise ModelError(
            folder / "model.safetensors", "holds no weights", "Fit the model again."
        ) from error


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
    return {"/".join(path): np.ascontiguousarray(leaf) for path, leaf in _walk(tree)}


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
    return found._replace(pooled=tuple(found.pooled), marginal=tuple(found.marginal))


def _member(parts: list[dict]) -> Member:
    parts = jax.tree.map(jnp.asarray, parts)
    maps = tuple(Map(**part["map"]) for part in parts)
    return Member(tuple(part.get("weights", {}) for part in parts), maps)
