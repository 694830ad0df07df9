"""How good are the probabilities? Metrics of predictions, each with a patient-level interval.

A metric is a function of `prob` [n, class], `label` [n] and, optionally, `weight` [..., n]; it
returns one value for each leading index of `weight`, so that a whole bootstrap is one call. A
record of weight 0 counts as absent; weights are otherwise as in scikit-learn's `sample_weight`.
What is undefined on a slice (no records; AUROC where one class is seen) is NaN, never an error.
NumPy only: rows are predictions that have left the device.
"""

from fusionjax.metrics.arrays import Label, Metric, Prob, Value, Weight, mean
from fusionjax.metrics.calibration import (
    Reliability,
    ece,
    ece_classwise,
    ece_equal_width,
    ece_top_label,
    reliability_curve,
)
from fusionjax.metrics.decision import net_benefit, treat_all
from fusionjax.metrics.detection import Detected, out_of_distribution
from fusionjax.metrics.paired import Compared, delong, mcnemar
from fusionjax.metrics.ranking import (
    auprc,
    auroc,
    auroc_pairs,
    average_precision,
    binary_auroc,
    binary_sensitivity,
    false_positives_at,
    sensitivity_at,
)
from fusionjax.metrics.resampling import (
    METRICS,
    Estimate,
    bootstrap,
    difference,
    interval,
    table,
)
from fusionjax.metrics.scores import (
    Decomposition,
    accuracy,
    balanced_accuracy,
    brier,
    brier_decomposition,
    entropy,
    kl,
    nll,
)
from fusionjax.metrics.selective import RiskCoverage, augrc, aurc, risk_coverage
from fusionjax.metrics.smooth import Test, kuiper, smooth_ece, spiegelhalter
from fusionjax.metrics.subgroups import Subgroup, by_subgroup
from fusionjax.metrics.truth import TruthGap, gap_to_truth

__all__ = [
    "METRICS",
    "Compared",
    "Decomposition",
    "Detected",
    "Estimate",
    "Label",
    "Metric",
    "Prob",
    "Reliability",
    "RiskCoverage",
    "Subgroup",
    "Test",
    "TruthGap",
    "Value",
    "Weight",
    "accuracy",
    "augrc",
    "auprc",
    "aurc",
    "auroc",
    "auroc_pairs",
    "average_precision",
    "balanced_accuracy",
    "binary_auroc",
    "binary_sensitivity",
    "bootstrap",
    "brier",
    "brier_decomposition",
    "by_subgroup",
    "delong",
    "difference",
    "ece",
    "ece_classwise",
    "ece_equal_width",
    "ece_top_label",
    "entropy",
    "false_positives_at",
    "gap_to_truth",
    "interval",
    "kl",
    "kuiper",
    "mcnemar",
    "mean",
    "net_benefit",
    "nll",
    "out_of_distribution",
    "reliability_curve",
    "risk_coverage",
    "sensitivity_at",
    "smooth_ece",
    "spiegelhalter",
    "table",
    "treat_all",
]
