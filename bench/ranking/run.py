"""Every objective on one task, same student, same budget: MNIST with 1,000 labels.

    python bench/ranking/run.py DIR OUT [--part K/N] [--only NAME ...]

DIR holds MNIST's four IDX files; OUT collects the runs, and a call that finds some of them done goes on with the rest.
Several processes may share the work: `--part 0/2` and `--part 1/2`, then a last call without `--part` for the table.

The teacher, a convnet of 64 and 128 channels, learns 50,000 labelled images. The student, a convnet of 8 and 16
channels, sees 1,000 of them with their labels, and what the teacher says about these. For each method one of a few
settings is chosen on 10,000 held-out images (3 seeds); then five fresh students are measured once on the test set.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from methods import METHODS, Setting, with_soft_targets

from limbeck.data import Idx
from limbeck.files import read_tensors
from limbeck.measurement import compare, correct
from limbeck.pipeline import Options, run
from limbeck.preparation import Materials
from limbeck.recipe import recipe_from_tree
from limbeck.record import read_record

CHOOSING, REPORTING = [0, 1, 2], [10, 11, 12, 13, 14]
"""Seeds: those that settings were chosen with are not reported."""

BASES = {"scratch": ("final-base", "scratch"), "soft-targets": ("final-soft-targets", "distilled")}
"""What every method is compared with: the run and the arm."""

OWN = {"temperature": "T", "exponent": "l", "non_target_weight": "w"}
"""Settings of an objective and their sign in the table."""

FIT = {"epochs": 40, "batch_size": 50, "optimizer": {"name": "adamw", "lr": 0.003}, "threads": 1}


def tree(data: Path, out: Path, distill: Setting, arms: list[str], *, on: str) -> dict[str, Any]:
    """The recipe of one run."""
    trained = {
        "kind": "train",
        "model": {"name": "convnet", "channels": [64, 128]},
        "fit": {"epochs": 6, "batch_size": 128, "threads": 1},
    }
    teacher = out.parent / "base-choose" / "teacher"
    return {
        "data": {"source": "idx", "path": str(data), "labelled": 1000, "unlabelled": False, "validation": 10000},
        "teacher": {"kind": "saved", "path": str(teacher)} if teacher.exists() else trained,
        "student": {"model": {"name": "convnet", "channels": [8, 16]}},
        "distill": distill,
        "fit": FIT,
        "proof": {"seeds": CHOOSING if on == "validation" else REPORTING, "arms": arms, "on": on},
        "device": "cpu",
        "out": str(out),
    }


class Ranking:
    """The runs of a ranking under one directory; what is found done there is not done again."""

    def __init__(self, data: Path, out: Path) -> None:
        self.data, self.out = data, out
        self.splits = Idx(path=str(data)).load()

    def measured(self, name: str, distill: Setting, arms: list[str], *, on: str) -> dict[str, Any]:
        """The record of a run, made if it is not there."""
        out = self.out / name
        if not (out / "record.json").exists():
            recipe = recipe_from_tree(tree(self.data, out, distill, arms, on=on), {}, where=name)
            run(recipe, Materials(splits=self.splits), Options(resume=True))
        return read_record(out)

    def chosen(self, name: str) -> Setting:
        """The setting of a method that does best on the held-out images."""
        found = {}
        for number, setting in enumerate(METHODS[name]):
            record = self.measured(f"choose-{slug(name)}-{number}", setting, ["distilled"], on="validation")
            found[number] = mean(record, "distilled", "accuracy")
            print(f"{name} {number}: {found[number]:.4f} on validation", flush=True)
        return METHODS[name][max(found, key=lambda number: found[number])]

    def rights(self, name: str, arm: str) -> torch.Tensor:
        """Whether each test image was answered rightly, [seeds, images]."""
        places = [self.out / name / "arms" / arm / f"seed-{seed}" / "predictions.safetensors" for seed in REPORTING]
        labels = self.splits.test.labels
        return torch.stack([correct(read_tensors(place)["logits"], labels) for place in places])

    def row(self, method: str, setting: Setting | None, name: str, arm: str) -> dict[str, Any]:
        """A line of the table: accuracy, its gain over scratch and over soft targets, time of a step."""
        mine, record = self.rights(name, arm), read_record(self.out / name)
        students = record["arms"][arm]
        return {
            "method": method,
            **{name: mean(record, arm, name) for name in ("accuracy", "nll", "ece")},
            "against": {
                other: compare(mine, self.rights(*place), arm=method, against=other, seeds=tuple(REPORTING)).as_dict()
                for other, place in BASES.items()
                if place != (name, arm)
            },
            "milliseconds": 1000 * statistics.median(student["seconds"] / student["steps"] for student in students),
            "setting": setting,
        }


def mean(record: dict[str, Any], arm: str, metric: str) -> float:
    """Of the seeds."""
    return statistics.mean(student[metric] for student in record["arms"][arm])


def slug(name: str) -> str:
    return name.replace(", ", "-").replace(" + ", "+").replace(" ", "-")


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, best first."""
    head = ("method", "chosen", "accuracy", "gain over scratch", "gain over soft targets", "NLL", "ECE", "ms a step")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for one in sorted(rows, key=lambda one: -one["accuracy"]):
        gains = [gain(one["against"].get(other)) for other in ("scratch", "soft-targets")]
        trust = (f"{one['nll']:.2f}", f"{one['ece']:.2f}")
        points, time = f"{100 * one['accuracy']:.2f}", f"{one['milliseconds']:.1f}"
        cells = [one["method"], described(one["setting"]), points, *gains, *trust, time]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def described(setting: Setting | None) -> str:
    """What was chosen: the objective's own number, the weights of labels, soft labels and terms."""
    if setting is None:
        return ""
    objective = setting.get("objective", {})
    own = [f"{mark} {objective[key]:g}" for key, mark in OWN.items() if key in objective]
    weights = [setting["student_weight"], setting["distillation_weight"]]
    weights += [term["weight"] for term in setting.get("terms", [])]
    return ", ".join([*own, " : ".join(f"{weight:,.10g}" for weight in weights)])


def gain(verdict: dict[str, Any] | None) -> str:
    """Points with their interval, bold where it excludes 0."""
    if verdict is None:
        return ""
    low, high = (100 * bound for bound in verdict["interval"])
    text = f"{100 * verdict['difference']:+.2f} ({low:+.2f} to {high:+.2f})"
    return f"**{text}**" if low > 0 or high < 0 else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--only", nargs="*", default=list(METHODS))
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    ranking = Ranking(options.data, options.out)
    base = ranking.measured("base-choose", {}, ["scratch"], on="validation")
    print(
        f"teacher {base['teacher']['accuracy']:.4f}, scratch {mean(base, 'scratch', 'accuracy'):.4f} on validation",
        flush=True,
    )
    mine = [name for number, name in enumerate(options.only) if number % parts == part]
    settings = {name: ranking.chosen(name) for name in mine}
    if parts > 1:
        for name, setting in settings.items():
            ranking.measured(f"final-{slug(name)}", setting, ["distilled"], on="test")
        return
    base = ranking.measured("final-base", {}, ["scratch", "label-smoothing"], on="test")
    rows = [ranking.row(name, None, "final-base", slug(name)) for name in ("scratch", "label smoothing")]
    for name, setting in [*settings.items(), *with_soft_targets(settings)]:
        ranking.measured(f"final-{slug(name)}", setting, ["distilled"], on="test")
        rows.append(ranking.row(name, setting, f"final-{slug(name)}", "distilled"))
    (options.out / "ranking.json").write_text(
        json.dumps({"teacher": base["teacher"]["accuracy"], "rows": rows}, indent=1)
    )
    print(f"teacher {base['teacher']['accuracy']:.4f}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
