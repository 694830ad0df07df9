"""Training schemes, for any `Fusion`: `TrainConfig.scheme` names one.

| file            | what is other than plain training                                          |
|-----------------|----------------------------------------------------------------------------|
| `auxiliary.py`  | the loss adds that of each modality alone                                  |
| `blending.py`   | the loss weighs both by how they overfit (gradient blending)               |
| `modulation.py` | the encoder of the modality that is ahead is slowed (OGM), with noise (GE) |

A modality alone is the fusion with the others masked: any variant has that. Modality dropout is not
here, since every variant is trained with it (`train.py`).
"""
