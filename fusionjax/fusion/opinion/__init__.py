"""Late fusion: an expert for each modality, P_i(y | X_i) = softmax(b + θ_i F_i), then a pool.

| file                    | P(y | X) is                                                       |
|-------------------------|-------------------------------------------------------------------|
| `mean_probability.py`   | the mean of the experts' probabilities                            |
| `mean_logit.py`         | the geometric mean of their probabilities, normalised             |
| `product_of_experts.py` | the product of their probabilities, normalised                    |
| `corrected_product.py`  | the product, less the prior that all but one count again          |
| `log_opinion_pool.py`   | the corrected product with a learned exponent for each expert     |
| `stacking.py`           | a logistic regression on all the experts' log-probabilities       |
| `majority_vote.py`      | the share of the experts' votes, the prior as one vote            |

Every expert is trained on its own likelihood, and knows nothing of the others.
"""
