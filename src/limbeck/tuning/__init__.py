"""Tuning: many fits over temperature, alpha and more; validation chooses, and the test set is read once."""

from limbeck.tuning.tune import directory_of, tune

__all__ = ["directory_of", "tune"]
