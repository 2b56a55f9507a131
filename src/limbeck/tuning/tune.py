"""A search from its recipe to its record: the teacher asked once, trials, the choice, the proof.

    teacher --label--> soft labels --many trials--> the best setting --fresh seeds, test--> record --> report

Every process of a search walks this way, the one that was called and those that help it: each stage is shared out by
claims, and passed over where it is done.
"""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from limbeck.errors import RecipeError
from limbeck.files import path_of
from limbeck.pipeline import Options
from limbeck.preparation import Materials, load_splits, prepare
from limbeck.recipe import Recipe
from limbeck.record import LANDSCAPE, RECORD, read_record
from limbeck.rundir import check_origin, join_run
from limbeck.search_space import Tune
from limbeck.teaching import ask_beside_others
from limbeck.training import configured, join_world
from limbeck.tuning.agreed import read_agreed, resumed
from limbeck.tuning.begin import at_work, begin, check_begun, check_labels, check_tunable, holding_out
from limbeck.tuning.conclude import BEST, conclude
from limbeck.tuning.database import database_errors
from limbeck.tuning.helpers import helpers, stop_with
from limbeck.tuning.join import ground_of, search_on
from limbeck.tuning.study import url_in

TUNE, HELPERS_LOG = "tune", "helpers.log"
"""Of a search: its directory within that of its run, and what its helpers say."""


def tune(recipe: Recipe, materials: Materials, options: Options, *, helps: int | None = None) -> dict[str, Any]:
    """Look for the best setting of a recipe, and prove it; returns the record, which lies in `tune` of its directory.

    Several processes may do so at once for one `out`, or for one database: they share the trials.

    Args:
        recipe: with what it says under `tune`, or the defaults of that.
        materials: what Python hands over.
        options: how it is begun.
        helps: the process that this one was started by, to work on its search.

    Raises:
        LimbeckError: in all its kinds, see `limbeck.errors`.
    """
    world = join_world()
    check_tunable(recipe, world.size)
    splits = materials.splits or load_splits(recipe)
    materials, recipe = replace(materials, splits=splits), holding_out(recipe, splits)
    data = prepare(recipe, materials)
    check_labels(data)
    with join_run(recipe, world=world, watch=options.watch) as (opened, let_others_in), ExitStack() as own:
        directory = opened.directory / TUNE
        if helps is None:
            check_begun(recipe, directory, options)
            check_origin(opened, data.sha256)
            if all((directory / name).exists() for name in (RECORD, LANDSCAPE, BEST)):
                return _finished(directory, recipe)
            agreed = begin(recipe, opened, directory, data, materials)
            own.enter_context(helpers(agreed.jobs - 1, opened.directory, agreed.threads, directory / HELPERS_LOG))
        else:
            agreed = read_agreed(directory)
            stop_with(helps, opened.stop)
        own.enter_context(at_work(directory))
        with configured(opened.recipe.fit):
            teaching = ask_beside_others(
                opened, data, materials,
                let_others_in=let_others_in, allow_weak=options.allow_weak, looked_at=helps is not None,
            )  # fmt: skip
        ground = ground_of(opened, directory, data, teaching, materials, agreed)
        url = url_in(directory, ground.tune.storage)
        with configured(ground.opened.recipe.fit), database_errors(url):
            trials = agreed.tune.trials if recipe.tune is None else recipe.tune.trials
            return conclude(search_on(ground, url, trials), ground)


def directory_of(recipe: Recipe) -> Path:
    """Of the search of a recipe."""
    return path_of(recipe.out, "out") / TUNE


def _finished(directory: Path, recipe: Recipe) -> dict[str, Any]:
    """The record of a search that has been concluded, which stays as it is.

    Raises:
        RecipeError: another search is asked for, or more of this one.
    """
    record, before = read_record(directory), read_agreed(directory)
    resumed(before, recipe, before.jobs, directory)
    trials, had = (recipe.tune or Tune()).trials, record["search"]["trials"]
    if trials > had:
        raise RecipeError(
            f"tune.trials is {trials}, and the search in {directory} is over, with {had} trials",
            expected="a search whose test set has not been read: a second choice would know the first one's score",
            do="set another out",
        )
    return record
