"""What prediction needs, as one value: card, statistics, ψ, θ's posterior, calibration."""

from fusionjax.model.diagnosis import (
    calibrated,
    diagnose,
    encoder_stack,
    features,
    mapped,
    mean_evidence,
)
from fusionjax.model.file import SCHEMA, load, save
from fusionjax.model.nouns import Diagnosis, Map, Member, Model, of_posterior

__all__ = [
    "SCHEMA",
    "Diagnosis",
    "Map",
    "Member",
    "Model",
    "calibrated",
    "diagnose",
    "encoder_stack",
    "features",
    "load",
    "mapped",
    "mean_evidence",
    "of_posterior",
    "save",
]
