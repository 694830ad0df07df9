"""Ways to fuse modalities, one a file; the function of the file's name returns a `Fusion`.

| file              | log P(y | X) is                                                          |
|-------------------|--------------------------------------------------------------------------|
| `log_linear.py`   | the exact log-linear model: the prior and a sum of the modalities' terms |
| `reliability.py`  | experts, each believed with probability π, summed over whom to believe   |
| `concat_mlp.py`   | a multilayer perceptron on the concatenated features: the baseline       |
| `single.py`       | one modality alone                                                       |
| `opinion/`        | experts' probabilities pooled: means, products, stacking, votes          |
| `representation/` | one vector from all: concatenation, sum, maximum, sets, latent Gaussians |
| `interaction/`    | products of modalities: pairs, FiLM, tensors                             |
| `gated/`          | modalities weighed record by record: GMU, mixture of experts, QMF        |
| `attention/`      | tokens that attend: transformer, cross-attention, bottleneck, Perceiver  |
| `evidential/`     | Dirichlet evidence: TMC, ETMC, ECML                                      |
| `schemes/`        | not fusions, but losses around one: auxiliary, blended, modulated        |

`variants.py` holds them all in one table; `adapters.py` and `layers.py` what many are made of. All
give the prior softmax(bias) where every modality is missing, and let nothing that stands in a
missing modality change a value or a gradient.
"""
