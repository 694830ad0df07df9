"""The comparison as plain values: the ranking with its tests, what validation chose, the costs."""

from typing import Any

import numpy as np
import pandas as pd

from benchmarks.variants import published, scores
from benchmarks.variants.features import Data
from benchmarks.variants.heads import Outcome
from benchmarks.variants.scores import PER_RECORD, Gap, Scored
from fusionjax import metrics
from fusionjax.fusion.variants import VARIANTS, singles

CHOSEN = "chosen by validation"
LEVEL = 0.05


def summarise(
    data: Data,
    scenarios: list[str],
    outcomes: dict[str, Outcome],
    scored: dict[str, Scored],
    rank_by: str,
) -> dict[str, Any]:
    """Everything that the page shows; contenders are compared with the best by `rank_by`.

    In each seed validation chooses among the fusions, not among single modalities and baselines.
    """
    metric, families = PER_RECORD.index(rank_by), _families(data)
    fusions = [n for n in scored if families.get(n, "single") != "single"]
    pick, picks = scores.chosen(scored, fusions) if fusions else (None, [])
    everyone = {**scored, CHOSEN: pick} if pick else dict(scored)
    gaps, corrected, best = _against_best(data, everyone, list(scored), metric)
    rank = scores.ranks(scored, metric)
    by_rank = sorted(scored, key=lambda n: rank[n])
    order = sorted(everyone, key=lambda n: _mean(everyone[n], metric))
    rows = [
        _row(n, everyone[n], data, outcomes.get(n))
        | {"family": families.get(n, "chosen" if n == CHOSEN else "baseline")}
        | {"mean_rank": plain(rank.get(n, np.nan)), "p_holm": plain(corrected.get(n, np.nan))}
        | {"gap": _plain_gap(gaps.get(n)), "differs": corrected.get(n, 1.0) < LEVEL}
        | {"verdict": verdict(gaps.get(n), corrected.get(n, 1.0))}
        for n in order
    ]
    return {
        "benchmark": "fusion_variants",
        "data": data.name,
        "modalities": data.modalities,
        "classes": data.classes,
        "records": {
            k: int(getattr(data, k).there.sum(axis=1).mean())
            for k in ("train", "validation", "test")
        },
        "seeds": len(data.bias),
        "rank_by": rank_by,
        "scenarios": scenarios,
        "best": best,
        "no_difference_from_best": [n for n in scored if n != best and corrected[n] >= LEVEL],
        "chosen": picks,
        "rows": rows,
        "by_rank": by_rank,
        "published": published.on(data.name),
        "cliques": scores.cliques(by_rank, scored, metric, data.group),
    }


def tidy(scored: dict[str, Scored], scenarios: list[str]) -> pd.DataFrame:
    """A line for each contender, seed, scenario and metric."""
    return pd.DataFrame(
        [
            {"contender": n, "seed": s, "scenario": scenarios[k], "metric": m, "value": v[s, k]}
            for n, one in scored.items()
            for m, v in one.values.items()
            for s, k in np.ndindex(v.shape)
        ]
    )


def verdict(gap: Gap | None, p: float) -> str:
    """Against the best by test records, which has no gap; validation's choice may be better."""
    if gap is None:
        return "best"
    if p >= LEVEL:
        return "no difference"
    return "worse" if gap.value > 0 else "better"


def plain(value: Any) -> float | None:
    """A number for JSON, None where it is not finite."""
    return float(f"{float(value):.6g}") if np.isfinite(value) else None


def _families(data: Data) -> dict[str, str]:
    return {v.name: v.family for v in (*singles(data.modalities), *VARIANTS)}


def _mean(scored: Scored, metric: int) -> float:
    return float(np.nanmean(scored.losses[:, :, metric]))


def _against_best(
    data: Data, everyone: dict[str, Scored], compared: list[str], metric: int
) -> tuple[dict[str, Gap], dict[str, float], str]:
    best = min(compared, key=lambda n: _mean(everyone[n], metric))
    reference = everyone[best].losses[:, :, metric]
    gaps = {
        n: scores.gap(s.losses[:, :, metric], reference, data.group)
        for n, s in everyone.items()
        if n != best
    }
    p = scores.holm(np.array([g.p for g in gaps.values()]))
    return gaps, dict(zip(gaps, p.tolist(), strict=True)), best


def _row(name: str, scored: Scored, data: Data, outcome: Outcome | None) -> dict[str, Any]:
    values = scored.values.items()
    spread = {m: plain(np.std(v[:, 0], ddof=1)) for m, v in values} if len(data.bias) > 1 else {}
    return {
        "name": name,
        "intervals": {
            m: [plain(x) for x in scores.interval(scored.losses[:, :, i], data.group)]
            for i, m in enumerate(PER_RECORD)
        },
        "means": {m: plain(np.nanmean(v[:, 0])) for m, v in values},
        "spread": spread,
        "scenarios": {m: [plain(x) for x in v.mean(axis=0)] for m, v in values},
        "validation_nll": plain(scored.validation_nll.mean()),
        "temperature": plain(scored.scale.mean()),
        "cost": {k: plain(v) for k, v in outcome.cost._asdict().items()} if outcome else None,
        "reliability": _reliability(scored, data),
    }


def _reliability(scored: Scored, data: Data) -> dict[str, list[float]]:
    """Of all seeds' test records as they are, together."""
    there = data.test.there
    prob, label = np.exp(scored.test[:, 0][there]), data.label[data.test.index[there]]
    curve = metrics.reliability_curve(prob, label)
    return {k: [float(x) for x in v] for k, v in curve._asdict().items()}


def _plain_gap(gap: Gap | None) -> dict[str, float | None] | None:
    return {k: plain(v) for k, v in gap._asdict().items()} if gap else None
