"""Small searches for the tests of tuning."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from limbeck.data import from_arrays
from limbeck.pipeline import Options
from limbeck.preparation import Materials
from limbeck.recipe import recipe_from_tree
from limbeck.tuning import tune
from running import TEST, TRAIN, rows, tree, true_logits


def search_tree(npz: Path, out: Path | str, **changes: Any) -> dict[str, Any]:
    """A recipe with a search of six trials, which takes two seconds."""
    search = {"trials": 6, "jobs": 1, "temperature": [1, 20], "alpha": [0, 1]}
    values = tree(npz, out)
    values["fit"] = {**values["fit"], "epochs": 8}
    return {**values, "data": {"source": "npz", "path": str(npz), "validation": 30}, "tune": search, **changes}


def tune_tree(values: dict[str, Any], changes: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """Search a recipe given as plain values, with dotted changes."""
    return tune(recipe_from_tree(values, changes or {}, where="the test"), Materials(), Options(**options))


def tune_function(
    out: Path, teacher: Callable[[Tensor], Tensor] = true_logits, changes: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """Search with a function as the teacher of `rows`."""
    values = {
        "data": {"source": "python", "validation": 30},
        "teacher": {"kind": "python", "what": "true_logits"},
        "student": {"model": {"name": "mlp", "hidden": [8]}},
        "fit": {"epochs": 2, "batch_size": 32, "threads": 1, "optimizer": {"name": "adamw", "lr": 0.02}},
        "proof": {"seeds": [0, 1]},
        "tune": {"trials": 5, "jobs": 1},
        "out": str(out),
    }
    materials = Materials(from_arrays(rows(0, TRAIN), rows(1, TEST)), teacher)
    return tune(recipe_from_tree(values, changes or {}, where="the test"), materials, Options(**options))


def landscape_in(out: Path) -> dict[str, Any]:
    """What a search found, but for how long it took."""
    found = json.loads((out / "tune" / "landscape.json").read_bytes())
    for trial in found["trials"]:
        trial.pop("seconds")
    found.pop("students", None)
    return found
