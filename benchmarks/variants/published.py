"""What others published on the cards, by protocols of their own: shown apart from our figures."""

from typing import Any, NamedTuple

CLEAN = "clean test records, four fifths of all records to train on"
CONFLICT = "the same, but 10 % of the test records with noise, 40 % with a view of another class"
OMICS = "one split, 245 records to train on and 106 to test"
XU = "Xu et al., Reliable Conflictive Multi-View Learning, AAAI 2024"
QUOTED = "as later papers quote it, mostly Table 3 of FUML, ICML 2025"
WANG = "Wang et al., MOGONET, Nature Communications 12, 3445, 2021"


class Published(NamedTuple):
    """A figure as it was published: accuracy in %, AUROC between 0 and 1."""

    card: str
    method: str
    metric: str
    figure: float
    protocol: str
    source: str


PUBLISHED = (
    Published("handwritten", "ECML", "accuracy", 99.40, CLEAN, XU),
    Published("handwritten", "TMC", "accuracy", 92.76, CONFLICT, QUOTED),
    Published("handwritten", "ETMC", "accuracy", 93.85, CONFLICT, QUOTED),
    Published("handwritten", "ECML", "accuracy", 94.40, CONFLICT, QUOTED),
    Published("handwritten", "FUML", "accuracy", 98.78, CONFLICT, QUOTED),
    Published("scene15", "ECML", "accuracy", 76.19, CLEAN, XU),
    Published("scene15", "TMC", "accuracy", 42.27, CONFLICT, QUOTED),
    Published("scene15", "ETMC", "accuracy", 56.90, CONFLICT, QUOTED),
    Published("scene15", "ECML", "accuracy", 56.97, CONFLICT, QUOTED),
    Published("scene15", "FUML", "accuracy", 72.71, CONFLICT, QUOTED),
    Published("rosmap", "MOGONET", "AUROC", 0.874, OMICS, WANG),
    Published("rosmap", "MODILM", "AUROC", 0.891, OMICS, "the MODILM paper"),
)
"""No table of PML under the conflict protocol could be found."""


def on(card: str) -> list[dict[str, Any]]:
    """Every figure on this card, as plain values."""
    return [one._asdict() for one in PUBLISHED if one.card == card]


def stated(card: str, protocol: str) -> dict[str, float]:
    """Method → accuracy in %, by one protocol."""
    rows = [one for one in PUBLISHED if (one.card, one.protocol) == (card, protocol)]
    return {one.method: one.figure for one in rows if one.metric == "accuracy"}
