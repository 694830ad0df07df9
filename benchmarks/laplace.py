"""Exact full Laplace on the last layer against laplace-torch; its growth with rows and weights.

    python -m benchmarks.laplace [--smoke] [--peers PYTHON] [--rows 20000] [--repeats 5]

`--peers` is a Python that has torch and laplace-torch; without it the peer is reported absent. Both
get the same features, mode and prior, and give the Gaussian of the test records' logits and the
probit's probabilities; they run in turn, each in a process of its own, and medians are compared.
The peer's prior is in all K columns of θ; ours is its zero-sum part, of which alone the
probabilities depend: so covariances are compared after the mean over the classes is taken off. The
peer gets the batch size with which it is fastest.

Then one pass of the Hessian over more and more rows and weights, against the product of two
matrices of the same machine, in float32 and in turn. A Hessian counts N·p²·K(K−1) operations; a
large one is done with fewer, since half of what is off the diagonal is, so the ratio may exceed 1.
A few minutes on two cores.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from benchmarks.peers.worker import Worker, serve
from fusionjax import gaussian_predictive
from fusionjax.posterior import Observations, newton, observe
from fusionjax.posterior.moments import Moments
from fusionjax.posterior.types import relative

TAU = 0.5
TESTED = 1000
BATCHES = (128, 512, 2048)
COMPARED = ((80, 3), (50, 10))
GROWTH = (
    *((10_000, 80, 3), (100_000, 80, 3), (1_000_000, 80, 3)),
    *((20_000, 250, 3), (20_000, 500, 3), (20_000, 1000, 4)),
)
SMOKE_COMPARED, SMOKE_GROWTH = ((20, 3),), ((2000, 20, 3), (8000, 20, 3))
SQUARE = 2048


def records(rows: int, p: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features [row, p] in float32, the constant first, and labels that they predict."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(p - 1, p - 1)).astype(np.float32) / np.float32(np.sqrt(p - 1))
    features = np.ones((rows, p), np.float32)
    features[:, 1:] = rng.standard_normal((rows, p - 1), np.float32) @ mix
    energy = features @ (rng.normal(size=(p, classes)) * 0.7 / np.sqrt(p)).astype(np.float32)
    return features, np.argmax(energy + rng.gumbel(size=energy.shape), axis=1)


def observed(features: np.ndarray, label: np.ndarray, classes: int) -> Observations:
    """One modality, there in every row."""
    presence = jnp.ones((len(label), 1), bool)
    return observe((jnp.asarray(features),), presence, jnp.asarray(label), classes)


@jax.jit
def moments(z, u, tau, observations, bias) -> Moments:
    """Mean and covariance of the weights at the mode: one pass over the rows, one inverse."""
    curvature = newton.expand(u, observations, bias).curvature
    scale = jnp.repeat(newton.columns(tau, newton.sizes(observations)), z.shape[1])
    precision = jnp.eye(len(scale)) + scale[:, None] * curvature * scale[None, :]
    root = solve_triangular(jnp.linalg.cholesky(precision), jnp.diag(scale), lower=True)
    return Moments(u.astype(jnp.float32), (root.T @ root).astype(jnp.float32))


def ours(path: str) -> None:
    """Serves runs on the records in `path`.npz, and leaves the last answer in `path`.ours.npz."""
    with np.load(f"{path}.npz") as given:
        features, label, test, u, classes = (
            given[name] for name in ("features", "label", "test", "u", "classes")
        )
    observations, bias = observed(features, label, int(classes)), jnp.zeros(int(classes))
    tested, there = (jnp.asarray(test),), jnp.ones((len(test), 1), bool)

    def run() -> None:
        with jax.enable_x64(True):
            tau = jnp.full(1, TAU)
            found = moments(jnp.asarray(u) / TAU, jnp.asarray(u), tau, observations, bias)
        at = gaussian_predictive.energies(found, bias, tested, there)
        prob = gaussian_predictive.probit(at)
        np.savez(f"{path}.ours.npz", mean=at.mean, covariance=at.covariance, prob=prob)

    serve(run)


def compare(rows: int, p: int, classes: int, repeats: int, peers: str | None) -> dict[str, Any]:
    """Both in turn; the peer's batch size is settled first."""
    features, label = records(rows + TESTED, p, classes)
    observations = observed(features[:rows], label[:rows], classes)
    mode = newton.solve(np.full(1, TAU), observations, jnp.zeros(classes))
    deviation = TAU * relative(p)
    u = deviation[:, None] * np.asarray(mode.z)
    theta = newton.zero_sum_basis(classes) @ u.T
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "records")
        np.savez(
            f"{path}.npz",
            features=features[:rows],
            label=label[:rows],
            test=features[rows:],
            u=u,
            theta=theta.astype(np.float32),
            precision=np.tile(1 / deviation**2, (classes, 1)).astype(np.float32),
            classes=classes,
        )
        mine = Worker(sys.executable, "benchmarks.laplace", "--worker", path)
        result: dict[str, Any] = {"rows": rows, "features": p, "classes": classes}
        result |= {"ours_first_s": mine.run()["seconds"]}
        if peers is None:
            result |= _summary("ours", [mine.run() for _ in range(repeats)])
            mine.close()
            return result
        module = "benchmarks.peers.laplace_torch"
        trials = {size: Worker(peers, module, path, str(size)) for size in BATCHES}
        took = {size: [w.run() for _ in range(2)][1]["seconds"] for size, w in trials.items()}
        best = min(took, key=lambda size: took[size])
        runs = [(mine.run(), trials[best].run()) for _ in range(repeats)]
        for worker in (mine, *trials.values()):
            worker.close()
        result |= _summary("ours", [a for a, _ in runs])
        result |= _summary("laplace_torch", [b for _, b in runs]) | {"their_batch": best}
        result |= _difference(path, classes)
    result["speed_ratio"] = result["laplace_torch_s"] / result["ours_s"]
    result["memory_ratio"] = result["laplace_torch_peak_mib"] / max(result["ours_peak_mib"], 0.1)
    return result


def _summary(name: str, runs: list[dict[str, Any]]) -> dict[str, float]:
    keys = {"s": "seconds", "peak_mib": "peak_mib"}
    return {f"{name}_{short}": median(r[key] for r in runs) for short, key in keys.items()}


def _difference(path: str, classes: int) -> dict[str, float]:
    """How far apart the Gaussians are, the covariance in units of its largest entry, and `probit`.

    That takes differences of classes alone and needs no gauge; the peer takes the diagonal.
    """
    with np.load(f"{path}.ours.npz") as a, np.load(f"{path}.torch.npz") as b:
        centre = np.eye(classes) - 1 / classes
        theirs = centre @ b["covariance"].astype(float) @ centre
        covariance = np.max(np.abs(a["covariance"] - theirs)) / np.max(np.abs(theirs))
        mean = np.max(np.abs(a["mean"] - b["mean"] @ centre))
        peers = gaussian_predictive.Energies(jnp.asarray(b["mean"]), jnp.asarray(b["covariance"]))
        prob = np.max(np.abs(a["prob"] - gaussian_predictive.probit(peers)))
    return {"covariance_off": float(covariance), "mean_off": float(mean), "prob_off": float(prob)}


def growth(rows: int, p: int, classes: int, repeats: int) -> dict[str, Any]:
    """One pass of the Hessian, and a product of two matrices, in turn."""
    features, label = records(rows, p, classes)
    observations, bias = observed(features, label, classes), jnp.zeros(classes)
    square = jnp.asarray(features[: 1 + SQUARE // p].ravel()[:SQUARE])[:, None] * jnp.ones(SQUARE)
    with jax.enable_x64(True):
        u = jnp.zeros((p, classes - 1))
        expand = jax.jit(newton.expand).lower(u, observations, bias).compile()
        product = jax.jit(partial(jnp.matmul, precision="highest"))
        pairs = [
            (_time(expand, u, observations, bias), _time(product, square, square))
            for _ in range(repeats + 1)
        ][1:]
        taken = expand.memory_analysis()
    seconds, squares = (median(t) for t in zip(*pairs, strict=True))
    rate = rows * p**2 * classes * (classes - 1) / seconds
    fastest = 2 * SQUARE**3 / squares
    return {
        "rows": rows,
        "weights": p * (classes - 1),
        "classes": classes,
        "seconds": seconds,
        "gflops": round(rate / 1e9, 1),
        "product_gflops": round(fastest / 1e9, 1),
        "of_product": round(rate / fastest, 3),
        "temporary_mib": round(taken.temp_size_in_bytes / 2**20, 2) if taken else None,
        "features_mib": round(features.nbytes / 2**20, 1),
    }


def _time(function, *given) -> float:
    started = time.perf_counter()
    jax.block_until_ready(function(*given))
    return time.perf_counter() - started


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few rows and weights")
    parser.add_argument("--peers", help="a Python that has torch and laplace-torch")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        ours(args.worker)
        return
    rows, repeats = (2000, 3) if args.smoke else (args.rows, args.repeats)
    compared = SMOKE_COMPARED if args.smoke else COMPARED
    against = [compare(rows, p, k, repeats, args.peers) for p, k in compared]
    grown = [growth(*size, repeats) for size in (SMOKE_GROWTH if args.smoke else GROWTH)]
    wide = [one["of_product"] for one in grown if one["weights"] >= 1000]
    result = {
        "benchmark": "laplace",
        "against_laplace_torch": against,
        "least_speed_ratio": min((a["speed_ratio"] for a in against if args.peers), default=None),
        "least_memory_ratio": min((a["memory_ratio"] for a in against if args.peers), default=None),
        "peer_absent": args.peers is None,
        "growth": grown,
        "least_of_product_at_1000_weights": min(wide, default=None),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
