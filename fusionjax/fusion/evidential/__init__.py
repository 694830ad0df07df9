"""Evidential fusion: each modality gives evidence e_i ≥ 0 for each class, hence an opinion.

| file      | the opinions are combined by                                                     |
|-----------|----------------------------------------------------------------------------------|
| `tmc.py`  | Dempster's rule: uncertainty only falls, conflict is normalised away             |
| `etmc.py` | the same, with an opinion on all features together as one more modality          |
| `ecml.py` | the mean of the evidence: a modality that knows little raises the uncertainty    |

With K classes and S = K + Σ_y e_y, class y is believed b_y = e_y/S, and u = K/S is left to nobody;
P(y) = b_y + u a_y. The papers' base rate a is uniform; here it is the prior, so that a record with
nothing gets the prior (Jøsang 2016, "Subjective Logic", section 3.5). A modality that is missing
has e = 0, u = 1.
"""
