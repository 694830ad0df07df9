"""Fusion of representations: each modality goes into one space, where they become one vector.

| file                | the vector is                                                            |
|---------------------|--------------------------------------------------------------------------|
| `concat_linear.py`  | all features side by side, then one linear layer                         |
| `sum_pool.py`       | the sum of the modalities' projections                                   |
| `mean_pool.py`      | their mean                                                               |
| `max_pool.py`       | their largest value, column by column                                    |
| `product_pool.py`   | their product, column by column                                          |
| `deep_sets.py`      | the sum of one network's output for each, told which modality it is      |
| `embracenet.py`     | columns taken from modalities that are drawn by lot                      |
| `latent_product.py` | Gaussian: the product of what each modality believes of it               |
| `latent_mixture.py` | Gaussian: the mixture of what each modality believes of it               |

Only the features of present modalities enter; a perceptron on the vector gives the scores, unless
the file says otherwise.
"""
