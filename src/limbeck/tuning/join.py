"""The search as all its processes see it: what it stands on, its space, its study, and that they mean the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from limbeck.files import digest
from limbeck.guess import guess_of
from limbeck.preparation import Materials, Prepared
from limbeck.recipe import tree_of
from limbeck.rundir import Run
from limbeck.students import check_students, check_terms, new_student
from limbeck.teaching import Teaching
from limbeck.tuning.agreed import Agreed, agree, check_identity, read_agreed
from limbeck.tuning.claims import claims_of
from limbeck.tuning.database import shown, storage_at
from limbeck.tuning.ground import Ground, changed
from limbeck.tuning.results import Origin
from limbeck.tuning.sizes import affordable
from limbeck.tuning.space import Space
from limbeck.tuning.study import Search, study_of
from limbeck.tuning.trial import TRIALS


def ground_of(
    opened: Run, directory: Path, data: Prepared, teaching: Teaching, materials: Materials, agreed: Agreed
) -> Ground:
    """What the trials stand on: the recipe with its first guess made, the search agreed on, the threads of a trial."""
    recipe = replace(teaching.recipe, tune=agreed.tune, fit=replace(teaching.recipe.fit, threads=agreed.threads))
    return Ground(replace(opened, recipe=recipe), directory, data, teaching, materials)


def search_on(ground: Ground, url: str, trials: int) -> Search:
    """The search as all its processes see it, in the database at a URL, with at least so many trials to be made.

    Raises:
        RecipeError: no student is within the limits, the loss of an alternative cannot be formed, or the search was
            begun with other settings, data or answers.
    """
    identity = _identity(ground)
    with ground.turn("begin"):
        agreed = read_agreed(ground.directory)
        check_identity(agreed.identity, identity, str(ground.directory))
        agree(ground.directory, replace(agreed, identity=identity, found=agreed.found or ground.teaching.found))
    # Without the teacher's answers: a machine whose teacher says otherwise is to be told so, not left on its own.
    name = digest({**identity, "labels": None})[:16]
    claims = claims_of(ground.tune.storage, ground.directory / TRIALS, name, ground.opened.stop)
    with claims.alone():
        study = study_of(storage_at(url), name, ground.tune.seed)
        check_identity(study.user_attrs.get("identity", {}), identity, f"the study {name} in {shown(url)}")
        study.set_user_attr("identity", identity)
        # Of the first machine: another may be slower, and a student that is tried here must be tried there.
        students = study.user_attrs.get("students", agreed.students)
        study.set_user_attr("students", students)
    space = Space.of(affordable(ground.opened.recipe, students))
    _check_alternatives(ground, space)
    guessed = guess_of(ground.teaching.signals, ground.data)
    guess = space.with_guess(guessed.temperature, guessed.alpha)
    search = Search(study, claims, space, _first(space, guess), guess)
    search.want(trials)
    return search


def _identity(ground: Ground) -> dict[str, Any]:
    """All that decides what a trial of some number would come to, wherever its files lie."""
    limits = {"most_parameters": ground.tune.most_parameters, "most_latency": ground.tune.most_latency}
    tree = tree_of(replace(ground.opened.recipe, tune=None))
    return {
        "recipe": digest({key: tree[key] for key in ("student", "labels", "distill", "fit")}),
        "data": digest(ground.choosing.sha256),
        "labels": ground.teaching.store.directory.name,
        "space": {**Space.of(ground.opened.recipe).identity(), **limits},
        "seeds": list(ground.seeds),
        "seed": ground.tune.seed,
        "prune": ground.tune.prune,
    }


def _first(space: Space, guess: dict[str, Any] | None) -> tuple[tuple[Origin, dict[str, Any]], ...]:
    """The settings that are tried first, each once: no teacher, the recipe's own, the first guess, known ones."""
    named: list[tuple[Origin, dict[str, Any] | None]] = [
        ("own", space.own()),
        ("first guess", guess),
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
