"""The 95 % intervals of evidence hold the truth in 93 to 97 % of cases, over 500 data sets.

    python -m benchmarks.evidence_coverage [--smoke] [--out FOLDER]

Each data set is drawn anew from the clinic: its findings in their natural statistics, each modality
absent with probability 0.3, independent given the diagnosis, so that modality i's true evidence is
its log likelihood ratio η_{i,y}·s − A_i(y), which the clinic knows. θ is fitted to 2,000 records by
Laplace, and the intervals for 50 new patients are held against it: every present modality and class
(`evidence`), and the likeliest class against the runner-up (`contrast`). So are the intervals after
calibration by presence pattern on 500 validation records, as in a fitted model (`calibrated`).
Standard errors are over data sets. The same draws shrunk about their mean to 0.7 of their width
must fall outside the band, else the benchmark cannot tell. Results are `evidence_coverage.json` in
FOLDER, benchmarks/results unless given. `--smoke` takes 12 data sets, too few for the claim.
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from fusionjax import files
from fusionjax.calibrate import by_pattern, shown
from fusionjax.calibration import drawn_evidence
from fusionjax.clinic import world
from fusionjax.log_linear import Theta
from fusionjax.posterior import laplace, observe
from fusionjax.predict import Predictive, predictive

RESULTS = Path(__file__).parent / "results"
RECORDS, VALIDATION, NEW = 2000, 500, 50
BAND = (0.93, 0.97)
NARROW, CALIBRATED = "too narrow", "calibrated"
READINGS = ("as it is", CALIBRATED, NARROW)
CLINIC = world.make(world.Dials(missing=0.3))


def true_evidence(cohort: world.Cohort) -> np.ndarray:
    """log P(z_i | y) less its mean over classes [patient, modality, class]."""
    node = len(CLINIC.severity) // 2  # the findings do not depend on severity at these dials
    each = [world.log_likelihood(CLINIC, i, z)[:, :, node] for i, z in enumerate(cohort.findings)]
    found = np.stack(each, axis=1)
    return found - found.mean(axis=2, keepdims=True)


def features(cohort: world.Cohort, centre: list[np.ndarray]) -> tuple[jax.Array, ...]:
    """The constant and the statistics, less the training records' mean as φ would."""
    return tuple(
        jnp.asarray(np.c_[np.ones(len(z)), world.statistics(i, z) - centre[i]], jnp.float32)
        for i, z in enumerate(cohort.findings)
    )


def calibrated(
    theta: Theta, bias: jax.Array, cohort: world.Cohort, centre: list[np.ndarray], seed: int
) -> by_pattern.ByPattern:
    """What validation records say of the evidence, by presence pattern."""
    here = np.asarray(cohort.presence)
    patterns = shown.known(here)
    terms = drawn_evidence(theta, features(cohort, centre), here)
    rows = shown.show(terms, here, patterns, seed)
    about = np.ones_like(here), cohort.label, np.arange(len(here)), np.asarray(bias)
    return by_pattern.choose(rows, patterns, *about, len(theta[0]), seed)[0]


def one(seed: int) -> dict[str, tuple[float, float]]:
    """Shares of intervals that hold the truth, of evidence and of contrasts, for each reading."""
    rng = np.random.default_rng(seed)
    train, new, validation = (world.sample(rng, CLINIC, n) for n in (RECORDS, NEW, VALIDATION))
    centre = [world.statistics(i, z).mean(axis=0) for i, z in enumerate(train.findings)]
    counts = np.bincount(train.label, minlength=len(world.CLASSES)) + 1
    bias = jnp.asarray(np.log(counts / counts.sum()), jnp.float32)
    presence, label = jnp.asarray(train.presence), jnp.asarray(train.label)
    rows = observe(features(train, centre), presence, label, len(bias))
    draws, here = laplace.fit(jax.random.key(seed), rows, bias).theta, new.presence
    calibration = calibrated(draws, bias, validation, centre, seed)
    narrow = tuple(t.mean(0) + 0.7 * (t - t.mean(0)) for t in draws)
    scale, shift = by_pattern.scale_of(calibration, here), calibration.shift
    patients = features(new, centre), jnp.asarray(here)
    got = {
        "as it is": predictive(draws, bias, *patients),
        CALIBRATED: predictive(draws, bias, *patients, jnp.asarray(scale), jnp.asarray(shift)),
        NARROW: predictive(narrow, bias, *patients),
    }
    return {name: held(one, true_evidence(new), here) for name, one in got.items()}


def held(got: Predictive, truth: np.ndarray, here: np.ndarray) -> tuple[float, float]:
    """Shares of the intervals of evidence, and of contrasts, that hold the truth."""
    patient, top, second = np.arange(NEW), np.asarray(got.top), np.asarray(got.runner_up)
    gap = truth[patient, :, top] - truth[patient, :, second]
    own = (got.evidence_low <= truth) & (truth <= got.evidence_high)
    odds = (got.contrast_low <= gap) & (gap <= got.contrast_high)
    return float(np.asarray(own)[here].mean()), float(np.asarray(odds)[here].mean())


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="12 data sets, not 500")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    sets, started = (12 if arguments.smoke else 500), time.perf_counter()
    every = [one(seed) for seed in range(sets)]
    shares = {name: np.array([found[name] for found in every]) for name in READINGS}
    result = {
        "benchmark": "evidence_coverage",
        "sets": sets,
        "records": RECORDS,
        "band": BAND,
        **{
            name: {
                kind: {
                    "covered": round(float(part[:, k].mean()), 4),
                    "error": round(float(part[:, k].std(ddof=1) / len(part) ** 0.5), 4),
                }
                for k, kind in enumerate(("evidence", "contrast"))
            }
            for name, part in shares.items()
        },
        "seconds": round(time.perf_counter() - started, 1),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}",
    }
    if not arguments.smoke:
        arguments.out.mkdir(parents=True, exist_ok=True)
        files.write(arguments.out / "evidence_coverage.json", json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    low, high = BAND
    covered = {n: [kind["covered"] for kind in result[n].values()] for n in READINGS}
    if not arguments.smoke:
        inside = (*covered["as it is"], *covered[CALIBRATED])
        assert all(low <= share <= high for share in inside), covered
    assert not all(low <= share <= high for share in covered[NARROW]), covered


if __name__ == "__main__":
    main()
