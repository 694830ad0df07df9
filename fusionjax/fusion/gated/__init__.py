"""Fusion by gates: how much each modality counts depends on the record.

| file                    | the gate weighs                                                 |
|-------------------------|-----------------------------------------------------------------|
| `gated_unit.py`         | each column of each representation (GMU)                        |
| `mixture_of_experts.py` | the experts' probabilities, by a network that sees everything   |
| `energy_weighted.py`    | the experts' logits, by how high they are (QMF)                 |
"""
