"""A row of blood results: BNP, troponin, CRP and D-dimer, log-normal, and sodium.

Nuisance: sodium, which has nothing to do with anything but the site's assay.
"""

import numpy as np
from jaxtyping import Float

COLUMNS = ("bnp", "troponin", "crp", "d_dimer", "sodium")
# pg/mL, ng/L, mg/L, ng/mL at z = 0; one unit of z multiplies a result by exp(SPREAD).
MEDIAN = np.array([250.0, 25.0, 30.0, 700.0])
SPREAD = 0.4


def render(
    rng: np.random.Generator, findings: Float[np.ndarray, "4"], site: float
) -> Float[np.ndarray, "5"]:
    """The results to 7 digits (z to 1e-6); `site` in −1..1 moves sodium by 2 mmol/L."""
    sodium = rng.normal(138 + 2 * site, 3)
    results = [*(MEDIAN * np.exp(SPREAD * findings)), sodium]
    return np.array([float(f"{result:.7g}") for result in results])


def decode(results: Float[np.ndarray, "5"]) -> Float[np.ndarray, "4"]:
    """The log-concentrations in units of the spread."""
    return np.log(results[:-1] / MEDIAN) / SPREAD
