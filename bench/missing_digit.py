"""Hinton's missing digit: can a student know a digit that it has never seen, from what the teacher says of the others?

    python bench/missing_digit.py DATA TEACHER [--digit 3] [--temperature 20] [--epochs 20] [--seeds 3] [--json]

DATA is the folder with MNIST's four IDX files, TEACHER a saved teacher, such as runs/hinton/teacher. The student hears
the teacher on all training images but those of one digit. It then knows the digit, but holds it for rare: one number
added to the digit's logit corrects this (Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 3: 206 test errors,
133 of them on threes; corrected 109 and 14).

The number is chosen twice: on the training images, the missing ones among them, so that fewest errors are made there;
and on the test images, as in the paper, which flatters.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import limbeck
from limbeck.data import Examples, Idx
from limbeck.distillation import distill
from limbeck.models import Mlp
from limbeck.training import AdamW, Fit

OFFSETS = torch.arange(0.0, 20.0, 0.1)


def logits_of(directory: Path, examples: Examples) -> Tensor:
    """A saved student's logits [N, C]."""
    saved = limbeck.load_model(directory)
    with torch.inference_mode():
        return torch.cat([saved.module(saved.preprocess(part)) for part in examples.inputs.split(1000)])


def errors(logits: Tensor, labels: Tensor, digit: int, offset: float) -> tuple[int, int]:
    """Errors in all, and on the digit, with its logit raised."""
    raised = logits.clone()
    raised[:, digit] += offset
    wrong = raised.argmax(dim=1) != labels
    return int(wrong.sum()), int(wrong[labels == digit].sum())


def best_offset(logits: Tensor, labels: Tensor, digit: int) -> float:
    """The offset of fewest errors; the middle one of those as good."""
    totals = torch.tensor([errors(logits, labels, digit, offset)[0] for offset in OFFSETS.tolist()])
    best = (totals == totals.min()).nonzero()[:, 0]
    return float(OFFSETS[best[len(best) // 2]])


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A student of each seed, before and after the correction."""
    splits = Idx(path=str(options.data)).load()
    train, test, digit = splits.train, splits.test, options.digit
    transfer = train.select(train.labels != digit)
    fit = Fit(
        epochs=options.epochs,
        batch_size=options.batch_size,
        optimizer=AdamW(lr=options.lr),
        threads=options.threads,
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        distill(
            teacher=options.teacher,
            student=Mlp(hidden=(800, 800)),
            train=(transfer.inputs, transfer.labels),
            test=(test.inputs, test.labels),
            classes=train.classes,
            out=Path(folder) / "run",
            alpha=options.alpha,
            temperature=options.temperature,
            fit=fit,
            seeds=options.seeds,
            arms=["distilled"],
        )
        for seed in range(options.seeds):
            student = Path(folder) / "run" / "arms" / "distilled" / f"seed-{seed}" / "student"
            on_train, on_test = logits_of(student, train), logits_of(student, test)
            offsets = {
                "as it is": 0.0,
                "chosen on training images": best_offset(on_train, train.labels, digit),
                "chosen on test images": best_offset(on_test, test.labels, digit),
            }
            for name, offset in offsets.items():
                total, missed = errors(on_test, test.labels, digit, offset)
                count = int((test.labels == digit).sum())
                rows.append(
                    {"seed": seed, "correction": name, "offset": offset, "errors": total, "missed": missed}
                    | {"share": 1 - missed / count, "of": count}
                )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--digit", type=int, default=3)
    parser.add_argument("--alpha", type=float, default=0.0)
    parser.add_argument("--temperature", type=float, default=20.0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = run(options)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'seed':>4}  {'correction':26} {'offset':>6} {'errors':>7} {'on ' + str(options.digit):>6} {'right':>8}")
    for row in rows:
        print(
            f"{row['seed']:4}  {row['correction']:26} {row['offset']:6.1f} {row['errors']:7} {row['missed']:6} "
            f"{row['share']:8.1%}"
        )


if __name__ == "__main__":
    main()
