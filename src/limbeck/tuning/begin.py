"""What a search needs before it begins: a recipe that can be searched, examples to choose on, a place of its own."""

import shutil
from dataclasses import replace
from pathlib import Path

from limbeck.data import Splits
from limbeck.errors import DataError, RecipeError
from limbeck.files import disk_errors, make_directory, read_json, write_json
from limbeck.pipeline import Options
from limbeck.preparation import Materials, Prepared
from limbeck.recipe import Recipe
from limbeck.record import cores
from limbeck.rundir import Run
from limbeck.search_space import Tune
from limbeck.tuning.ground import SEARCH
from limbeck.tuning.sizes import sizes

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
    if recipe.proof.on != "test":
        raise RecipeError(
            f"proof.on is {recipe.proof.on}",
            expected="test: the validation set chooses the setting, so it cannot prove it",
            do="leave proof.on out",
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


def check_begun(directory: Path, options: Options, *, leads: bool) -> None:
    """Refuse a search that is there already, unless the user said what to do with it."""
    begun = (directory / SEARCH).exists()
    if options.resume and options.overwrite:
        raise RecipeError("--resume came with --overwrite", expected="one of them", do="choose")
    if begun and not (options.resume or options.overwrite):
        raise RecipeError(
            f"{directory} holds a search",
            expected="none yet, or a word on what to do with it",
            do="--resume goes on with it, or works on it beside others; --overwrite deletes it; or set another out",
        )
    if not options.overwrite:
        return
    if not leads:
        raise DataError(
            f"{directory} is being searched by another process",
            expected="a search that nobody works on, to be deleted",
            do="stop the others, or use --resume to work beside them",
        )
    if directory.exists():
        with disk_errors(directory):
            shutil.rmtree(directory)


def begin(recipe: Recipe, opened: Run, directory: Path, data: Prepared, materials: Materials) -> int:
    """Write down what all processes are to agree on, unless that was done; returns the threads of a trial."""
    path = directory / SEARCH
    if not path.exists():
        make_directory(directory)
        threads = 1 if recipe.fit.threads == "auto" else recipe.fit.threads
        jobs = jobs_of(opened, threads)
        write_json(path, {"threads": threads, "jobs": jobs, "students": sizes(opened, data, materials)})
    return int(read_json(path)["threads"])


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
