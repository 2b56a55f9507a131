"""limbeck: the teacher is asked once, the student learns from what it said.

The clock runs over the whole of `limbeck.distill`: labelling and training, as for the others, and also hashing,
checkpoints, the measurement of teacher and student on the test set and the report, which the others do not have.
"""

import json
import tempfile
from pathlib import Path

import torch
from common import ALPHA, BATCH_SIZE, LEARNING_RATE, STUDENT, TEMPERATURE, Clock, arguments, load, report

import limbeck
from limbeck.distillation import distill
from limbeck.models import ConvNet
from limbeck.training import AdamW, Fit


def main() -> None:
    options = arguments("limbeck on the classic MNIST pair")
    x, y, x_test, y_test = load(options.data)
    fit = Fit(epochs=options.epochs, batch_size=BATCH_SIZE, optimizer=AdamW(lr=LEARNING_RATE), threads=options.threads)
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        result = distill(
            teacher=options.teacher,
            student=ConvNet(channels=STUDENT),
            train=(x, y),
            test=(x_test, y_test),
            out=Path(folder) / "run",
            alpha=ALPHA,
            temperature=TEMPERATURE,
            fit=fit,
            seeds=[options.seed],
            arms=["distilled"],
        )
        times = clock.stop()
        record = result.record["arms"]["distilled"][0]
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
        training = sum(sum(json.loads(line)["seconds"].values()) for line in lines)
    report(
        "limbeck",
        times=times,
        correct=round(record["accuracy"] * len(y_test)),
        epochs=options.epochs,
        training_seconds=training,
        versions={"limbeck": limbeck.__version__, "torch": torch.__version__},
        threads=options.threads,
    )


if __name__ == "__main__":
    main()
