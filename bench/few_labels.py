"""The task of the benches of tuning: a student of 25,450 parameters, which sees 1,000 labelled images of MNIST."""

from pathlib import Path
from typing import Any


def recipe_tree(data: Path, out: Path) -> dict[str, Any]:
    """Its recipe as plain values; 10,000 images are held out to choose on."""
    return {
        "data": {
            "source": "idx",
            "path": str(data),
            "labelled": 1000,
            "unlabelled": False,
            "validation": 10000,
        },
        "teacher": {
            "kind": "train",
            "model": {"name": "mlp", "hidden": [400, 400], "dropout": 0.3},
            "fit": {"epochs": 5, "threads": 1},
        },
        "student": {"model": {"name": "mlp", "hidden": [32]}},
        "fit": {"epochs": 60, "batch_size": 100, "optimizer": {"name": "adamw", "lr": 0.003}, "threads": 1},
        "out": str(out),
    }
