"""Every variant in one place: a new one is its own file, and one line here.

`build(bias [class], modalities)` gives the `Fusion`. Where a variant has a width, all have the same
order of it, since they are compared at the same budget; `docs/variants.md` shows how to add one.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from fusionjax.fusion.attention.bottleneck import bottleneck
from fusionjax.fusion.attention.cross_attention import cross_attention
from fusionjax.fusion.attention.latent_array import latent_array
from fusionjax.fusion.attention.modality_tokens import modality_tokens
from fusionjax.fusion.concat_mlp import concat_mlp
from fusionjax.fusion.evidential.ecml import ecml
from fusionjax.fusion.evidential.etmc import etmc
from fusionjax.fusion.evidential.tmc import tmc
from fusionjax.fusion.gated.energy_weighted import energy_weighted
from fusionjax.fusion.gated.gated_unit import gated_unit
from fusionjax.fusion.gated.mixture_of_experts import mixture_of_experts
from fusionjax.fusion.interaction.film import film
from fusionjax.fusion.interaction.low_rank_tensor import low_rank_tensor
from fusionjax.fusion.interaction.multiplicative import multiplicative
from fusionjax.fusion.interaction.pairwise_experts import pairwise_experts
from fusionjax.fusion.interaction.tensor_fusion import tensor_fusion
from fusionjax.fusion.log_linear import log_linear
from fusionjax.fusion.opinion.corrected_product import corrected_product
from fusionjax.fusion.opinion.log_opinion_pool import log_opinion_pool
from fusionjax.fusion.opinion.majority_vote import majority_vote
from fusionjax.fusion.opinion.mean_logit import mean_logit
from fusionjax.fusion.opinion.mean_probability import mean_probability
from fusionjax.fusion.opinion.product_of_experts import product_of_experts
from fusionjax.fusion.opinion.stacking import stacking
from fusionjax.fusion.reliability import Prior, reliability
from fusionjax.fusion.representation.concat_linear import concat_linear
from fusionjax.fusion.representation.deep_sets import deep_sets
from fusionjax.fusion.representation.embracenet import embracenet
from fusionjax.fusion.representation.latent_mixture import latent_mixture
from fusionjax.fusion.representation.latent_product import latent_product
from fusionjax.fusion.representation.max_pool import max_pool
from fusionjax.fusion.representation.mean_pool import mean_pool
from fusionjax.fusion.representation.product_pool import product_pool
from fusionjax.fusion.representation.sum_pool import sum_pool
from fusionjax.fusion.schemes.auxiliary import auxiliary
from fusionjax.fusion.schemes.blending import blending
from fusionjax.fusion.single import single
from fusionjax.types import Fusion

Bias = Float[Array, " class"]


class Variant(NamedTuple):
    """A fusion by name; `family` groups the table."""

    name: str
    family: str
    build: Callable[[Bias, int], Fusion]


def singles(names: tuple[str, ...]) -> tuple[Variant, ...]:
    """Each modality alone, by the names of all."""
    return tuple(
        Variant(f"{name} alone", "single", partial(_single, i)) for i, name in enumerate(names)
    )


def _plain(name: str, family: str, build: Callable[[Bias], Fusion]) -> Variant:
    return Variant(name, family, lambda bias, modalities: build(bias))


def _single(place: int, bias: Bias, modalities: int) -> Fusion:
    return single(bias, place)


def _believed(pi: float, bias: Bias, modalities: int) -> Fusion:
    return reliability(bias, jnp.full(modalities, pi))


def _gated(bias: Bias, modalities: int) -> Fusion:
    """Beside each record that is seen stands one of the prior of π, however many are seen."""
    prior = Prior()
    start = jnp.full(modalities, prior.believed / (prior.believed + prior.doubted))
    return reliability(bias, start, prior, records=round(prior.believed + prior.doubted))


def _blended(bias: Bias, modalities: int) -> Fusion:
    """Equal weights: no gradient blending, which would learn them from an earlier run."""
    return blending(concat_mlp(bias), jnp.full(1 + modalities, 1 / (1 + modalities)))


VARIANTS: tuple[Variant, ...] = (
    _plain("log-linear", "log-linear", log_linear),
    _plain("log opinion pool, scalar", "log-linear", lambda b: log_opinion_pool(b, "scalar")),
    _plain("log opinion pool, class", "log-linear", lambda b: log_opinion_pool(b, "class")),
    Variant("reliability 0.9", "log-linear", partial(_believed, 0.9)),
    Variant("reliability 0.6", "log-linear", partial(_believed, 0.6)),
    Variant("reliability, learned", "log-linear", _gated),
    _plain("pairwise experts", "log-linear", pairwise_experts),
    _plain("mean of probabilities", "opinion", mean_probability),
    _plain("mean of logits", "opinion", mean_logit),
    _plain("product of experts", "opinion", product_of_experts),
    _plain("corrected product", "opinion", corrected_product),
    _plain("stacking", "opinion", stacking),
    _plain("majority vote", "opinion", majority_vote),
    _plain("concatenation, linear", "representation", concat_linear),
    _plain("concatenation, MLP", "representation", concat_mlp),
    _plain("sum", "representation", sum_pool),
    _plain("mean", "representation", mean_pool),
    _plain("maximum", "representation", max_pool),
    _plain("product", "representation", product_pool),
    _plain("deep sets", "representation", deep_sets),
    _plain("EmbraceNet", "representation", embracenet),
    _plain("latent product", "representation", latent_product),
    _plain("latent mixture", "representation", latent_mixture),
    _plain("multiplicative", "interaction", multiplicative),
    _plain("FiLM", "interaction", film),
    _plain("tensor fusion", "interaction", tensor_fusion),
    _plain("low-rank tensor", "interaction", low_rank_tensor),
    _plain("gated unit", "gated", gated_unit),
    _plain("mixture of experts", "gated", mixture_of_experts),
    _plain("energy weighted", "gated", energy_weighted),
    _plain("modality tokens", "attention", modality_tokens),
    _plain("cross-attention", "attention", cross_attention),
    _plain("bottleneck", "attention", bottleneck),
    _plain("latent array", "attention", latent_array),
    _plain("TMC", "evidential", tmc),
    _plain("ETMC", "evidential", etmc),
    _plain("ECML", "evidential", ecml),
    _plain("MLP, auxiliary losses", "scheme", lambda b: auxiliary(concat_mlp(b))),
    Variant("MLP, blended losses", "scheme", _blended),
)
"""All variants but the single modalities, whose number depends on the card."""
