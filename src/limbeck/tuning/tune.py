"""A search from its recipe to its record: the teacher asked once, trials, the choice, the proof.

    teacher --label--> soft labels --many trials--> the best setting --fresh seeds, test--> record --> report

Every process of a search walks this way, the one that was called and those that help it: each stage is shared out by
claims, and passed over where it is done.
"""

import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from limbeck.errors import DataError, RecipeError
from limbeck.files import digest, disk_errors, make_directory, path_of, read_json, write_json
from limbeck.guess import Guess, guess_of
from limbeck.locks import claimed
from limbeck.pipeline import Options
from limbeck.preparation import Materials, Prepared, load_splits, prepare
from limbeck.recipe import Recipe, tree_of
from limbeck.record import RECORD, cores, read_record
from limbeck.rundir import Run, join_run
from limbeck.search_space import Tune
from limbeck.students import check_students, check_terms, new_student
from limbeck.teaching import Teaching, ask_beside_others
from limbeck.training import configured, join_world
from limbeck.tuning.claims import claims_of
from limbeck.tuning.conclude import conclude
from limbeck.tuning.database import database_errors, storage_at
from limbeck.tuning.ground import SEARCH, Ground, changed
from limbeck.tuning.helpers import helpers, stop_with
from limbeck.tuning.results import Origin
from limbeck.tuning.sizes import affordable, sizes
from limbeck.tuning.space import Space
from limbeck.tuning.study import Search, study_of, url_in
from limbeck.tuning.trial import TRIALS
from limbeck.tuning.work import work

TUNE, HELPERS_LOG = "tune", "helpers.log"
"""Of a search: its directory within that of its run, and what its helpers say."""
FEWEST_LABELS = 10
"""Without which a validation set chooses nothing."""
HELD_OUT, MOST_HELD_OUT = 1 / 5, 10_000
"""The share of the labelled examples that is held out to choose on where the recipe names no number, and the most."""


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
    _check_tunable(recipe, world.size)
    materials = replace(materials, splits=materials.splits or load_splits(recipe))
    recipe = holding_out(recipe, materials)
    data = prepare(recipe, materials)
    _check_labels(data)
    with join_run(recipe, world=world, watch=options.watch) as (opened, let_others_in), ExitStack() as own:
        directory = opened.directory / TUNE
        if helps is None:
            leads = own.enter_context(claimed(directory))
            _check_begun(directory, options, leads=leads)
            if (directory / RECORD).exists():
                return _finished(directory, recipe)
            threads = _begin(recipe, opened, directory, data, materials)
            own.enter_context(helpers(_jobs(opened, threads) - 1, opened.directory, threads, directory / HELPERS_LOG))
        else:
            stop_with(helps, opened.stop)
        with configured(opened.recipe.fit):
            teaching = ask_beside_others(
                opened,
                data,
                materials,
                let_others_in=let_others_in,
                allow_weak=options.allow_weak,
                looked_at=helps is not None,
            )
        ground = _ground(opened, directory, data, teaching, materials)
        url = url_in(directory, ground.tune.storage)
        with configured(ground.opened.recipe.fit), database_errors(url):
            search = _search(ground, url)
            work(search, ground)
            return conclude(search, ground)


def directory_of(recipe: Recipe) -> Path:
    """Of the search of a recipe."""
    return path_of(recipe.out, "out") / TUNE


# --- how a search is begun -------------------------------------------------------------------------------------------


def _check_tunable(recipe: Recipe, processes: int) -> None:
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


def holding_out(recipe: Recipe, materials: Materials) -> Recipe:
    """The recipe with a validation set: a fifth of the labelled training examples where it names no number."""
    assert materials.splits is not None, "the data are loaded"
    if recipe.data.validation:
        return recipe
    count = min(MOST_HELD_OUT, int(HELD_OUT * int(materials.splits.train.labelled.sum())))
    return replace(recipe, data=replace(recipe.data, validation=max(count, len(materials.splits.train.classes))))


def _check_labels(data: Prepared) -> None:
    held = data.validation
    labelled = 0 if held is None else int(held.labelled.sum())
    if labelled < FEWEST_LABELS:
        raise DataError(
            f"{labelled} of the examples held out for validation have a label",
            expected=f"at least {FEWEST_LABELS}, by which a search chooses",
            do="raise data.validation, or label more examples",
        )


def _check_begun(directory: Path, options: Options, *, leads: bool) -> None:
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


def _finished(directory: Path, recipe: Recipe) -> dict[str, Any]:
    """The record of a search that has been concluded."""
    record = read_record(directory)
    asked = recipe.tune or Tune()
    if asked.trials > record["search"]["trials"]:
        raise RecipeError(
            f"tune.trials is {asked.trials}, and the search in {directory} ended after {record['search']['trials']}",
            expected="a search whose test set has not been read: a second choice would know the first one's score",
            do="set another out, or --overwrite",
        )
    return record


def _begin(recipe: Recipe, opened: Run, directory: Path, data: Prepared, materials: Materials) -> int:
    """Write down what all processes are to agree on, unless that was done; returns the threads of a trial."""
    path = directory / SEARCH
    if not path.exists():
        make_directory(directory)
        threads = 1 if recipe.fit.threads == "auto" else recipe.fit.threads
        jobs = _jobs(opened, threads)
        write_json(path, {"threads": threads, "jobs": jobs, "students": sizes(opened, data, materials)})
    return int(read_json(path)["threads"])


def _jobs(opened: Run, threads: int) -> int:
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


def _ground(opened: Run, directory: Path, data: Prepared, teaching: Teaching, materials: Materials) -> Ground:
    """What the trials stand on: the recipe with its first guess made, and with the threads of a trial."""
    recipe = teaching.recipe
    threads = int(read_json(directory / SEARCH)["threads"])
    recipe = replace(recipe, fit=replace(recipe.fit, threads=threads))
    return Ground(replace(opened, recipe=recipe), directory, data, teaching, materials)


def _search(ground: Ground, url: str) -> Search:
    """The search as all its processes see it, in the database at a URL.

    Raises:
        RecipeError: no student is within the limits, the loss of an alternative cannot be formed, or the search in the
            directory was begun with other settings.
    """
    students = read_json(ground.directory / SEARCH)["students"]
    space = Space.of(affordable(ground.opened.recipe, students))
    first_guess = guess_of(ground.teaching.signals, ground.data)
    _check_alternatives(ground, space)
    identity = _identity(ground, space)
    with ground.turn("begin"):
        _agree(ground.directory, identity)
    name = digest(identity)[:16]
    claims = claims_of(ground.tune.storage, ground.directory / TRIALS, name, ground.opened.stop)
    with claims.alone():
        study = study_of(storage_at(url), name, ground.tune.seed)
    return Search(study, claims, space, _first(space, first_guess), ground.tune.trials)


def _identity(ground: Ground, space: Space) -> dict[str, Any]:
    """All that decides what a trial of some number would come to: processes that differ in it cannot share a search."""
    tree = tree_of(replace(ground.opened.recipe, tune=None))
    recipe = {key: tree[key] for key in ("data", "teacher", "student", "labels", "distill", "fit")}
    tune = ground.tune
    return {
        "recipe": digest(recipe),
        "data": digest(ground.choosing.sha256),
        "labels": ground.teaching.store.directory.name,
        "space": space.identity(),
        "seeds": list(ground.seeds),
        "seed": tune.seed,
        "prune": tune.prune,
    }


def _agree(directory: Path, identity: dict[str, Any]) -> None:
    """Hold a search against what it was begun with."""
    begun = read_json(directory / SEARCH)
    before = begun.get("identity", identity)
    other = [name for name, value in identity.items() if digest(before.get(name)) != digest(value)]
    if other:
        raise RecipeError(
            f"{directory} was begun with another search ({', '.join(other)} changed)",
            expected="the same settings, so that its trials can be compared; trials may be raised, and jobs change",
            do="undo the change, or set another out, or --overwrite",
        )
    write_json(directory / SEARCH, {**begun, "identity": identity})


def _first(space: Space, guess: Guess) -> tuple[tuple[Origin, dict[str, Any]], ...]:
    """The settings that are tried first, each once: no teacher, the recipe's own, the first guess, known ones."""
    named: list[tuple[Origin, dict[str, Any] | None]] = [
        ("own", space.own()),
        ("first guess", space.with_guess(guess.temperature, guess.alpha)),
        *(("known", setting) for setting in space.known()),
    ]
    first: list[tuple[Origin, dict[str, Any]]] = [("no teacher", {})]
    for origin, setting in named:
        if setting is not None and setting not in [other for _, other in first]:
            first.append((origin, setting))
    return tuple(first)


def _check_alternatives(ground: Ground, space: Space) -> None:
    """Refuse, before any trial, an alternative whose student or loss does not fit the data and the teacher."""
    for setting in space.corners():
        opened = replace(ground.opened, recipe=changed(ground.opened.recipe, space.changes(setting)))
        check_students(opened, ground.data, ground.materials)
        student = new_student(opened.recipe, ground.data, ground.materials, ground.seeds[0])
        check_terms(opened, student, ground.teaching.teacher, ground.data)
