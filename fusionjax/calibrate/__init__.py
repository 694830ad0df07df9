"""Calibrators: from what a model says to what comes true, fitted on validation records.

Each is a `Calibrator(fit, apply)` whose parameters are plain values, one file each:

| name          | parameters                    | keeps order | file                     |
|---------------|-------------------------------|-------------|--------------------------|
| none          |                               | yes         | `unchanged.py`           |
| temperature   | one scale on the evidence     | yes         | `temperature_scaling.py` |
| bayesian      | its posterior on a grid       | yes         | `bayesian.py`            |
| platt         | slope, intercept a class      | a class's   | `platt.py`               |
| beta          | two slopes, intercept a class | a class's   | `beta.py`                |
| vector        | scale, intercept a class      | no          | `vector_scaling.py`      |
| matrix        | a weight a pair, held back    | no          | `matrix_scaling.py`      |
| dirichlet     | a weight a pair, on log p     | no          | `dirichlet.py`           |
| isotonic      | steps a class                 | a class's   | `isotonic.py`            |
| venn_abers    | two step functions a class    | a class's   | `venn_abers.py`          |
| histogram     | bins a class                  | no          | `histogram.py`           |

`stratified.py` makes one for each missingness pattern out of any of them, `hierarchical.py` is the
Bayesian temperature's; `choose` takes the simplest that cross-validation finds as good as the best.
`by_pattern.py` calibrates the framework's own fusion, whose evidence must still add up.
"""

from fusionjax.calibrate.choice import (
    CALIBRATORS,
    STRATIFIED,
    Choice,
    Fitted,
    Trial,
    calibrated,
    choose,
    fit,
)
from fusionjax.calibrate.stratified import Stratified, by_stratum, folds
from fusionjax.calibrate.temperature_scaling import (
    HIGHEST,
    LOWEST,
    apply,
    predictive_scale,
    reluctance,
    temperature,
)
from fusionjax.calibrate.types import Calibrator

__all__ = [
    "CALIBRATORS",
    "HIGHEST",
    "LOWEST",
    "STRATIFIED",
    "Calibrator",
    "Choice",
    "Fitted",
    "Stratified",
    "Trial",
    "apply",
    "by_stratum",
    "calibrated",
    "choose",
    "fit",
    "folds",
    "predictive_scale",
    "reluctance",
    "temperature",
]
