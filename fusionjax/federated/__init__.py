"""The exact model across hospitals: sites answer sums over their records, and no record leaves.

θ's log-likelihood, gradient and Hessian are sums over records, and so is all that φ and an
untrained ψ need. The first two rows need nothing but this package, the last needs Flower.

| part        | files                                                                            |
|-------------|----------------------------------------------------------------------------------|
| sums        | `messages` what is asked and believed, `fixed_point` integers that add up under  |
|             | masks, `site` θ's sums, `hospital` all of a site's, `places` and `levels` counts |
| coordinator | `coordinator` sites that leave, `posterior` θ, `setup`, `statistics` φ,          |
|             | `projection` ψ, `model` the whole                                                |
| Flower      | `wire`, `client`, `server`, `flower` the transports, `worker` a site's process,  |
|             | `credentials` and `deployment` for one machine                                   |
"""
