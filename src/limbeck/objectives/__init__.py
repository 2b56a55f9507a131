"""Objectives: functions of (student output, signal, label) that return one value per example.

A new objective is one file with a frozen dataclass and one name in `CATALOGUE`; CONTRIBUTING.md shows how.
"""

from limbeck.objectives.base import LogitObjective, Objective, TapObjective, Traits
from limbeck.objectives.logits.cross_entropy import CrossEntropy
from limbeck.objectives.logits.hard_targets import HardTargets
from limbeck.objectives.logits.soft_targets import SoftTargets
from limbeck.signal import UNLABELLED

CATALOGUE: dict[str, type[Objective]] = {
    "cross-entropy": CrossEntropy,
    "soft-targets": SoftTargets,
    "hard-targets": HardTargets,
}
"""Name in a recipe -> the class that is both the setting and the function."""

__all__ = [
    "CATALOGUE",
    "UNLABELLED",
    "CrossEntropy",
    "HardTargets",
    "LogitObjective",
    "Objective",
    "SoftTargets",
    "TapObjective",
    "Traits",
]
