"""`limbeck list [KIND]`."""

from dataclasses import MISSING, asdict, fields
from typing import Annotated, Any, get_args

import typer

from limbeck.cli.output import print_json
from limbeck.cli.step_costs import step_costs
from limbeck.errors import RecipeError

_ARMS = {
    "distilled": "The student in question: it learns from labels and from the teacher, by `distill`.",
    "scratch": "The same student on the same labels, without the teacher.",
    "label-smoothing": "A control: scratch on labels softened by 0.1, without a teacher.",
    "hard-teacher": "A control: the teacher's first choices without its doubts.",
    "shuffled-teacher": "A control: the teacher's doubts about other examples of the same predicted class.",
    "direct": "A control where there are assistants or generations: the student taught by the first teacher itself.",
}


def listing(
    kind: Annotated[str | None, typer.Argument(help="sources, teachers, models, objectives, arms or formats.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    timed: Annotated[bool, typer.Option("--time", help="Measure what a step of each objective costs here.")] = False,
) -> None:
    """List what a recipe can name, with settings, and what a student can be exported to.

    An objective also tells its formula, its paper, what it needs and promises, and how its cost grows with N examples,
    C classes, D features. --time measures value and gradient: 128 examples of 10 classes, or of features [64, 8, 8].

    Examples:
        limbeck list

        limbeck list objectives --time

        limbeck list models --json
    """
    catalogue = _catalogue()
    if kind is not None and kind not in catalogue:
        raise RecipeError(f"list {kind}", expected=f"one of {', '.join(catalogue)}", do="name one, or none for all")
    chosen = catalogue if kind is None else {kind: catalogue[kind]}
    if timed and "objectives" in chosen:
        for name, milliseconds in step_costs().items():
            chosen["objectives"][name]["milliseconds"] = milliseconds
    if as_json:
        print_json(chosen)
        return
    for group, entries in chosen.items():
        print(group)
        for name, entry in entries.items():
            print("\n".join([f"  {name:<22} {entry['is']}", *(f"{'':25}{line}" for line in _details(entry))]))
        print()


def _details(entry: dict[str, Any]) -> list[str]:
    """The lines below the first of an entry."""
    settings = ", ".join(f"{key}: {value}" for key, value in entry["settings"].items())
    lines = [settings] if settings else []
    if "traits" in entry:
        traits = entry["traits"]
        zero = "0 at the teacher" if traits["zero_at_teacher"] else "not 0 at the teacher"
        zero += ", never negative" if traits["non_negative"] else ", may be negative"
        needs = " and ".join(traits["needs"])
        took = f", {entry['milliseconds']:.2f} ms here" if "milliseconds" in entry else ""
        about = f"needs {needs}; coupled to the {traits['coupling']}; {zero}; cost {traits['cost']}{took}"
        lines = [traits["formula"], traits["paper"], about, *lines]
    return lines


def _catalogue() -> dict[str, dict[str, dict[str, Any]]]:
    from limbeck.data import SOURCES
    from limbeck.export import FORMATS
    from limbeck.models import MODELS
    from limbeck.objectives import CATALOGUE
    from limbeck.recipe import TeacherEnsemble, TrainedTeacher
    from limbeck.teachers import TEACHERS
    from limbeck.training import ArmName

    return {
        "sources": {name: _entry(kind) for name, kind in SOURCES.items()},
        "teachers": {
            "train": _entry(TrainedTeacher),
            **{name: _entry(kind) for name, kind in TEACHERS.items()},
            "ensemble": _entry(TeacherEnsemble),
        },
        "models": {name: _entry(kind) for name, kind in MODELS.items()},
        "objectives": {name: _entry(kind) | {"traits": asdict(kind.traits)} for name, kind in CATALOGUE.items()},
        "arms": {name: {"is": _ARMS[name], "settings": {}} for name in get_args(ArmName)},
        "formats": {name: {"is": each.summary, "settings": {}} for name, each in FORMATS.items()},
    }


def _entry(kind: Any) -> dict[str, Any]:
    """The first line of a class's docstring, and its fields with their defaults."""
    settings = {
        f.name: "required" if f.default is MISSING and f.default_factory is MISSING else _default(f)
        for f in fields(kind)[1:]
    }
    return {"is": (kind.__doc__ or "").splitlines()[0], "settings": settings}


def _default(field: Any) -> Any:
    return field.default if field.default is not MISSING else "see the recipe"
