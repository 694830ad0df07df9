"""The reliability mixture's parameters: experts fitted one by one, or all of them together.

| file         | fits                                                                         |
|--------------|------------------------------------------------------------------------------|
| `singly.py`  | a temperature and π to experts that were fitted one by one                    |
| `jointly.py` | θ, the scales τ and π together: one NumPyro program, NUTS                     |
| `predict.py` | P(y | X) and P(r_i = 1 | X) over draws of θ and π, whichever way they came    |

Fusion itself is `fusion/reliability.py`: exact, and the same for both.
"""
