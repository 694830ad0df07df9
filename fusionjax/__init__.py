"""FusionJAX: probabilistic multimodal fusion for medical diagnosis.

Records flow through three steps, X = φ(x), F_i = ψ_i(x_i) and fusion, to an exact log-linear model
P(y | X) = exp(b_y + Σ_i o_i θ_{i,y}·F_i)/Z with a posterior over θ:

    card → ingest → study (splits, preprocess, batches) → fit (encoders, posterior) → model → report

This file is the table of contents. Names are imported when they are first used.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "load_card": ("fusionjax.card", "load"),
    "ingest": ("fusionjax.records.ingest", "ingest"),
    "prepare": ("fusionjax.study", "prepare"),
    "choose": ("fusionjax.fitting", "choose"),
    "fit": ("fusionjax.fitting", "fit"),
    "FitConfig": ("fusionjax.crossfit", "FitConfig"),
    "TrainConfig": ("fusionjax.train", "TrainConfig"),
    "Model": ("fusionjax.model", "Model"),
    "diagnose": ("fusionjax.model", "diagnose"),
    "save": ("fusionjax.model", "save"),
    "load": ("fusionjax.model", "load"),
    "Encoder": ("fusionjax.types", "Encoder"),
    "Fusion": ("fusionjax.types", "Fusion"),
    "FusionError": ("fusionjax.errors", "FusionError"),
}

__all__ = sorted(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fusionjax' has no attribute {name!r}")
    home, attribute = _HOMES[name]
    return getattr(import_module(home), attribute)


def __dir__() -> list[str]:
    return __all__
