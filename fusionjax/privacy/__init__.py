"""Differential privacy: what is promised, what is released, and whether an attack sees through it.

`guarantee` says what is promised and refuses what would not hold; `noise` adds it to sums;
`release` fits θ by noisy sums, and `posterior` is over θ with that noise in it; `public` has ψ and
φ that saw no record; `fitting` puts them together into a `Model`. `sgd` trains networks. `attack`
and `canary` measure from outside what was promised.
"""

from fusionjax.privacy.guarantee import Guarantee, PrivacyError, Promise, sentence

__all__ = ["Guarantee", "PrivacyError", "Promise", "sentence"]
