"""The posterior over θ on frozen features: one program, and one engine a file.

`program` states prior and likelihood in NumPyro. `nuts` draws from it and is the reference.
`laplace` puts a Gaussian in the likelihood's place (`newton`, `surrogate`) and integrates the
`scales`; `importance` and `independence` make exact draws of its `proposals`; `auto` takes the
cheapest engine that certifies itself; `svi` fits a Gaussian by its ELBO. Every engine is
`fit(key, observations, bias, *, draws, ...) -> Posterior`. `moments`, `loo`, `left_out` and `worth`
say what a posterior is for: predict without draws, judge records by θ without them, and tell what a
modality adds.
"""

from fusionjax.posterior.types import Certificate, Observations, Posterior, check, observe

__all__ = ["Certificate", "Observations", "Posterior", "check", "observe"]
