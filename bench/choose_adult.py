"""Which settings examples/adult.py has, chosen on 6,000 rows held out of Adult's training file; its test is not read.

    PYTHONPATH=examples python bench/choose_adult.py DIR OUT

First the student's for scratch, then alpha and temperature for each teacher with the student's as they were found. The
teachers learn from the rest of the training rows.
"""

import itertools
import statistics
import sys
from dataclasses import asdict, replace
from pathlib import Path

from adult import COLUMNS, FIT, tables, teachers

from limbeck.data import Rows, Splits, hold_out
from limbeck.models import Mlp
from limbeck.pipeline import Options, run
from limbeck.preparation import Materials
from limbeck.recipe import recipe_from_tree
from limbeck.training import AdamW

SEEDS = [100, 101, 102]
STUDENTS = [Mlp(hidden=(40,)), Mlp(hidden=(32, 24))]
RATES = [0.001, 0.003, 0.01]
ALPHAS, TEMPERATURES = [0.0, 0.5], [1.0, 2.0, 4.0]


def accuracy(splits: Splits, out: Path, student: Mlp, lr: float, teacher: object, arm: str, **distill: float) -> float:
    """The mean accuracy over seeds on the held-out rows, which are the test of these splits."""
    tree = {
        "data": {"source": "python"},
        "teacher": {"kind": "python", "what": "estimator"},
        "student": {"model": asdict(student)},
        "distill": distill,
        "fit": asdict(replace(FIT, optimizer=AdamW(lr=lr))),
        "proof": {"seeds": SEEDS, "arms": [arm]},
        "out": str(out),
    }
    recipe = recipe_from_tree(tree, {}, where="bench/choose_adult.py")
    record = run(recipe, Materials(splits, teacher), Options(overwrite=True))
    return statistics.mean(fit["accuracy"] for fit in record["arms"][arm])


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    whole = Rows(path=str(tables(folder, out / "tables")), columns=COLUMNS, label="income").load()
    rest, held = hold_out(whole.train, 6000, "validation")
    train = whole.train.select(rest)
    splits = Splits(train, whole.train.select(held), whole.preprocess.on(train), official=True)
    known = teachers(splits)
    for name, teacher in known.items():
        print(f"{name}: {teacher.score(splits.test.inputs.numpy(), splits.test.labels.numpy()):.2%}", flush=True)
    found = {}
    for student, lr in itertools.product(STUDENTS, RATES):
        found[student, lr] = accuracy(splits, out / "run", student, lr, known["boosted"], "scratch")
        print(f"scratch {student.hidden} lr {lr}: {found[student, lr]:.2%}", flush=True)
    student, lr = max(found, key=lambda settings: found[settings])
    for name, teacher in {**known, "both": list(known.values())}.items():
        for alpha, temperature in itertools.product(ALPHAS, TEMPERATURES):
            got = accuracy(splits, out / "run", student, lr, teacher, "distilled", alpha=alpha, temperature=temperature)
            print(f"{name} alpha {alpha} T {temperature}: {got:.2%}", flush=True)


if __name__ == "__main__":
    main()
