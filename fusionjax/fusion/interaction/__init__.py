"""Fusion by interactions: terms in which features of several modalities are multiplied.

| file                    | the interactions are                                                  |
|-------------------------|-----------------------------------------------------------------------|
| `pairwise_experts.py`   | a perceptron for each pair, its scores added to the log-linear model's|
| `multiplicative.py`     | bilinear forms of each pair                                           |
| `film.py`               | each modality scaled and shifted by the others                        |
| `tensor_fusion.py`      | the outer product of all modalities                                   |
| `low_rank_tensor.py`    | the same with a weight tensor of low rank                             |

A term exists where all of its modalities do.
"""
