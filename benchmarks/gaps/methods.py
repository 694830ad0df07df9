"""Every way to fuse the same experts, each with a temperature of its own from practice records."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from benchmarks.gaps.conflict import Fitted
from fusionjax import calibrate, metrics
from fusionjax.fusion import reliability
from fusionjax.mixture import singly
from fusionjax.mixture.singly import Seen, Trust

RIVALS = ("concat", "product", "mean")


class Mixture(NamedTuple):
    """The mixture that practice records chose."""

    trust: Trust
    joint: bool


def rivals(
    fit: Fitted,
) -> dict[str, Callable[[Seen], Float[np.ndarray, "row class"]]]:
    """log P(y | X) of each rival, with the temperature that suits the practice records."""
    prior = np.exp(fit.bias.astype(float))

    def product(seen: Seen) -> np.ndarray:
        everything = jnp.ones(seen.presence.shape[1])
        bias = jnp.asarray(fit.bias)
        return np.asarray(reliability.log_prob(seen.experts, bias, seen.presence, everything))

    def mean(seen: Seen) -> np.ndarray:
        views = seen.experts.shape[1]
        return np.asarray(jax.nn.logsumexp(seen.experts, axis=1) - jnp.log(views))

    def concat(seen: Seen) -> np.ndarray:
        return np.asarray(seen.joint)

    def tempered(method: Callable[[Seen], np.ndarray]) -> Callable[[Seen], np.ndarray]:
        label = np.asarray(fit.practice.onehot).argmax(axis=1)
        scale = calibrate.temperature(method(fit.practice).astype(float), label, prior)
        return lambda seen: calibrate.apply(method(seen).astype(float), prior, scale)

    return dict(zip(RIVALS, map(tempered, (concat, product, mean)), strict=True))


def mixture(fit: Fitted) -> Mixture:
    """π by likelihood on practice records; the joint model only if it is clearly better there.

    Clearly: by more than one standard error of the paired difference in NLL.
    """
    scale = singly.scales(fit.plain, jnp.asarray(fit.bias))
    plain, joint = (_fit(fit, fit.practice, scale, joint) for joint in (False, True))
    gain = _losses(fit, plain, fit.practice) - _losses(fit, joint, fit.practice)
    return joint if gain.mean() > gain.std() / np.sqrt(len(gain)) else plain


def on_clean(fit: Fitted) -> Trust:
    """π of the records without swaps: what it would be if nothing ever went wrong."""
    scale = singly.scales(fit.plain, jnp.asarray(fit.bias))
    return _fit(fit, fit.plain, scale, True).trust


def log_prob(fit: Fitted, mixed: Mixture, seen: Seen) -> Float[np.ndarray, "row class"]:
    """log P(y | X) of the mixture."""
    bias = jnp.asarray(fit.bias)
    experts = singly.sharpened(seen.experts, bias, mixed.trust.scale)
    joint = seen.joint if mixed.joint else None
    return np.asarray(reliability.log_prob(experts, bias, seen.presence, mixed.trust.pi, joint))


def doubt(fit: Fitted, mixed: Mixture, seen: Seen) -> Float[np.ndarray, "row view"]:
    """1 − P(r_i = 1 | X)."""
    bias = jnp.asarray(fit.bias)
    experts = singly.sharpened(seen.experts, bias, mixed.trust.scale)
    return 1 - np.asarray(reliability.reliable(experts, bias, seen.presence, mixed.trust.pi))


def scores(log_prob: Float[np.ndarray, "row class"], seen: Seen) -> dict[str, float]:
    """Accuracy, ECE (debiased) and NLL."""
    label, prob = np.asarray(seen.onehot).argmax(axis=1), np.exp(log_prob.astype(float))
    names: dict[str, Any] = {"accuracy": metrics.accuracy, "ece": metrics.ece, "nll": metrics.nll}
    return {name: float(metric(prob, label)) for name, metric in names.items()}


def _fit(fit: Fitted, records: Seen, scale: Any, joint: bool) -> Mixture:
    shown = records if joint else records._replace(joint=None)
    return Mixture(singly.fit(shown, jnp.asarray(fit.bias), scale), joint)


def _losses(fit: Fitted, mixed: Mixture, seen: Seen) -> Float[np.ndarray, " row"]:
    """Negative log-likelihood of each record."""
    return -np.sum(np.asarray(seen.onehot) * log_prob(fit, mixed, seen), axis=1)
