"""How a search ends: the choice, its proof, and what is written down of both."""

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.errors import DataError
from limbeck.files import describe, write_json, write_text
from limbeck.recipe import tree_of
from limbeck.recipe_text import write_yaml
from limbeck.record import LANDSCAPE, RECORD, read_record, write_record
from limbeck.rundir import Run
from limbeck.tuning.agreed import read_agreed
from limbeck.tuning.confirm import OWN_SCRATCH, confirm, verdicts
from limbeck.tuning.ground import Ground, changed
from limbeck.tuning.landscape import landscape
from limbeck.tuning.results import TrialResult
from limbeck.tuning.study import Search
from limbeck.tuning.work import work

BEST = "best.yaml"
"""The recipe for the best setting."""
GRID = 64
"""Settings of an exhaustive search, 8 temperatures by 8 alphas, with which the cost of this one is compared."""


def conclude(search: Search, ground: Ground) -> dict[str, Any]:
    """Work until a trial is chosen, prove it, and write down what was found; returns the record of the search.

    Raises:
        DataError: no trial came to its end.
        Interrupted: a stop was asked for after a safe checkpoint.
    """
    results, found = _chosen(search, ground)
    best = next(result for result in results if result.number == found["best"])
    changes = search.space.changes(best.setting)
    with ground.turn("choice"):
        write_json(ground.directory / LANDSCAPE, found)
        recipe = changed(ground.opened.recipe, {**changes, "out": str(ground.directory / "best")})
        write_text(ground.directory / BEST, write_yaml(tree_of(recipe)))
    runs = confirm(ground, best.number, changes, own_is_best=best.number == found["own"])
    with ground.turn("record"):
        if not (ground.directory / RECORD).exists():
            write_record(ground.directory, _record(results, best, runs, ground))
    return read_record(ground.directory)


def _chosen(search: Search, ground: Ground) -> tuple[Sequence[TrialResult], dict[str, Any]]:
    """Run trials until one is chosen; what came of all, and what they say together.

    Whoever asks for more trials before that is given them; after that nobody is.
    """
    while True:
        work(search, ground)
        results = search.standing().results
        found = _landscape(results, search, ground)
        if found["best"] is None:
            raise DataError(
                f"none of {len(results)} trials that hear the teacher came to its end: {_reasons(results)}",
                expected="at least one whose student could be measured",
                do="look at the settings, fit.optimizer.lr first; or raise tune.trials with --resume",
            )
        if search.settle_on(found["best"], len(results)):
            # Another machine may have chosen, with other libraries: there is one choice.
            return results, found | {"best": search.choice}


def _landscape(results: Sequence[TrialResult], search: Search, ground: Ground) -> dict[str, Any]:
    return landscape(
        results,
        search.space.facts(),
        read_agreed(ground.directory).students,
        examples=int(ground.validation.labelled.sum()),
        steps=ground.steps,
        own=_number_of(results, search.space.own()),
        guess=_number_of(results, search.guess),
    )


def _record(
    results: Sequence[TrialResult], best: TrialResult, runs: Mapping[str, Run], ground: Ground
) -> dict[str, Any]:
    proof = {name: read_record(opened.directory) for name, opened in runs.items()}
    found = [verdict.as_dict() | {"sentence": str(verdict)} for verdict in verdicts(runs, ground.data.measured)]
    tuned = proof["tuned"]
    arms = {"tuned": tuned["arms"].pop("distilled"), **tuned["arms"]}
    if "own" in proof:
        arms["own"] = proof["own"]["arms"]["distilled"]
        arms |= {OWN_SCRATCH: proof["own"]["arms"]["scratch"]} if "scratch" in proof["own"]["arms"] else {}
    return {
        "kind": "search",
        "verdict": found[0],
        "verdicts": found,
        "recipe": tree_of(ground.opened.recipe),
        "environment": tuned["environment"],
        "data": tuned["data"],
        "teacher": tuned["teacher"],
        "labels": tuned["labels"],
        "best": {"number": best.number, "setting": dict(best.setting)},
        "arms": arms,
        "search": _cost(results, ground),
        "files": {name: describe(ground.directory / name) for name in (BEST, LANDSCAPE)},
    }


def _cost(results: Sequence[TrialResult], ground: Ground) -> dict[str, Any]:
    """What the search took, beside an exhaustive one."""
    fit, examples = ground.opened.recipe.fit, len(ground.data.train)
    states = [result.state for result in results]
    steps = sum(result.steps * (len(ground.seeds) if result.state == "complete" else 1) for result in results)
    return {
        "trials": len(results),
        **{state: states.count(state) for state in ("complete", "pruned", "failed")},
        "seconds": sum(result.seconds for result in results),
        "student_epochs": steps * fit.batch_size / examples,
        "grid_epochs": GRID * len(ground.seeds) * ground.steps * fit.batch_size / examples,
        "jobs": read_agreed(ground.directory).jobs,
        "labels_held_out": int(ground.validation.labelled.sum()),
    }


def _number_of(results: Sequence[TrialResult], setting: Mapping[str, Any] | None) -> int | None:
    """Of the trial of a setting, wherever that came from."""
    return next((result.number for result in results if result.number and result.setting == setting), None)


def _reasons(results: Sequence[TrialResult]) -> str:
    reasons = dict.fromkeys(result.reason or result.state for result in results if result.state != "complete")
    return "; ".join(list(reasons)[:3])
