"""The proof of a search: the best setting and the recipe's own, trained again from fresh seeds, and the test set read.

Validation chose among many, so the best value it gave is the luckiest too; only other seeds and other examples tell
whether the choice helped.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from limbeck.data import Examples
from limbeck.locks import claimed
from limbeck.measurement import Verdict, compare, correct
from limbeck.pipeline import train_arm
from limbeck.proof import judge, predictions
from limbeck.record import RECORD
from limbeck.rundir import Run
from limbeck.training import ArmName
from limbeck.tuning.agreed import read_agreed
from limbeck.tuning.ground import LONGEST_WAIT, WAIT, Ground, begin_run

OWN_SCRATCH = "own-scratch"
"""The recipe's own student without a teacher, where the best setting has another student, or another learning rate."""
PROOF = "proof"
"""Under which the two runs lie, each one that `limbeck report` and `limbeck peek` read."""


def confirm(ground: Ground, number: int, best: Mapping[str, Any], *, own_is_best: bool) -> dict[str, Run]:
    """Train all students of the proof, beside other processes that do the same; returns its runs by their names.

    Args:
        ground: of the search.
        number: of the trial that was chosen.
        best: what the best setting changes in the recipe.
        own_is_best: whether that is nothing, so that there is one run to make.

    Raises:
        Interrupted: a stop was asked for after a safe checkpoint.
    """
    runs = {"tuned": ground.run(f"{PROOF}/{number:04d}", best)}
    if not own_is_best:
        apart = any(key.startswith(("fit.", "student.")) for key in best)
        arms = ["distilled", *(arm for arm in ground.opened.recipe.proof.arms if arm == "scratch" and apart)]
        runs["own"] = ground.run(f"{PROOF}/own", {"proof.arms": arms})
    for opened in runs.values():
        begin_run(opened)
    left, wait = [(opened, arm, seed) for opened in runs.values() for seed, arm in _students(opened)], WAIT
    while left:
        before = len(left)
        left = [student for student in left if not _trained(ground, *student)]
        if len(left) == before:
            ground.opened.stop.raise_if_asked("run the same command again with --resume")
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
    for opened in runs.values():
        with ground.turn(f"{PROOF}-{opened.directory.name}"):
            if not (opened.directory / RECORD).exists():
                # Where another process looked at the teacher, it has written down what it saw.
                found = {**read_agreed(ground.directory).found, **ground.teaching.found}
                judge(opened, ground.data, replace(ground.teaching, found=found))
    return runs


def _students(opened: Run) -> list[tuple[int, ArmName]]:
    return [(seed, arm) for seed in opened.recipe.proof.seeds for arm in opened.recipe.proof.arms]


def _trained(ground: Ground, opened: Run, arm: ArmName, seed: int) -> bool:
    """Train a student of the proof unless another process is at it; whether it is trained."""
    with claimed(opened.arm_directory(arm, seed)) as mine:
        if mine:
            signals = ground.teaching.signals
            train_arm(opened, arm, seed, ground.data, signals, ground.materials)
        return mine


def verdicts(runs: Mapping[str, Run], measured: Examples) -> tuple[Verdict, ...]:
    """Whether tuning helped, and what either setting is worth beside the student without a teacher.

    Args:
        runs: of the proof, as `confirm` gives them.
        measured: what they were measured on.
    """
    rights = {name: _rights(opened, "distilled", measured) for name, opened in runs.items()}
    for name, opened in runs.items():
        if "scratch" in opened.recipe.proof.arms:
            rights["scratch" if name == "tuned" else OWN_SCRATCH] = _rights(opened, "scratch", measured)
    seeds = runs["tuned"].recipe.proof.seeds
    against = OWN_SCRATCH if OWN_SCRATCH in rights else "scratch"
    pairs = [pair for pair in (("tuned", "own"), ("tuned", "scratch"), ("own", against)) if set(pair) <= set(rights)]
    found = [compare(rights[a], rights[b], arm=a, against=b, seeds=seeds) for a, b in pairs]
    return tuple(found if "own" in rights else [_nothing_to_compare(seeds, rights["tuned"].shape[1]), *found])


def _rights(opened: Run, arm: str, measured: Examples) -> Tensor:
    """[S, N] whether the student of each seed is right about each labelled example."""
    logits = [predictions(opened, arm, seed) for seed in opened.recipe.proof.seeds]
    return torch.stack([correct(logits_NC, measured.labels)[measured.labelled] for logits_NC in logits])


def _nothing_to_compare(seeds: tuple[int, ...], examples: int) -> Verdict:
    reason = "the recipe's own setting is the best that was found"
    facts: dict[str, Any] = {"seeds": seeds, "examples": examples, "reason": reason}
    return Verdict(word="NOT COMPARED", arm="tuned", against="own", difference=None, interval=None, **facts)
