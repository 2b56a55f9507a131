"""limbeck: knowledge distillation with proof.

A big teacher makes a small student, which learns from the teacher's soft probabilities as well as from true labels,
and is measured beside the same student trained without them. `limbeck.distill` is the whole story in one call.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limbeck import functional
    from limbeck.distillation import Result, SearchResult, distill
    from limbeck.distillation.searching import tune
    from limbeck.errors import LimbeckError
    from limbeck.objectives import CrossEntropy, HardTargets, SoftTargets
    from limbeck.prediction import load_bundle
    from limbeck.search_space import Tune
    from limbeck.teachers import Ensemble, load_model
    from limbeck.training import Distill, WeightedTerm

__version__ = "0.1.0"

# torch takes seconds to import: `limbeck --help` must not wait for it.
_HOMES = {
    "distill": "limbeck.distillation",
    "Result": "limbeck.distillation",
    "SearchResult": "limbeck.distillation",
    "Tune": "limbeck.search_space",
    "tune": "limbeck.distillation.searching",
    "load_bundle": "limbeck.prediction",
    "load_model": "limbeck.teachers",
    "CrossEntropy": "limbeck.objectives",
    "Distill": "limbeck.training",
    "Ensemble": "limbeck.teachers",
    "HardTargets": "limbeck.objectives",
    "LimbeckError": "limbeck.errors",
    "SoftTargets": "limbeck.objectives",
    "WeightedTerm": "limbeck.training",
}

__all__ = [
    "CrossEntropy",
    "Distill",
    "Ensemble",
    "HardTargets",
    "LimbeckError",
    "Result",
    "SearchResult",
    "SoftTargets",
    "Tune",
    "WeightedTerm",
    "distill",
    "functional",
    "load_bundle",
    "load_model",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name == "functional":
        return import_module("limbeck.functional")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'limbeck' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
