"""The exact model across hospitals: sites answer sums over their records, and no record leaves.

θ's log-likelihood, gradient and Hessian are sums over records, and so are φ's moments and counts.
`messages` says what may be asked and what a true answer looks like, `fixed_point` writes numbers
as integers that add up exactly under masks, `site` is what a site computes of its rows.
`coordinator` adds up over any transport and survives sites that leave, `posterior` makes θ's
posterior of sums, `statistics` φ and ψ.
"""
