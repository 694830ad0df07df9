"""TMC and ECML from their papers, in PyTorch: one linear collector of evidence a view.

Run by `benchmarks.evidential` under a Python that has torch, with the settings of the published
programs: Adam at .003 with weight decay 1e-5, batches of 200, 500 epochs, the penalty on misleading
evidence raised from 0 to 1 over 50 epochs. ECML's mean is that of its program, where the last view
counts half, the one before a quarter, and so on. `packages_torch` trains the same model otherwise.
"""

import importlib
import sys
from typing import Any

import numpy as np

METHODS = ("TMC", "ECML")
RATE, DECAY, BATCH, RAMP = 0.003, 1e-5, 200, 50


def main(path: str, method: str, epochs: int, seed: int) -> None:
    """Trains on `path`.npz and writes P(y | X) of both test sets to `path`.METHOD.npz."""
    torch = importlib.import_module("torch")
    torch.manual_seed(seed)
    with np.load(f"{path}.npz") as given:
        held = {name: torch.from_numpy(given[name]) for name in given.files}
    count = sum(name.startswith("train") for name in held)
    classes = int(held["label"].max()) + 1
    collectors = linear(torch, [held[f"train{v}"].shape[1] for v in range(count)], classes)
    train = [held[f"train{v}"] for v in range(count)]
    onehot = torch.nn.functional.one_hot(held["label"], classes).float()
    optimiser = torch.optim.Adam(collectors.parameters(), lr=RATE, weight_decay=DECAY)
    for epoch in range(1, epochs + 1):
        for rows in torch.randperm(len(onehot)).split(BATCH):
            each = evidence(torch, collectors, [view[rows] for view in train])
            loss = training_loss(torch, method, each, onehot[rows], min(1.0, epoch / RAMP))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        each = {
            name: evidence(torch, collectors, [held[f"{name}{v}"] for v in range(count)])
            for name in ("clean", "shown")
        }
        prob = {name: probability(torch, method, one).numpy() for name, one in each.items()}
    np.savez(f"{path}.{method}.npz", **prob)


def linear(torch: Any, sizes: list[int], classes: int) -> Any:
    """A collector for each view."""
    return torch.nn.ModuleList(torch.nn.Linear(size, classes) for size in sizes)


def evidence(torch: Any, collectors: Any, views: list) -> Any:
    """[view, row, class]."""
    pairs = zip(collectors, views, strict=True)
    return torch.nn.functional.softplus(torch.stack([layer(view) for layer, view in pairs]))


def probability(torch: Any, method: str, each: Any) -> Any:
    """P(y | X) [row, class], from evidence [view, row, class]."""
    alpha = _fused(torch, method, each) + 1
    return alpha / alpha.sum(dim=1, keepdim=True)


def _fused(torch: Any, method: str, each: Any) -> Any:
    """Dempster's reduced rule (TMC), or ECML's running mean over the views that have evidence."""
    if method == "TMC":
        classes = each.shape[2]
        return classes * torch.expm1(torch.log1p(each / classes).sum(dim=0))
    mean = each[0]
    for other in each[1:]:
        before, here = (part.sum(dim=1, keepdim=True) > 0 for part in (mean, other))
        mean = (mean + other) / torch.where(before & here, 2.0, 1.0)
    return mean


def training_loss(torch: Any, method: str, each: Any, onehot: Any, penalty: float) -> Any:
    """That of the fused evidence and of each view's; `penalty` weighs misleading evidence."""
    whole = _expected(torch, _fused(torch, method, each), onehot, penalty).mean()
    own = _expected(torch, each, onehot[None], penalty).mean(dim=1).sum()
    if method == "TMC":
        return whole + own
    return (whole + own) / (1 + len(each)) + _conflict(torch, each)


def _expected(torch: Any, evidence: Any, onehot: Any, penalty: float) -> Any:
    """Expected cross entropy, and the divergence of misleading evidence from none, as in TMC."""
    alpha = evidence + 1
    strength = alpha.sum(dim=-1, keepdim=True)
    fit = (onehot * (torch.digamma(strength) - torch.digamma(alpha))).sum(dim=-1)
    misled = evidence * (1 - onehot) + 1
    total = misled.sum(dim=-1, keepdim=True)
    classes = torch.tensor(float(evidence.shape[-1]))
    divergence = (
        torch.lgamma(total)[..., 0]
        - torch.lgamma(classes)
        - torch.lgamma(misled).sum(dim=-1)
        + ((misled - 1) * (torch.digamma(misled) - torch.digamma(total))).sum(dim=-1)
    )
    return fit + penalty * divergence


def _conflict(torch: Any, each: Any) -> Any:
    """The conflictive degree of all pairs of views, averaged over rows."""
    alpha = each + 1
    strength = alpha.sum(dim=2, keepdim=True)
    prob, certain = alpha / strength, 1 - each.shape[2] / strength[..., 0]
    apart = (prob[:, None] - prob[None]).abs().sum(dim=3) / 2
    degree = apart * certain[:, None] * certain[None]
    return degree.sum(dim=(0, 1)).mean() / (len(each) - 1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
