"""Numbers as print sets them, and what they mean said in words, no stronger than they allow."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from fusionjax.metrics import Estimate
from fusionjax.report.run import estimate, numbers

Verdict = Literal["better", "worse", "no difference", "undefined"]

NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "auroc": "AUROC",
    "nll": "NLL",
    "brier": "Brier",
    "ece": "ECE",
}
LOWER_IS_BETTER = ("nll", "brier", "ece")
COMPARED = ("nll", "auroc")
LARGEST_ODDS = 10_000
FLATTERING = ("giveaway", "duplicate", "site")
"""Kinds of warnings of what may make a measurement too good."""
STRONG = 3.0
"""Nats of evidence that are called so: odds of twenty (Kass and Raftery 1995, "Bayes factors")."""


class Headline(NamedTuple):
    """The result of a run in one line, and the sentences that support it."""

    title: str
    sentences: tuple[str, ...]


def decimal(value: float, digits: int = 3) -> str:
    """A number with so many decimals and a true minus sign; an en dash where there is none."""
    if not math.isfinite(value):
        return "–"
    return _sign(f"{value:.{digits}f}")


def percent(value: float) -> str:
    """A fraction as a percentage with one decimal, its sign kept on the same line."""
    return "–" if not math.isfinite(value) else _sign(f"{100 * value:.1f}\u202f%")


def interval(entry: Estimate, digits: int = 3) -> str:
    """`[low, high]`, or nothing where the interval is not defined."""
    if not (math.isfinite(entry.low) and math.isfinite(entry.high)):
        return ""
    return f"[{decimal(entry.low, digits)}, {decimal(entry.high, digits)}]"


def spoken(entry: Estimate, digits: int = 3) -> str:
    """A value and its interval as a screen reader says them."""
    value = "not defined" if not math.isfinite(entry.value) else decimal(entry.value, digits)
    if not interval(entry):
        return value
    return f"{value}, 95 % interval {decimal(entry.low, digits)} to {decimal(entry.high, digits)}"


def thousands(number: int | float) -> str:
    """A whole number, its thousands set apart by a thin space."""
    return f"{number:,.0f}".replace(",", "\u202f")


def count(number: int, noun: str) -> str:
    """`1 patient`, `300 patients`."""
    return f"{thousands(number)} {noun if number == 1 else noun + 's'}"


def enumerate_words(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def odds(nats: float) -> str:
    """What so many nats do to the odds: `× 8.2`, `÷ 3.4`, or `× 1.0` where nothing changes."""
    if not math.isfinite(nats):
        return "–"
    size = math.exp(min(abs(nats), 50.0))
    sign = "÷" if nats < 0 and size >= 1.05 else "×"
    if size > LARGEST_ODDS:
        return f"{sign} {thousands(LARGEST_ODDS)}+"
    rounded = round(size, 1 - math.floor(math.log10(size)))
    return f"{sign} {rounded:.1f}" if rounded < 10 else f"{sign} {thousands(rounded)}"


def promise(pattern: Mapping[str, Any], covered: Estimate) -> str:
    """What stands beside a pattern's coverage: whose promise it is, and whether it was kept."""
    if pattern.get("limit") is None:
        return "too few records to promise anything"
    parts = []
    if pattern.get("pooled"):
        parts.append("few records: one promise for all such patterns")
    elif pattern.get("marginal"):
        parts.append("few records: the limit of all, and no promise of its own")
    elif pattern.get("helped"):
        parts.append("if what is missing is missing at random")
    return "; ".join(filter(None, (*parts, kept(covered))))


def kept(covered: Estimate) -> str:
    """What a share says that is not in its band: only below it can a promise be broken."""
    if covered.value < covered.low:
        return "below the band"
    return "above the band: more than promised" if covered.value > covered.high else ""


def verdict(metric: str, difference: Estimate) -> Verdict:
    """What the interval of (model − fusion) says of the fusion; nothing where it holds 0."""
    if not (math.isfinite(difference.low) and math.isfinite(difference.high)):
        return "undefined"
    if difference.low <= 0 <= difference.high:
        return "no difference"
    return "better" if (difference.low > 0) == (metric in LOWER_IS_BETTER) else "worse"


def worth(entry: Mapping[str, Any], records: int) -> str:
    """Whether a modality is worth having beside the others, and by how much, in one sentence."""
    evidence = entry.get("log_bayes_factor") or {}
    predicted = entry.get("elpd_loo_difference") or {}
    nats, gain, se = numbers([evidence.get("value"), predicted.get("value"), predicted.get("se")])
    signs = [(x > least) - (x < -least) for x, least in ((nats, STRONG), (gain, 2 * se))]
    doubts = [] if evidence.get("ok") else ["the evidence is only roughly known"]
    if predicted.get("bad"):
        doubts.append(f"{count(predicted['bad'], 'record')} could be predicted only roughly")
    return (
        f"{entry['modality']}: {_worth(signs)}. It adds {decimal(nats, 1)} nats of evidence (odds "
        f"{odds(nats)}), and {decimal(gain, 1)} ± {decimal(se, 1)} nats of leave-one-out "
        f"prediction over {count(records, 'record')}{''.join(f'; {doubt}' for doubt in doubts)}."
    )


def headline(metrics: Mapping[str, Any]) -> Headline:
    """The result of a run, as honest as its intervals: no difference is called no difference."""
    models = metrics.get("models") or []
    fusion = next((model for model in models if model.get("role") == "fusion"), None)
    if fusion is None or not fusion.get("metrics"):
        return Headline("Predictions without a known diagnosis", (_unscored(metrics),))
    rivals = [model for model in models if model is not fusion and model.get("difference")]
    verdicts = {metric: _verdicts(metric, rivals) for metric in COMPARED}
    compared = (_comparison(NAMES[metric], verdicts[metric]) for metric in COMPARED)
    return Headline(
        _title(verdicts["nll"]),
        (_score(metrics, fusion), *(text for text in compared if text), *_doubts(metrics)),
    )


def _worth(signs: Sequence[int]) -> str:
    if 1 in signs and -1 in signs:
        return "evidence and prediction disagree"
    if -1 in signs:
        return "better left out"
    said = ("not shown to be worth having", "probably worth having", "worth having")
    return said[signs.count(1)]


def _verdicts(metric: str, rivals: Sequence[Mapping[str, Any]]) -> dict[Verdict, list[str]]:
    verdicts: dict[Verdict, list[str]] = {}
    for model in rivals:
        difference = estimate(model["difference"].get(metric))
        verdicts.setdefault(verdict(metric, difference), []).append(model["name"])
    return verdicts


def _title(verdicts: Mapping[Verdict, Sequence[str]]) -> str:
    if "worse" in verdicts:
        return f"Fusion did worse than {enumerate_words(verdicts['worse'])}"
    if "no difference" in verdicts:
        return "Fusion was not shown to beat every alternative"
    if "undefined" in verdicts:
        return "Fusion could not be compared"
    if "better" in verdicts:
        return "Fusion beat every single modality and every baseline"
    return "Nothing to compare the fusion with"


def _comparison(name: str, verdicts: Mapping[Verdict, Sequence[str]]) -> str:
    phrases: dict[Verdict, str] = {
        "better": "better than {}",
        "worse": "worse than {}",
        "no difference": "no different from {}",
        "undefined": "not comparable with {}",
    }
    parts = [
        phrase.format(enumerate_words(verdicts[said]))
        for said, phrase in phrases.items()
        if said in verdicts
    ]
    return f"By {name}, the fusion is {'; '.join(parts)}." if parts else ""


def _score(metrics: Mapping[str, Any], fusion: Mapping[str, Any]) -> str:
    accuracy, nll = (estimate(fusion["metrics"].get(name)) for name in ("accuracy", "nll"))
    return (
        f"On {_tested(metrics)}, {fusion['name']} names the right diagnosis first in "
        f"{percent(accuracy.value)}{_percent_interval(accuracy)}, with an NLL of "
        f"{decimal(nll.value)} nats{_spaced(interval(nll))}."
    )


def _tested(metrics: Mapping[str, Any]) -> str:
    task = metrics["task"]
    kept = task["records"]
    labelled = (kept.get("kept") or 0) - (kept.get("unlabelled") or 0)
    records = count(int(kept.get("test") or labelled), "test record")
    patients = task.get("test_patients")
    return f"{records} of {count(int(patients), 'patient')}" if patients else records


def _unscored(metrics: Mapping[str, Any]) -> str:
    records = int(metrics["task"]["records"].get("kept") or 0)
    return f"{count(records, 'record')}; no labels to compare with, so nothing is said of accuracy."


def _doubts(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    posterior, warnings = metrics.get("posterior") or {}, metrics.get("warnings") or []
    doubts = []
    if posterior.get("ok") is False:
        doubts.append("The posterior failed its diagnostics: do not trust its uncertainties.")
    flattering = sum(warning.get("kind") in FLATTERING for warning in warnings)
    if flattering:
        noun = count(flattering, "warning")
        doubts.append(f"{noun} about the data may make these figures too good: see below.")
    if len(warnings) > flattering:
        noun = count(len(warnings) - flattering, "warning")
        doubts.append(f"{noun} of what the model may misread, or not read at all: see below.")
    return tuple(doubts)


def _percent_interval(entry: Estimate) -> str:
    if not interval(entry):
        return ""
    return f" [{decimal(100 * entry.low, 1)}, {decimal(100 * entry.high, 1)}]"


def _spaced(text: str) -> str:
    return f" {text}" if text else ""


def _sign(text: str) -> str:
    return text.replace("-", "−") if text.strip("-0.\u202f%") else text.replace("-", "")
