"""What a search needs before it begins: a recipe that can be searched, examples to choose on, a place of its own."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from limbeck.data import Splits
from limbeck.errors import DataError, RecipeError
from limbeck.files import disk_errors, make_directory
from limbeck.locks import claimed, forget_claim
from limbeck.pipeline import Options
from limbeck.preparation import Materials, Prepared
from limbeck.recipe import Recipe
from limbeck.record import SEARCH, cores
from limbeck.rundir import Run
from limbeck.search_space import Tune
from limbeck.tuning.agreed import Agreed, agree, read_agreed, resumed
from limbeck.tuning.database import storage_at
from limbeck.tuning.sizes import affordable, sizes
from limbeck.tuning.space import Space, with_search

WORKERS = "workers"
"""Where each process of a search holds a claim of its own, in the directory of the search."""
FEWEST_LABELS = 10
"""Without which a validation set chooses nothing."""
HELD_OUT, MOST_HELD_OUT = 1 / 5, 10_000
"""The share of the labelled examples that is held out to choose on where the recipe names no number, and the most."""


def check_tunable(recipe: Recipe, processes: int) -> None:
    """Refuse what a search cannot be about.

    Raises:
        RecipeError: likewise.
    """
    if processes > 1:
        raise RecipeError(
            f"a search came with {processes} processes that train one model together",
            expected="one process: trials run side by side, each on its own",
            do="start limbeck tune without torchrun; tune.jobs says how many trials run at once",
        )
    with_search(recipe)
    if recipe.proof.on != "test":
        raise RecipeError(
            f"proof.on is {recipe.proof.on}",
            expected="test: the validation set chooses the setting, so it cannot prove it",
            do="leave proof.on out",
        )
    if "distilled" not in recipe.proof.arms:
        raise RecipeError(
            f"proof.arms is {', '.join(recipe.proof.arms)}",
            expected="distilled among them: the arm whose settings are searched",
            do="set proof.arms: [distilled, scratch]",
        )


def holding_out(recipe: Recipe, splits: Splits) -> Recipe:
    """The recipe with a validation set: a fifth of the labelled training examples where it names no number."""
    if recipe.data.validation:
        return recipe
    count = min(MOST_HELD_OUT, int(HELD_OUT * int(splits.train.labelled.sum())))
    return replace(recipe, data=replace(recipe.data, validation=max(count, len(splits.train.classes))))


def check_labels(data: Prepared) -> None:
    held = data.validation
    labelled = 0 if held is None else int(held.labelled.sum())
    if labelled < FEWEST_LABELS:
        raise DataError(
            f"{labelled} of the examples held out for validation have a label",
            expected=f"at least {FEWEST_LABELS}, by which a search chooses",
            do="raise data.validation, or label more examples",
        )


def check_begun(recipe: Recipe, directory: Path, options: Options) -> None:
    """Refuse a search that is there already, unless the user said what to do with it.

    Raises:
        RecipeError: both ways out are named.
        DataError: it is to be deleted, and somebody works on it.
    """
    if options.resume and options.overwrite:
        raise RecipeError("--resume came with --overwrite", expected="one of them", do="choose")
    if options.overwrite and recipe.tune is not None and recipe.tune.storage is not None:
        raise RecipeError(
            "--overwrite came with tune.storage",
            expected="a search in its own directory, which nobody else may be working on",
            do="set another tune.seed, which is another search, or another database",
        )
    # What ended before the teacher had been asked is begun anew without a word.
    begun = (directory / SEARCH).exists() and bool(read_agreed(directory).identity or options.overwrite)
    if begun and not (options.resume or options.overwrite):
        raise RecipeError(
            f"{directory} holds a search",
            expected="none yet, or a word on what to do with it",
            do="--resume goes on with it, or works on it beside others; --overwrite deletes it; or set another out",
        )
    if options.overwrite and directory.exists():
        if not _is_idle(directory):
            raise DataError(
                f"{directory} is being searched by another process",
                expected="a search that nobody works on, to be deleted",
                do="stop the others, or use --resume to work beside them",
            )
        with disk_errors(directory):
            shutil.rmtree(directory)


@contextmanager
def at_work(directory: Path) -> Iterator[None]:
    """Let others see that this process works on a search, for as long as the block runs."""
    name = directory / WORKERS / f"{socket.gethostname()}-{os.getpid()}"
    try:
        with claimed(name):
            yield
    finally:
        forget_claim(name)


def _is_idle(directory: Path) -> bool:
    """Whether nobody works on a search; whoever asks has the run to itself, so that nobody begins to."""
    for lock in (directory / WORKERS).glob(".lock-*"):
        with claimed(lock.with_name(lock.name.removeprefix(".lock-"))) as free:
            if not free:
                return False
    return True


def begin(recipe: Recipe, opened: Run, directory: Path, data: Prepared, materials: Materials) -> Agreed:
    """Write down what all processes are to agree on, or hold it against what was.

    Raises:
        RecipeError: the search there is another one, no student is within the limits, or nothing is left to vary.
        DataError: the database does not answer.
    """
    tune = recipe.tune or Tune()
    threads = 1 if recipe.fit.threads == "auto" else recipe.fit.threads
    if (directory / SEARCH).exists():
        before = read_agreed(directory)
        agreed = resumed(before, recipe, jobs_of(opened, before.threads), directory)
    else:
        make_directory(directory)
        agreed = Agreed(
            tune=tune,
            proof=recipe.proof,
            threads=threads,
            jobs=jobs_of(opened, threads),
            students=sizes(opened, data, materials),
        )
    # Before the teacher is trained or asked: an hour later would be late.
    Space.of(affordable(replace(recipe, tune=agreed.tune), agreed.students))
    if tune.storage is not None:
        storage_at(tune.storage)
    agree(directory, agreed)
    return agreed


def jobs_of(opened: Run, threads: int) -> int:
    """Trials at once on this machine: as many as its cores bear, or one on a GPU."""
    recipe = opened.recipe
    jobs = (recipe.tune or Tune()).jobs
    if "python" in (recipe.data.source.source, recipe.teacher.kind, recipe.student.model.name):
        if jobs not in (1, "auto"):
            raise RecipeError(
                f"tune.jobs is {jobs}, with a teacher, a student or data handed over in Python",
                expected="1: another process could not be handed them",
                do="leave jobs out, or write a recipe that names all three",
            )
        return 1
    if jobs != "auto":
        return jobs
    return 1 if opened.device.type == "cuda" else max(1, cores() // threads)
