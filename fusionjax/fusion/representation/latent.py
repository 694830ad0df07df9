"""What latent fusions share: a Gaussian belief of each modality, and a linear decoder of classes.

Modality i believes q_i(z | X_i) = N(μ_i, 1/λ_i), column by column. Scores are linear in z, C z, so
their distribution is Gaussian and nothing need be sampled:

- loss: E_q[−log P(y | z)] ≤ −b_y − C_y·μ + log Σ_k exp(b_k + C_k·μ + C_k² ·σ²/2) (Jensen), plus
  β KL(q ‖ N(0, 1)): the variational information bottleneck of Alemi et al. (2017, eq. 17), in
  closed form;
- prediction: softmax(b + m/√(1 + π v/8)), m and v the scores' mean and variance: what MacKay (1992)
  does with the one score of two classes, done with each class's.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from fusionjax.fusion.layers import Projections
from fusionjax.types import Features, Params


class Belief(NamedTuple):
    """A diagonal Gaussian."""

    mean: Float[Array, "*batch width"]
    precision: Float[Array, "*batch width"]


class Scores(NamedTuple):
    """Gaussian scores of the classes, each by itself."""

    mean: Float[Array, "*batch class"]
    variance: Float[Array, "*batch class"]


class Latent(nn.Module):
    """Each modality's belief, and the decoder's weights C [class, width]."""

    width: int
    classes: int

    @nn.compact
    def __call__(
        self, features: tuple[Features, ...]
    ) -> tuple[Belief, Float[Array, "class width"]]:
        """A belief [batch, modality, width] with precision over 0, and C."""
        mean = Projections(self.width, name="mean")(features)
        precision = nn.softplus(Projections(self.width, name="precision")(features))
        decoder = self.param("decoder", nn.initializers.normal(0.1), (self.classes, self.width))
        return Belief(mean, precision + 1e-3), decoder


def beliefs(
    module: Latent, params: Params, features: tuple[Features, ...]
) -> tuple[Belief, Float[Array, "class width"]]:
    """What the module says, under the type that it has."""
    found: Any = module.apply({"params": params}, features)
    return found


def decode(belief: Belief, decoder: Float[Array, "class width"]) -> Scores:
    """C z of a Gaussian z."""
    variance = (1 / belief.precision) @ (decoder**2).T
    return Scores(belief.mean @ decoder.T, variance)


def log_prob(scores: Scores, bias: Float[Array, " class"]) -> Float[Array, "*batch class"]:
    """log softmax(b + m/√(1 + π v/8))."""
    evidence = scores.mean / jnp.sqrt(1 + jnp.pi / 8 * scores.variance)
    return jax.nn.log_softmax(_like(bias, evidence) + evidence, axis=-1)


def nll_bound(
    scores: Scores, bias: Float[Array, " class"], onehot: Float[Array, "*batch class"]
) -> Float[Array, "*batch"]:
    """An upper bound of E_q[−log P(y | z)], exact where the variance is 0."""
    energy = _like(bias, scores.mean) + scores.mean
    return jax.nn.logsumexp(energy + scores.variance / 2, axis=-1) - jnp.sum(
        onehot * energy, axis=-1
    )


def divergence(belief: Belief) -> Float[Array, "*batch"]:
    """KL(N(μ, 1/λ) ‖ N(0, 1)) in nats."""
    each = belief.mean**2 + 1 / belief.precision - 1 + jnp.log(belief.precision)
    return jnp.sum(each, axis=-1) / 2


def _like(bias: Float[Array, " class"], values: Float[Array, "*batch class"]) -> Array:
    return bias.reshape((1,) * (values.ndim - 1) + bias.shape)
