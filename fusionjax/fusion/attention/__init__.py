"""Fusion by attention over the modalities' tokens; a missing token is seen by nobody.

| file                 | who attends to whom                                                      |
|----------------------|--------------------------------------------------------------------------|
| `modality_tokens.py` | one token a modality, all to all                                         |
| `cross_attention.py` | the tokens of each modality to those of all the others                   |
| `bottleneck.py`      | tokens within a modality, and a few bottleneck tokens between (MBT)      |
| `latent_array.py`    | a few learnt latents to the tokens of all modalities (Perceiver)         |
"""
