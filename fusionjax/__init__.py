"""FusionJAX: probabilistic multimodal fusion for medical diagnosis.

Records flow through three steps, X = φ(x), F_i = ψ_i(x_i) and fusion, to an exact log-linear model
P(y | X) = exp(b_y + Σ_i o_i θ_{i,y}·F_i)/Z with a posterior over θ:

    card → ingest → study (splits, preprocess, batches) → fit (encoders, posterior) → model → report

This file is the table of contents. Names are imported when they are first used.
"""

import os
from importlib import import_module
from importlib.metadata import version
from typing import Any

# Compiled for a CPU, jaxlib 0.10.2 returns wrong sums of products over many rows (jax issue 39103).
# The fusion at fault is switched off, which takes effect until JAX computes for the first time.
_FUSION = "--xla_cpu_experimental_ynn_fusion_type"
if version("jaxlib") == "0.10.2" and _FUSION not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FUSION}=".strip()

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
