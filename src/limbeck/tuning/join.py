"""The search as all its processes see it: what it stands on, its space, its study, and that they mean the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from limbeck.errors import RecipeError
from limbeck.files import digest, read_json, write_json
from limbeck.guess import Guess, guess_of
from limbeck.preparation import Materials, Prepared
from limbeck.recipe import tree_of
from limbeck.rundir import Run
from limbeck.students import check_students, check_terms, new_student
from limbeck.teaching import Teaching
from limbeck.tuning.claims import claims_of
from limbeck.tuning.database import shown, storage_at
from limbeck.tuning.ground import SEARCH, Ground, changed
from limbeck.tuning.results import Origin
from limbeck.tuning.sizes import affordable
from limbeck.tuning.space import Space
from limbeck.tuning.study import Search, study_of
from limbeck.tuning.trial import TRIALS


def ground_of(opened: Run, directory: Path, data: Prepared, teaching: Teaching, materials: Materials) -> Ground:
    """What the trials stand on: the recipe with its first guess made, and with the threads of a trial."""
    recipe = teaching.recipe
    threads = int(read_json(directory / SEARCH)["threads"])
    recipe = replace(recipe, fit=replace(recipe.fit, threads=threads))
    return Ground(replace(opened, recipe=recipe), directory, data, teaching, materials)


def search_on(ground: Ground, url: str) -> Search:
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
        begun = read_json(ground.directory / SEARCH)
        _check_same(begun.get("identity", identity), identity, str(ground.directory))
        write_json(ground.directory / SEARCH, {**begun, "identity": identity})
    # Without the teacher's answers: a machine whose teacher says otherwise is to be told so, not left on its own.
    name = digest({**identity, "labels": None})[:16]
    claims = claims_of(ground.tune.storage, ground.directory / TRIALS, name, ground.opened.stop)
    with claims.alone():
        study = study_of(storage_at(url), name, ground.tune.seed)
        _check_same(study.user_attrs.get("identity", identity), identity, f"the study {name} in {shown(url)}")
        study.set_user_attr("identity", identity)
    return Search(study, claims, space, _first(space, first_guess), ground.tune.trials)


def _identity(ground: Ground, space: Space) -> dict[str, Any]:
    """All that decides what a trial of some number would come to, wherever its files lie."""
    tree = tree_of(replace(ground.opened.recipe, tune=None))
    return {
        "recipe": digest({key: tree[key] for key in ("student", "labels", "distill", "fit")}),
        "data": digest(ground.choosing.sha256),
        "labels": ground.teaching.store.directory.name,
        "space": space.identity(),
        "seeds": list(ground.seeds),
        "seed": ground.tune.seed,
        "prune": ground.tune.prune,
    }


def _check_same(before: dict[str, Any], now: dict[str, Any], what: str) -> None:
    """Hold a search against what it was begun with: trials of two searches cannot be compared."""
    other = [name for name, value in now.items() if digest(before.get(name)) != digest(value)]
    if other:
        raise RecipeError(
            f"{what} was begun with another search ({', '.join(other)} changed)",
            expected="the same settings, data and answers of the teacher; only trials may be raised, and jobs change",
            do="undo the change, or set another out, or --overwrite; machines that share a search need one teacher",
        )


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
