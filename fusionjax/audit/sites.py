"""A site that foretells the label."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Shaped

from fusionjax.audit.types import Warning
from fusionjax.records.ingest import Records
from fusionjax.splits import Split

ASSOCIATION = 0.3  # Cramér's V
CHANCE = 0.01  # that sites without meaning are as associated


def sites(records: Records, split: Split) -> Iterator[Warning]:
    """The site of the records, where Cramér's V with the label is above .3."""
    table = records.table.iloc[np.concatenate(split)]
    association = cramers_v(table["site"].to_numpy(str), table["label"].to_numpy())
    if association > ASSOCIATION:
        yield Warning(
            "site",
            str(records.card.columns.site),
            f"the site foretells the label, Cramér's V {association:.2f}: what is learnt may be "
            'the site. Hold sites out with by = "site" to see.',
        )


def cramers_v(a: Shaped[np.ndarray, " record"], b: Shaped[np.ndarray, " record"]) -> float:
    """Association of two categories, 0 to 1, without its bias (Bergsma 2013, J. Korean Stat. Soc.).

    0 where either has one value, or where chance explains it (χ², p > .01).
    """
    from scipy.special import chdtrc

    count = _crosstab(a, b)
    n, (rows, columns) = count.sum(), count.shape
    freedom = (rows - 1) * (columns - 1)
    expected = count.sum(axis=1)[:, None] * count.sum(axis=0)[None] / n
    chi2 = np.sum((count - expected) ** 2 / expected)
    excess = chi2 / n - freedom / (n - 1)
    if freedom == 0 or excess <= 0 or chdtrc(freedom, chi2) > CHANCE:
        return 0.0
    levels = min(size - (size - 1) ** 2 / (n - 1) for size in (rows, columns))
    return float(np.sqrt(excess / (levels - 1)))


def _crosstab(
    a: Shaped[np.ndarray, " record"], b: Shaped[np.ndarray, " record"]
) -> Float[np.ndarray, "a b"]:
    left, right = (np.unique(x, return_inverse=True)[1] for x in (a, b))
    count = np.zeros((left.max() + 1, right.max() + 1))
    np.add.at(count, (left, right), 1)
    return count
