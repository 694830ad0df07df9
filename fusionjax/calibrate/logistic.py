"""Logistic regression on soft targets with a Gaussian prior and slopes that stay positive."""

import numpy as np
from jaxtyping import Float


def logistic(
    features: Float[np.ndarray, "n p"],
    target: Float[np.ndarray, " n"],
    center: Float[np.ndarray, " p"],
    spread: Float[np.ndarray, " p"],
    slopes: int,
) -> list[float]:
    """The most probable weights [p] under N(center, spread²); the first `slopes` are ≥ 0.

    The loss is convex; targets lie in [0, 1], and a spread may be infinite. scikit-learn's has
    neither soft targets nor bounds, hence this one.
    """
    from scipy.optimize import minimize
    from scipy.special import expit, log_expit

    def loss(weight: np.ndarray) -> tuple[float, np.ndarray]:
        score, pull = features @ weight, (weight - center) / spread
        likelihood = target * log_expit(score) + (1 - target) * log_expit(-score)
        slope = features.T @ (expit(score) - target) + pull / spread
        return (pull @ pull / 2 - likelihood.sum()) / records, slope / records

    records = max(len(target), 1)
    bounds = [(0.0, None)] * slopes + [(None, None)] * (len(center) - slopes)
    options = {"maxiter": 500, "ftol": 1e-13, "gtol": 1e-8}
    found = minimize(loss, center, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return [float(weight) for weight in found.x]
