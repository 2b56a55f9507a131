"""Which view the teacher speaks of: the plain example, V recorded views seen in turn, or every view live.

    python bench/views.py DIR OUT [--seeds 5] [--epochs 60]

MNIST (DIR has its four IDX files), 1,000 labelled images and no others for the students, all labels for the teacher, a
small convnet taught by a larger one. Nothing is chosen: every setting is reported on the test set as it stands.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from limbeck.pipeline import Options, run
from limbeck.preparation import Materials
from limbeck.recipe import recipe_from_tree

SHIFT = {"shift": 2}
CROP = {"shift": 2, "crop": 0.7}
MIX = {"shift": 2, "mixup": 0.4}
SETTINGS = [(augment, views) for augment in (SHIFT, CROP) for views in (1, 4, 16, "live")]
SETTINGS += [(MIX, 4), (MIX, 16), (MIX, "live")]


def recipe_of(options: argparse.Namespace, name: str, augment: dict[str, Any], views: Any, teacher: Any) -> Any:
    return {
        "data": {"source": "idx", "path": str(options.data), "labelled": 1000, "unlabelled": False},
        "teacher": teacher,
        "student": {"model": {"name": "convnet", "channels": [8, 16]}},
        "distill": {"alpha": 0.1, "temperature": 4.0, "views": views},
        "fit": {
            "epochs": options.epochs,
            "batch_size": 64,
            "optimizer": {"name": "adamw", "lr": 0.003},
            "augment": augment,
            "threads": 1,
        },
        "proof": {"seeds": list(range(options.seeds)), "arms": ["distilled", "scratch"]},
        "out": str(options.out / name),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    teacher: Any = {
        "kind": "train",
        "model": {"name": "convnet", "channels": [32, 64]},
        "fit": {"epochs": 3, "augment": SHIFT, "threads": 1},
    }
    print("augment | views | asked | s a fit, distilled / scratch | bytes | accuracy | distilled beside scratch")
    for number, (augment, views) in enumerate(SETTINGS):
        name = f"{number}-{'-'.join(augment)}-{views}"
        tree = recipe_of(options, name, augment, views, teacher)
        record = run(recipe_from_tree(tree, {}, where=name), Materials(), Options(resume=True))
        if number == 0:
            teacher = {"kind": "saved", "path": str(options.out / name / "teacher")}
        arms, labels, verdict = record["arms"], record["labels"], record["verdict"]
        seconds, accuracy = (
            {arm: statistics.mean(fit[key] for fit in fits) for arm, fits in arms.items()}
            for key in ("seconds", "accuracy")
        )
        live = options.epochs * labels["distinct"] if views == "live" else labels["views"] * labels["distinct"]
        low, high = (100 * end for end in verdict["interval"])
        print(
            f"{' '.join(f'{k} {v}' for k, v in augment.items())} | {views} | {live:,} | "
            f"{seconds['distilled']:.1f} / {seconds['scratch']:.1f} | {labels['bytes']:,} | "
            f"{100 * accuracy['distilled']:.2f} / {100 * accuracy['scratch']:.2f} | "
            f"{100 * verdict['difference']:+.2f} ({low:.2f} to {high:.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
