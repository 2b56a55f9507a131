"""A trial: one setting, trained and measured on validation, as a run of one arm that can be gone on with."""

import shutil
import time
from pathlib import Path

from torch import Tensor, nn

from limbeck.data import Examples
from limbeck.errors import DataError, Diverged, first_line
from limbeck.files import disk_errors
from limbeck.measurement import correct
from limbeck.pipeline import train_arm
from limbeck.proof import predictions
from limbeck.record import RECORD
from limbeck.rundir import Run
from limbeck.students import answers
from limbeck.training import ArmName, Rungs
from limbeck.tuning.ground import Ground, begin_run
from limbeck.tuning.results import State, TrialResult
from limbeck.tuning.sampler import rungs_of
from limbeck.tuning.space import label_of
from limbeck.tuning.study import Begun, Search

TRIALS = "trials"


class Pruned(Exception):
    """The end of a trial whose validation curve lags behind."""


def run_trial(search: Search, begun: Begun, ground: Ground) -> None:
    """Train and measure the students of a trial, from where an earlier process came with it, and tell what came of it.

    Raises:
        Interrupted: a stop was asked for; the trial can be gone on with.
    """
    began = time.perf_counter()
    arm: ArmName = "distilled" if begun.number else "scratch"
    opened = _opened(search, begun, ground, arm)
    watched = _Curve(search, begun, ground)
    state: State = "complete"
    reason, steps = None, ground.steps
    values: list[float] = []
    try:
        for seed in ground.seeds:
            # The first student speaks for the setting; where it goes on, all others do.
            rungs = watched.rungs if seed == ground.seeds[0] else None
            train_arm(opened, arm, seed, ground.choosing, ground.teaching.signals, ground.materials, rungs)
            values.append(accuracy(predictions(opened, arm, seed), ground.validation))
    except Pruned:
        state, steps = "pruned", watched.points[-1][0]
        values = [watched.points[-1][1]]
    except Diverged as error:
        state, reason, values = "failed", first_line(error), []
    result = TrialResult(
        number=begun.number,
        state=state,
        origin=begun.origin,
        setting=begun.setting,
        value=sum(values) / len(values) if values else None,
        curve=tuple(watched.points),
        steps=steps,
        seconds=time.perf_counter() - began,
        student=label_of(opened.recipe.student.model),
        reason=reason,
    )
    search.tell(begun, result)
    _forget_checkpoints(opened.directory)


def _opened(search: Search, begun: Begun, ground: Ground, arm: ArmName) -> Run:
    """The run of a trial, its recipe beside it; what another search left in its directory goes."""
    proof = {"proof.seeds": list(ground.seeds), "proof.arms": [arm], "proof.on": "validation"}
    changes = search.space.changes(begun.setting) if begun.number else {}
    opened = ground.run(f"{TRIALS}/{begun.name}", {**changes, **proof})
    # A student that is trained is not looked at again: without its curve it must be trained anew.
    known = begun.again and len(begun.curve) == len(rungs_of(ground.steps))
    done = (opened.arm_directory(arm, ground.seeds[0]) / RECORD).exists()
    if opened.directory.exists() and not (begun.again and (known or not done)):
        with disk_errors(opened.directory):
            shutil.rmtree(opened.directory)
    begin_run(opened)
    return opened


class _Curve:
    """What a trial's first student is worth on the way."""

    def __init__(self, search: Search, begun: Begun, ground: Ground) -> None:
        self.search, self.begun, self.ground = search, begun, ground
        self.points = list(begun.curve)
        self.rungs = Rungs(frozenset(rungs_of(ground.steps)), self._look)

    def _look(self, step: int, student: nn.Module) -> None:
        """Measure the student, and end the trial if it lags behind."""
        ground = self.ground
        try:
            logits_NC = answers(ground.opened, student, ground.data, ground.validation)
        except DataError as error:
            raise Diverged(f"after step {step}: {error.came}", expected=error.expected, do=error.do) from None
        value = accuracy(logits_NC, ground.validation)
        self.points = [point for point in self.points if point[0] < step] + [(step, value)]
        if not self.search.report(self.begun, step, value) and ground.tune.prune:
            raise Pruned


def accuracy(logits_NC: Tensor, examples: Examples) -> float:
    """The share of the labelled examples whose first choice is right."""
    return float(correct(logits_NC, examples.labels)[examples.labelled].double().mean())


def _forget_checkpoints(directory: Path) -> None:
    """What a finished trial will not go on from: many trials of large students would fill a disk."""
    for checkpoints in directory.glob("arms/*/seed-*/checkpoints"):
        shutil.rmtree(checkpoints, ignore_errors=True)
