"""Measurement: how good a network's answers are, and whether one arm is shown to be better than another."""

from limbeck.measurement.comparison import Verdict, Word, compare, gap_share, mcnemar, paired_interval
from limbeck.measurement.cost import UNSTEADY, Times, latency, ratio, timed, torch_threads, unsteady
from limbeck.measurement.metrics import ECE_BINS, Metrics, calibration_error, correct, evaluate
from limbeck.measurement.parity import Parity, parity

__all__ = [
    "ECE_BINS",
    "UNSTEADY",
    "Metrics",
    "Parity",
    "Times",
    "Verdict",
    "Word",
    "calibration_error",
    "compare",
    "correct",
    "evaluate",
    "gap_share",
    "latency",
    "mcnemar",
    "paired_interval",
    "parity",
    "ratio",
    "timed",
    "torch_threads",
    "unsteady",
]
