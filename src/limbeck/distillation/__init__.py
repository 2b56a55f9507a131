"""The Python doors: `limbeck.distill`, the whole story in one call, and `limbeck.tune`, which finds its settings."""

from limbeck.distillation.distilling import distill
from limbeck.distillation.result import Result, SearchResult
from limbeck.distillation.searching import tune

__all__ = ["Result", "SearchResult", "distill", "tune"]
