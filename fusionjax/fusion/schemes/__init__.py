"""Training schemes: each takes a `Fusion` and returns one with another loss, the same otherwise.

| file            | the loss                                                                   |
|-----------------|----------------------------------------------------------------------------|
| `auxiliary.py`  | adds that of each modality alone                                           |
| `blending.py`   | weighs both by how they overfit (gradient blending)                        |
| `modulation.py` | slows the encoder of the modality that is ahead (OGM)                      |

A modality alone is the fusion with the others masked: any variant has that. Modality dropout is not
here, since every variant is trained with it (`train.py`).
"""
