"""φ of all sites together, from counts and sums: that which their pooled records would give.

| what                              | from                                                     |
|-----------------------------------|----------------------------------------------------------|
| class frequencies, instances      | counts                                                   |
| limits of a table's numbers       | order statistics by counting, three rounds (`places`)    |
| logarithm or not, mean, deviation | counts and sums of powers 1 to 3                         |
| levels of a categorical column    | tables of buckets (`levels`)                             |

It differs from the pooled one by rounding alone. Notes are refused, since their tokenizer is
trained on text; so are other encoders than linear ones, and columns that the card does not name.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fusionjax.card import Card
from fusionjax.errors import CardError
from fusionjax.federated import levels, places
from fusionjax.federated.coordinator import Federation, FederationError
from fusionjax.federated.messages import Request
from fusionjax.federated.setup import categorical, width
from fusionjax.preprocess import audio, image, signal, tabular, vector
from fusionjax.preprocess.instances import MOST
from fusionjax.preprocess.moments import FLOAT32_RESOLUTION

QUANTILES = np.array(tabular.LIMITS)
BUCKETS = (64, 512, 4096)


class Census(NamedTuple):
    """Records of each class; of each modality, those with 0, 1, …, 8 or more instances."""

    labels: Int[np.ndarray, " class"]
    instances: Int[np.ndarray, "modality number"]


def check(card: Card) -> None:
    """Raise CardError for what no sum can fit, or what the card leaves to the records."""
    if not card.classes:
        raise CardError(card.path, "label.classes", "is empty", "Name them: sites differ in them.")
    for modality in card.modalities:
        place = f"modalities.{modality.name}"
        if modality.kind == "text":
            problem = "is text, whose tokenizer is trained on notes and is no sum over records"
            raise CardError(card.path, place, problem, "Leave it out of the federation.")
        if modality.encoder not in ("auto", "linear"):
            problem = f"is {modality.encoder!r}, which is not fitted by sums over records"
            raise CardError(card.path, f"{place}.encoder", problem, 'A federation has "linear".')
        options: Any = modality.options
        if modality.kind == "signal" and not options.channels:
            problem = "is empty, so that each site would take its own"
            raise CardError(card.path, f"{place}.channels", problem, "Name the channels.")
        if any("*" in name for name in modality.columns):
            problem = "has a wildcard, which each site would read in its own way"
            raise CardError(card.path, f"{place}.columns", problem, "Name every column.")


def census(federation: Federation, card: Card) -> Census:
    """The counts that everything else is held against."""
    size = len(card.modalities), MOST + 1
    expected = {"labels": (len(card.classes),), "instances": size}
    found = federation.total(Request("census", {}, expected, tuple(expected)))
    return Census(*(np.asarray(found[name], np.int64) for name in Census._fields))


def fit(
    federation: Federation, card: Card, instances: Int[np.ndarray, "modality number"]
) -> tuple[Any, ...]:
    """The statistics of each modality."""
    widths = [width(modality) for modality in card.modalities]
    table = np.repeat([modality.kind == "tabular" for modality in card.modalities], widths)
    low, high = _limits(federation, table)
    logged, mean, sd = _moments(federation, low, high, table)
    words, ends, found = iter(_levels(federation, card)), np.cumsum([0, *widths]), []
    for i, modality in enumerate(card.modalities):
        at, room = slice(ends[i], ends[i + 1]), int(np.max(np.flatnonzero(instances[i]), initial=1))
        if modality.kind == "tabular":
            known = tuple(next(words) for _ in categorical(modality))
            one = tabular.Statistics(low[at], high[at], logged[at], mean[at], sd[at], known)
        elif modality.kind == "vector":
            one = vector.Statistics(mean[at], sd[at])
        elif modality.kind == "image":
            one = image.Statistics(mean[at] / 255, sd[at] / 255, room)
        else:
            kind = audio if modality.kind == "audio" else signal
            one = kind.Statistics(mean[at], sd[at], room)
        found.append(one)
    return tuple(found)


def _limits(
    federation: Federation, table: Bool[np.ndarray, " column"]
) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, " column"]]:
    """Quantiles of tables' columns, by linear interpolation as NumPy's, and others' extremes."""

    def ranks(count: np.ndarray) -> np.ndarray:
        last = np.maximum(count - 1, 0)[:, None]
        at = np.floor(QUANTILES * last).astype(np.int64)
        inner = np.stack([at, np.minimum(at + 1, last)], axis=2).reshape(len(count), 4)
        return np.where(table[:, None], inner, last * [[0, 0, 1, 1]])

    count, found = search(federation, len(table), ranks)
    share = QUANTILES * np.maximum(count - 1, 0)[:, None] % 1.0
    before, after = found[:, ::2].astype(np.float64), found[:, 1::2].astype(np.float64)
    apart = after - before
    between = np.where(share < 0.5, before + apart * share, after - apart * (1 - share))
    low, high = np.where(table[:, None], between, before).T
    return low, high


def search(
    federation: Federation, columns: int, ranks: places.Ranks, setup: str = ""
) -> tuple[Int[np.ndarray, " column"], Float[np.ndarray, "column rank"]]:
    """How many values φ's columns have, and of each those of some ranks, 0 where it has none.

    With a `setup`, of ψ's columns. `ranks(count)` gives the ranks [column, rank], from 0.
    """
    column = np.arange(columns)
    prefix, depth = np.zeros(columns, np.int64), 0

    def counts() -> np.ndarray:
        arrays = {"column": column, "prefix": prefix, "depth": np.array(depth)}
        expected = {"places": (len(column), places.PARTS)}
        request = Request("places", arrays, expected, ("places",), setup)
        return np.asarray(federation.total(request)["places"], np.int64)

    first = counts() if columns else np.zeros((0, places.PARTS), np.int64)
    total = first.sum(axis=1)
    rank = ranks(total)
    column = np.repeat(column, rank.shape[1])
    prefix, left = places.descend(first[column], prefix[column], rank.ravel(), depth)
    for depth in range(1, len(places.BITS) if columns else 1):
        prefix, left = places.descend(counts(), prefix, left, depth)
    values = np.where(total[column] > 0, places.value(prefix), 0)
    return total, values.reshape(rank.shape)


def _moments(
    federation: Federation,
    low: Float[np.ndarray, " column"],
    high: Float[np.ndarray, " column"],
    table: Bool[np.ndarray, " column"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether a column is logged, its mean and its deviation, as in `preprocess`."""
    if not len(table):
        return np.zeros(0, bool), np.zeros(0, np.float32), np.zeros(0, np.float32)
    positive = table & (low > 0)
    ends = np.stack([low, high], axis=1)
    logs = np.log(np.where(positive[:, None], ends, 1.0))
    pairs = np.stack([ends, logs], axis=1)
    centre, half = pairs.mean(axis=2), (pairs[:, :, 1] - pairs[:, :, 0]) / 2
    width = np.where(half > 0, half, 1.0)
    limits = np.where(table[:, None], ends, [-np.inf, np.inf])
    arrays = {"limits": limits, "positive": positive, "centre": centre, "width": width}
    expected = {"count": (len(low),), "powers": (len(low), 2, 3)}
    found = federation.total(Request("moments", arrays, expected, ("count",)))
    seen, count = found["count"] > 0, np.maximum(found["count"], 1)[:, None]
    first, second, third = np.moveaxis(found["powers"], 2, 0) / count
    mean = (centre + width * first).astype(np.float32)
    sd = width * np.sqrt(np.maximum(second - first**2, 0))
    constant = sd <= FLOAT32_RESOLUTION * np.abs(mean)
    sd = np.where(constant, 1, sd).astype(np.float32)
    skewness = width**3 * (third - 3 * first * second + 2 * first**3) / sd.astype(np.float64) ** 3
    logged = tabular.worth_logging(positive, *skewness.T)
    pick = logged.astype(int)[:, None]
    mean, sd = (np.take_along_axis(x, pick, axis=1)[:, 0] for x in (mean, sd))
    return logged, np.where(seen, mean, 0).astype(np.float32), sd


def _levels(federation: Federation, card: Card) -> list[tuple[str, ...]]:
    """Of each categorical column, the levels that two records have."""
    columns = sum(len(categorical(modality)) for modality in card.modalities)
    if not columns:
        return []
    for buckets in BUCKETS:
        arrays, expected = {"buckets": np.array(buckets)}, levels.shape(columns, buckets)
        found = federation.total(Request("levels", arrays, expected, ("count",)))
        texts = [levels.read({k: x[c] for k, x in found.items()}) for c in range(columns)]
        known = [each for each in texts if each is not None]
        if len(known) == columns:
            return [tabular.kept_levels(each) for each in known]
    raise FederationError(f"levels cannot be told apart in {BUCKETS[-1]} buckets: use fewer")
