"""Ways to fuse modalities, one a file; the function of the file's name returns a `Fusion`.

| file             | log P(y | X) is                                                           |
|------------------|---------------------------------------------------------------------------|
| `log_linear.py`  | the exact log-linear model: the prior and a sum of the modalities' terms  |
| `reliability.py` | experts, each believed with probability π, summed over whom to believe    |
| `concat_mlp.py`  | a multilayer perceptron on the concatenated features: the baseline        |

All of them give the prior softmax(bias) where every modality is missing, and let nothing that
stands in a missing modality change a value or a gradient.
"""
