"""Others' fusions in PyTorch, trained on features that are given.

    PYTHON -m benchmarks.peers.packages_torch FOLDER METHOD

Run by `benchmarks.fusion_variants --peers PYTHON` under a Python that has torch, `imml[deep]` or
fusilli; without arguments it prints which methods that Python has, as JSON. The networks and losses
of iMML and fusilli are the packages' own at their default sizes, TMC and ECML are those of
`evidential_torch`, and all train with Adam, whose learning rate is what the search draws. TMC,
ECML and iMML are told what is missing. fusilli knows nothing of it, and takes at most three tables:
it is shown zeros, the mean of standardised features, and the fourth modality and on beside the
third. Its attention between modalities takes a batch's records for a sequence, and is left out.
"""

import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers import evidential_torch

ROWS = 512
"""Predicted together: iMML relates the records of a batch to one another."""


class Network(NamedTuple):
    """A package's module; functions of views and presence give its loss and P(y | X)."""

    module: Any
    loss: Callable[[list, Any, Any], Any]
    prob: Callable[[list, Any], Any]
    decay: float


def muse(sizes: list[int], classes: int) -> Network:
    """Wu et al. (2024)."""
    imml = importlib.import_module("imml.classify")
    module = imml.MUSE(input_dim=sizes, modalities=["tabular"] * len(sizes), output_dim=classes)

    def loss(views: list, here: Any, label: Any) -> Any:
        return module.model(
            Xs=views, y=label, missing_mod_indicator=~here, y_indicator=label == label
        )

    def prob(views: list, here: Any) -> Any:
        return module.model.predict(Xs=views, missing_mod_indicator=~here)

    return Network(module, loss, prob, decay=0.0)


def m3care(sizes: list[int], classes: int) -> Network:
    """Zhang et al. (2022)."""
    torch, imml = map(importlib.import_module, ("torch", "imml.classify"))
    tables = ["tabular"] * len(sizes)
    # A vocabulary is only of use to texts, but without one it asks whether it may fetch its own.
    module = imml.M3Care(input_dim=sizes, modalities=tables, output_dim=classes, vocab=[None])

    def loss(views: list, here: Any, label: Any) -> Any:
        return module.training_step((views, label, here))

    def prob(views: list, here: Any) -> Any:
        said, _ = module.model(Xs=views, observed_mod_indicator=here)
        return torch.softmax(said, dim=-1)

    return Network(module, loss, prob, decay=1e-4)


def feature_maps(sizes: list[int], classes: int) -> Network:
    """Concatenation after layers of each table's own, then layers of all."""
    torch = importlib.import_module("torch")
    fusilli = importlib.import_module("fusilli.fusionmodels.tabularfusion.concat_feature_maps")
    first, second, *rest = sizes
    shape = {"mod1_dim": first, "mod2_dim": second, "mod3_dim": sum(rest) or None, "img_dim": None}
    module = fusilli.ConcatTabularFeatureMaps("multiclass", shape, classes)

    def scores(views: list) -> Any:
        others = views[2:]
        return module(*views[:2], torch.cat(others, dim=1) if others else None)

    def loss(views: list, here: Any, label: Any) -> Any:
        return torch.nn.functional.cross_entropy(scores(views), label)

    def prob(views: list, here: Any) -> Any:
        return torch.softmax(scores(views), dim=-1)

    return Network(module, loss, prob, decay=0.0)


def evidential(method: str, sizes: list[int], classes: int) -> Network:
    """TMC or ECML; a missing view has no evidence. The penalty is whole after `RAMP` steps."""
    torch = importlib.import_module("torch")
    module, steps = evidential_torch.linear(torch, sizes, classes), count(1)

    def evidence(views: list, here: Any) -> Any:
        return evidential_torch.evidence(torch, module, views) * here.T[:, :, None]

    def loss(views: list, here: Any, label: Any) -> Any:
        onehot = torch.nn.functional.one_hot(label, classes).float()
        penalty = min(1.0, next(steps) / evidential_torch.RAMP)
        each = evidence(views, here)
        return evidential_torch.training_loss(torch, method, each, onehot, penalty)

    def prob(views: list, here: Any) -> Any:
        return evidential_torch.probability(torch, method, evidence(views, here))

    return Network(module, loss, prob, decay=evidential_torch.DECAY)


METHODS: dict[str, tuple[str, Callable[[list[int], int], Network]]] = {
    "MUSE (iMML)": ("imml", muse),
    "M3Care (iMML)": ("imml", m3care),
    "feature maps (fusilli)": ("fusilli", feature_maps),
    **{
        f"{name} (PyTorch)": ("torch", partial(evidential, name))
        for name in evidential_torch.METHODS
    },
}


def known() -> dict[str, str]:
    """Method → package and version, of what this Python has."""
    found = {}
    for method, (package, _) in METHODS.items():
        if importlib.util.find_spec("torch") and importlib.util.find_spec(package):
            found[method] = f"{package} {version(package)}"
    return found


def main(folder: Path, method: str) -> None:
    """Fits every seed of FOLDER/given.npz and writes FOLDER/said.npz."""
    with np.load(folder / "given.npz") as file:
        given = {name: file[name] for name in file.files}
    build = METHODS[method][1]
    parts = [_seed(build, given, seed) for seed in range(len(given["train"]))]
    said: dict[str, Any] = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    np.savez(folder / "said.npz", **said)


def _seed(build: Callable, given: dict[str, np.ndarray], seed: int) -> dict[str, Any]:
    """The search of one seed, and what its best trial says."""
    torch = importlib.import_module("torch")
    views = [torch.from_numpy(given[f"view{i}"][seed]) for i in range(given["presence"].shape[1])]
    classes, presence = int(given["classes"]), torch.from_numpy(given["presence"])
    started, best = time.perf_counter(), None
    losses = np.full(len(given["rates"]), np.inf)
    for trial, rate in enumerate(given["rates"].tolist()):
        torch.manual_seed(1000 * seed + trial)
        network = build([view.shape[1] for view in views], classes)
        losses[trial], state = _fit(torch, network, rate, views, given, seed)
        if best is None or losses[trial] <= losses.min():
            network.module.load_state_dict(state)
            best = network
    assert best
    fitted = time.perf_counter()
    validation = _said(torch, best, views, presence, given["validation"][seed])
    test = [
        _said(torch, best, views, presence & torch.from_numpy(shown), given["test"][seed])
        for shown in given["shown"]
    ]
    return {
        "validation": validation,
        "test": np.stack(test),
        "validation_nll": losses,
        "parameters": sum(p.numel() for p in best.module.parameters()),
        "seconds": np.array([fitted - started, time.perf_counter() - fitted]),
    }


def _fit(
    torch: Any, network: Network, rate: float, views: list, given: dict[str, np.ndarray], seed: int
) -> tuple[float, dict]:
    """The least validation NLL on the way, and the parameters that had it."""
    presence, label = torch.from_numpy(given["presence"]), torch.from_numpy(given["label"])
    train = torch.from_numpy(given["train"][seed][given["trains"][seed]])
    held = given["validation"][seed][given["validates"][seed]]
    optimiser = torch.optim.Adam(network.module.parameters(), lr=rate, weight_decay=network.decay)
    every = int(given["steps"]) // int(given["evaluations"])
    least, state = np.inf, _copied(network.module)
    for step in range(1, int(given["steps"]) + 1):
        rows = train[torch.randint(len(train), (int(given["batch_size"]),))]
        network.module.train()
        loss = network.loss(*_shown(views, presence, rows), label[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % every == 0:
            said = _said(torch, network, views, presence, held)
            nll = -said[np.arange(len(held)), given["label"][held]].mean()
            if nll < least:
                least, state = float(nll), _copied(network.module)
    return least, state


def _copied(module: Any) -> dict:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _shown(views: list, presence: Any, rows: Any) -> tuple[list, Any]:
    """The features of these records, zero where missing, and what is there."""
    here = presence[rows]
    return [view[rows] * here[:, i, None] for i, view in enumerate(views)], here


def _said(torch: Any, network: Network, views: list, presence: Any, rows: np.ndarray) -> np.ndarray:
    """log P(y | X) [row, class]."""
    network.module.eval()
    with torch.no_grad():
        parts = [
            network.prob(*_shown(views, presence, part))
            for part in torch.from_numpy(rows).split(ROWS)
        ]
    return np.log(np.maximum(torch.cat(parts).double().numpy(), 1e-12)).astype(np.float32)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(json.dumps(known()))
    else:
        main(Path(sys.argv[1]), sys.argv[2])
