"""The posterior over θ on frozen features: one program, and one engine a file.

`program` states prior and likelihood in NumPyro. `nuts` draws from it and is the reference;
`laplace` approximates it by Gaussians around `newton`'s modes, with the scales integrated. Every
engine is `fit(key, observations, bias, *, draws, ...) -> Posterior`.
"""

from fusionjax.posterior.types import Certificate, Observations, Posterior, check, observe

__all__ = ["Certificate", "Observations", "Posterior", "check", "observe"]
