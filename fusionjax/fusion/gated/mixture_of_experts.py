"""Mixture of experts: the gate says with which probability each modality's expert is right."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from fusionjax.fusion.adapters import likelihood, prior_where_nothing
from fusionjax.fusion.log_linear import start_theta
from fusionjax.fusion.reliability import expert_log_probs
from fusionjax.log_linear import Theta
from fusionjax.presence import blank
from fusionjax.types import Features, Fusion, Key, Params

NEVER = -1e9
"""The gate's score of a missing modality: no share is left of it in float32."""


def mixture_of_experts(bias: Float[Array, " class"]) -> Fusion:
    """P(y | X) = Σ_i g_i(X) P_i(y | X_i), g = softmax of V [F_1, …, F_M] over present modalities.

    Jacobs et al. (1991), trained on the likelihood of the mixture (eq. 1.3). Departures: class
    probabilities stand for their Gaussian densities; and experts see their modality alone, while
    the gate sees all. Both are linear, and start where every expert has the same share.
    """

    def init(key: Key, features: tuple[Features, ...]) -> Params:
        vectors = tuple(f.vector for f in features)
        theta = start_theta(key, vectors, len(bias), "full")
        gate = tuple(jnp.zeros((len(features), v.shape[1])) for v in vectors)
        return {"theta": theta, "gate": gate}

    def apply(
        params: Params, features: tuple[Features, ...], presence: Bool[Array, "batch modality"]
    ) -> Float[Array, "batch class"]:
        vectors = blank(tuple(f.vector for f in features), presence)
        experts = expert_log_probs(params["theta"], bias, vectors)
        shares = log_shares(params["gate"], vectors, presence)
        found = jax.nn.logsumexp(shares[:, :, None] + experts, axis=1)
        return prior_where_nothing(found, bias, presence)

    return likelihood(init, apply)


def log_shares(
    gate: Theta,
    vectors: tuple[Float[Array, "batch _"], ...],
    presence: Bool[Array, "batch modality"],
) -> Float[Array, "batch modality"]:
    """log g_i(X)."""
    scores = sum(v @ w.T for v, w in zip(vectors[1:], gate[1:], strict=True))
    scores = vectors[0] @ gate[0].T + scores
    return jax.nn.log_softmax(jnp.where(presence, scores, NEVER), axis=1)
