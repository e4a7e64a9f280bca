"""Mechanistic anomaly detection: does the network do something else on these inputs?"""

from utils.anomaly.detection import Detection, Scored, detect, standard
from utils.anomaly.detectors import (
    AnomalyError,
    ClassMahalanobis,
    Detector,
    Mahalanobis,
    MaxSoftmax,
    Nearest,
    Norm,
    RelativeMahalanobis,
    Rows,
    Spectral,
    rows,
    shrunk,
    whitener,
)
from utils.anomaly.sweeps import Sweep, contamination, pool_shares, sample_sizes

__all__ = [
    "AnomalyError",
    "ClassMahalanobis",
    "Detection",
    "Detector",
    "Mahalanobis",
    "MaxSoftmax",
    "Nearest",
    "Norm",
    "RelativeMahalanobis",
    "Rows",
    "Scored",
    "Spectral",
    "Sweep",
    "contamination",
    "detect",
    "pool_shares",
    "rows",
    "sample_sizes",
    "shrunk",
    "standard",
    "whitener",
]
