"""Late fusions of an image and a sound in PyTorch: our network again, and MultiBench's LeNets.

Run by `benchmarks.training` under a Python that has torch: `late_fusion_torch FOLDER NAME SEEDS
TARGET EPOCHS NETWORK RECIPE HOW`. NETWORK is "same" (our default encoders and log-linear fusion,
from our starting weights) or "lenet" (the simple late fusion of avmnist in MultiBench, Liang et
al. 2021: LeNets of 4 and 6 stages from 6 channels on, concatenation, a perceptron). RECIPE is
"ours" (AdamW, a cosine schedule, modality dropout and averaged weights, as `TrainConfig` has it)
or "published" (SGD at .1 in batches of 40, weight decay 1e-4, gradients clipped at 8). HOW is
"eager" or "compiled".
"""

import importlib
import itertools
import math
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.worker import serve

torch: Any = importlib.import_module("torch")
nn: Any = torch.nn
functional: Any = torch.nn.functional
CHECK = 99
BATCH = {"ours": 64, "published": 40}
# TrainConfig's.
EPOCHS, RATE, DECAY, DROPOUT, AVERAGING = 60, 2e-3, 0.1, 0.3, 0.98


class Stage(nn.Module):
    """A strided convolution, normalised over the unmasked steps of a record, and ReLU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False)
        self.norm = nn.GroupNorm(1, width, eps=1e-6)

    def forward(self, x: Any, mask: Any) -> tuple[Any, Any]:
        """`mask` [batch, step] belongs to the third axis of x; None where every step counts."""
        x = self.conv(x)
        if mask is None:
            return functional.relu(self.norm(x)), None
        mask = functional.pad(mask, (0, mask.shape[1] % 2)).reshape(len(mask), -1, 2).amax(2)
        used = mask[:, None, :, None]
        count = (mask.sum(1) * x.shape[1] * x.shape[3]).clamp(min=1)[:, None, None, None]
        apart = x - (x * used).sum((1, 2, 3), keepdim=True) / count
        variance = (apart.square() * used).sum((1, 2, 3), keepdim=True) / count
        scale, shift = self.norm.weight[:, None, None], self.norm.bias[:, None, None]
        x = apart * torch.rsqrt(variance + 1e-6) * scale + shift
        return functional.relu(x) * used, mask


class Same(nn.Module):
    """The default encoders and the log-linear fusion, laid out as PyTorch likes it."""

    def __init__(self, bias: Any) -> None:
        super().__init__()
        image, sound = (1, 16, 32, 64), (1, 8, 16, 32)
        self.stages = nn.ModuleList(
            nn.ModuleList(itertools.starmap(Stage, itertools.pairwise(widths)))
            for widths in (image, sound)
        )
        self.heads = nn.ModuleList([nn.Linear(16 * 64, 16), nn.Linear(5 * 32, 16)])
        self.theta = nn.ModuleList(nn.Linear(16, len(bias)) for _ in range(2))
        self.register_buffer("prior", bias)

    def forward(self, image: Any, sound: Any, mask: Any, shown: Any) -> Any:
        """Energies [batch, class]."""
        for stage in self.stages[0]:
            image, _ = stage(image, None)
        for stage in self.stages[1]:
            sound, mask = stage(sound, mask)
        if mask is None:
            heard = sound.mean(2)
        else:
            heard = (sound * mask[:, None, :, None]).sum(2)
            heard = heard / mask.sum(1).clamp(min=1)[:, None, None]
        seen = zip(self.heads, (image.flatten(1), heard.flatten(1)), strict=True)
        terms = [theta(f) for theta, f in zip(self.theta, (h(x) for h, x in seen), strict=True)]
        return self.prior + terms[0] * shown[:, :1] + terms[1] * shown[:, 1:]


class LeNets(nn.Module):
    """One LeNet a modality, their last cells side by side, and a perceptron."""

    def __init__(self, bias: Any) -> None:
        super().__init__()
        self.image, self.sound = _lenet(4), _lenet(6)
        self.head = nn.Sequential(nn.Linear(240, 100), nn.ReLU(), nn.Linear(100, len(bias)))

    def forward(self, image: Any, sound: Any, mask: Any, shown: Any) -> Any:
        """Scores [batch, class]; it knows neither masks nor missing modalities."""
        cells = [self.image(image).flatten(1), self.sound(sound).flatten(1)]
        return self.head(torch.cat(cells, dim=1))


class Trainer:
    """A network in training: steps on batches, then the loss of what is kept of it."""

    def __init__(self, network: Any, call: Any, recipe: str, steps: int) -> None:
        self._network, self._call = network, call
        self._weights = list(network.parameters())
        self._ours, self._done = recipe == "ours", 0
        # Buffers of a batch norm are not averaged, so a network with them keeps its last weights.
        self._averaged = self._ours and isinstance(network, Same)
        self._average = [w.detach().clone() for w in self._weights]
        if self._ours:
            adamw = torch.optim.AdamW(self._weights, RATE, weight_decay=DECAY, fused=True)
            rate = torch.optim.lr_scheduler.LambdaLR(adamw, partial(_rate, EPOCHS * steps))
            self._optimiser, self._schedule = adamw, rate
        else:
            self._optimiser = torch.optim.SGD(self._weights, 0.1, weight_decay=1e-4)
            self._schedule = None

    def step(self, image: Any, sound: Any, mask: Any, label: Any) -> None:
        """One step on a batch."""
        scores = self._call(image, sound, mask, _shown(label) if self._ours else None)
        loss = functional.cross_entropy(scores, label)
        self._optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._weights, 1.0 if self._ours else 8.0)
        self._optimiser.step()
        if self._schedule:
            self._schedule.step()
        if self._averaged:
            kept = min(AVERAGING, self._done / (self._done + 10))
            torch._foreach_lerp_(self._average, [w.detach() for w in self._weights], 1 - kept)
        self._done += 1

    def nll(self, image: Any, sound: Any, mask: Any, label: Any) -> float:
        """Of records as they are, in nats."""
        names = [name for name, _ in self._network.named_parameters()]
        kept = self._average if self._averaged else self._weights
        given = (image, sound, mask, torch.ones(len(label), 2, device=label.device))
        self._network.eval()
        with torch.no_grad():
            named = dict(zip(names, kept, strict=True))
            scores = torch.func.functional_call(self._network, named, given)
        self._network.train()
        return float(functional.cross_entropy(scores, label))


def session(
    folder: Path, name: str, seeds: int, target: float, most: int, kind: str, recipe: str, how: str
) -> Iterator[dict]:
    """A step that compiles, then epochs: seed after seed until `target`, `most` at the longest."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with np.load(folder / f"{name}.npz") as given:
        at = {key: torch.from_numpy(given[key]).to(device) for key in given.files}
    mask = None if at["mask"].all() or kind == "lenet" else at["mask"].float()
    data = at["image"][:, None], at["sound"][:, None], mask, at["label"].long()
    held, batch = _rows(data, at["validation"]), BATCH[recipe]
    steps = max(1, len(at["train"]) // batch)
    network = _fresh(kind, at["bias"], 0).to(device)
    call = torch.compile(network) if how == "compiled" else network
    for seed in range(seeds):
        start = _fresh(kind, at["bias"], seed).state_dict()
        network.load_state_dict(_ours(folder, seed, at["bias"]) if kind == "same" else start)
        trainer = Trainer(network, call, recipe, steps)
        if not seed:
            if kind == "same":
                _check(folder, name, network, held)
            kept = {key: value.clone() for key, value in network.state_dict().items()}
            begun = time.perf_counter()
            trainer.step(*_rows(data, at["train"][:batch]))
            _wait(device)
            yield {"first_s": time.perf_counter() - begun, "nll": trainer.nll(*held)}
            network.load_state_dict(kept)
            trainer = Trainer(network, call, recipe, steps)
        for epoch in range(most):
            took = []
            order = at["train"][torch.randperm(len(at["train"]), device=device)]
            for rows in order[: steps * batch].split(batch):
                begun = time.perf_counter()
                trainer.step(*_rows(data, rows))
                _wait(device)
                took.append(time.perf_counter() - begun)
            loss = trainer.nll(*held)
            ended = loss <= target or epoch + 1 == most
            said = {"seed": seed, "step_s": took, "nll": loss}
            yield {**said, "done": ended and seed + 1 == seeds}
            if ended:
                break


def _check(folder: Path, name: str, network: Any, held: tuple) -> None:
    """Writes log P(y | X) with the weights of `weights-99.npz`, to be compared with ours."""
    weights = _ours(folder, CHECK, network.prior)
    shown = torch.ones(len(held[3]), 2, device=held[3].device)
    with torch.no_grad():
        scores = torch.func.functional_call(network, weights, (*held[:3], shown))
    np.savez(folder / f"{name}.torch.npz", log_prob=scores.log_softmax(dim=1).cpu().numpy())


def _fresh(kind: str, bias: Any, seed: int) -> Any:
    torch.manual_seed(seed)
    return (Same if kind == "same" else LeNets)(bias)


def _lenet(stages: int) -> Any:
    layers, channels = [], 1
    for stage in range(stages):
        width, size = 6 * 2**stage, 5 if stage == 0 else 3
        conv = nn.Conv2d(channels, width, size, padding=size // 2, bias=False)
        nn.init.kaiming_uniform_(conv.weight)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    return nn.Sequential(*layers)


def _ours(folder: Path, seed: int, bias: Any) -> dict[str, Any]:
    """Our starting weights under the names, and in the layouts, of `Same`."""
    state = {"prior": bias}
    with np.load(folder / f"weights-{seed}.npz") as at:
        for i, cells in enumerate(((4, 4, 64), (5, 32))):
            own = f"encoders/{i}"
            for stage in range(3):
                kernel, norm = at[f"{own}/Stage_{stage}/Dense_0/kernel"], f"{own}/Stage_{stage}"
                # Rows of a kernel lie by column, by row, by channel.
                kernel = kernel.reshape(3, 3, -1, kernel.shape[1]).transpose(3, 2, 1, 0)
                state[f"stages.{i}.{stage}.conv.weight"] = kernel
                for name, of in (("weight", "scale"), ("bias", "bias")):
                    key = f"{norm}/Norm_0/LayerNorm_0/{of}"
                    state[f"stages.{i}.{stage}.norm.{name}"] = at[key]
            kernel = np.moveaxis(at[f"{own}/Head_0/Dense_0/kernel"].reshape(*cells, -1), -2, 0)
            state[f"heads.{i}.weight"] = kernel.reshape(-1, kernel.shape[-1]).T
            state[f"heads.{i}.bias"] = at[f"{own}/Head_0/Dense_0/bias"]
            theta = at[f"fusion/theta/{i}"]
            state[f"theta.{i}.weight"], state[f"theta.{i}.bias"] = theta[:, 1:], theta[:, 0]
    return {key: torch.as_tensor(np.array(v), device=bias.device) for key, v in state.items()}


def _rate(total: int, step: int) -> float:
    """Of the highest rate: up in a line, then down half a cosine."""
    rise = min(100, total // 10)
    if step < rise:
        return step / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / (total - rise)))


def _shown(label: Any) -> Any:
    """Modality dropout that leaves each record one of its two modalities."""
    kept = torch.rand(len(label), 2, device=label.device) >= DROPOUT
    first = torch.rand(len(label), 1, device=label.device) < 0.5
    nothing = ~kept.any(dim=1, keepdim=True)
    return (kept | (nothing & torch.cat([first, ~first], dim=1))).float()


def _rows(data: tuple, rows: Any) -> tuple:
    return tuple(leaf if leaf is None else leaf[rows] for leaf in data)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main(arguments: list[str]) -> None:
    """Serves a session on as many threads as there are cores, as JAX takes them."""
    torch.set_num_threads(os.cpu_count() or 1)
    folder, name, seeds, target, most, *how = arguments
    kind, recipe, compiled = how
    serve(
        partial(
            next,
            session(
                *(Path(folder), name, int(seeds), float(target), int(most)), kind, recipe, compiled
            ),
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
