"""Run by torchrun in `test_world.py`: fits on the digits, each leaving its student; the last may be killed."""

import os
import signal
import sys
from pathlib import Path

import torch

from limbeck.data import Digits, derive_seed
from limbeck.errors import DataError, Interrupted
from limbeck.files import write_json, write_tensors
from limbeck.models import Mlp, initialise
from limbeck.objectives import VID, CrossEntropy, Hint, SoftTargets
from limbeck.progress import Stop, unwatched
from limbeck.teachers import Stored
from limbeck.training import SGD, AdamW, Fit, Lesson, Place, Term, fit, join_world

STEPS = 20
PLAIN = Fit(batch_size=30, optimizer=SGD(lr=0.05))
ACCUMULATED = Fit(batch_size=30, optimizer=SGD(lr=0.05), accumulate=3)
ADAM = Fit(batch_size=30, optimizer=AdamW(lr=0.001), checkpoint_seconds=0)


def lesson(further=()):
    data = Digits().load()
    few = data.train.select(torch.arange(200))
    few = few.hide_labels(torch.arange(200) % 4 > 0)
    logits = torch.randn(200, 10, generator=torch.Generator().manual_seed(0)) * 3
    features = torch.randn(200, 48, generator=torch.Generator().manual_seed(1))
    terms = (Term("student_loss", 0.3, CrossEntropy()), Term("distillation_loss", 0.7, SoftTargets()))
    return Lesson(
        few, Stored({"logits": logits.half(), "tap.hidden": features.half()}), (*terms, *further), data.preprocess
    )


TAPPED = (
    Term("term0_hint", 0.5, Hint(student="linear1", teacher="hidden")),
    Term("term1_vid", 0.5, VID(student="linear1", teacher="hidden")),
)


def train(directory, world, settings=PLAIN, *, dropout=0.0, watch=unwatched, stop=None, seed=0, further=()):
    student = initialise(Mlp(hidden=(32,), dropout=dropout), (1, 8, 8), 10, derive_seed(seed, "student"))
    place = Place(
        directory, directory / "metrics.jsonl", world=world, watch=watch, stop=Stop() if stop is None else stop
    )
    fit(student, lesson(further), settings, steps=STEPS, seed=0, place=place)
    write_tensors(directory / f"student-{world.rank}.safetensors", dict(student.state_dict()))
    return student


def main(out, mode):
    world = join_world()
    torch.set_num_threads(1)
    if mode == "resume":
        train(out / "killed", world, ADAM, dropout=0.5)
        return
    train(out / "plain", world)
    train(out / "accumulated", world, ACCUMULATED)
    train(out / "tapped", world, further=TAPPED)
    train(out / "whole", world, ADAM, dropout=0.5)
    stopped_by_one_rank(out, world)
    unlike_students(out, world)
    if mode == "all, then kill":
        train(out / "killed", world, ADAM, dropout=0.5, watch=kill_all)


def kill_all(progress):
    """Rank 0, after step 8: SIGKILL to the launcher and to every rank."""
    if progress.done == 8:
        children = Path(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read_text().split()
        others = {os.getppid(), *map(int, children)} - {os.getpid()}
        for process in (*others, os.getpid()):
            os.kill(process, signal.SIGKILL)


def stopped_by_one_rank(out, world):
    """The last rank alone is told to stop: all must, after the same step."""
    stop = Stop()
    if world.rank == world.size - 1:
        stop.request(signal.SIGTERM)
    try:
        train(out / "stopped", world, ADAM, dropout=0.5, stop=stop)
    except Interrupted as error:
        write_json(out / f"status-{world.rank}.json", error.exit_status)
    train(out / "stopped", world, ADAM, dropout=0.5)


def unlike_students(out, world):
    try:
        train(out / "unlike", world, seed=world.rank)
    except DataError as error:
        write_json(out / f"unlike-{world.rank}.json", str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
