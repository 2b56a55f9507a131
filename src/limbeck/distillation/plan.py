"""From the arguments of a Python door to a recipe, and to what no recipe can name."""

from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import Tensor, nn

from limbeck.data import SOURCES, from_arrays
from limbeck.errors import RecipeError
from limbeck.models import MODELS
from limbeck.pipeline import Options
from limbeck.preparation import Materials
from limbeck.recipe import GivenData, GivenModel, GivenTeacher, Recipe
from limbeck.recipe_text import build
from limbeck.teachers import Ensemble, TeacherSpec
from limbeck.training import Distill, Schedule

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What a call asks for."""

    recipe: Recipe
    materials: Materials
    options: Options


def plan_of(
    *,
    teacher: Any,
    student: Any,
    train: Any,
    test: Any,
    out: Any,
    alpha: Any,
    temperature: Any,
    objective: Any,
    distillation: Any,
    assistants: Any,
    generations: Any,
    epochs: Any,
    batch_size: Any,
    lr: Any,
    fit: Any,
    seeds: Any,
    arms: Any,
    labelled: Any,
    unlabelled: Any,
    validation: Any,
    classes: Any,
    preprocess: Any,
    device: Any,
    resume: Any,
    overwrite: Any,
    allow_weak_teacher: Any,
    watch: Any,
) -> Plan:
    """The plan of a call; `limbeck.distill` says what the arguments are.

    Raises:
        RecipeError: settings that cannot be used. DataError: data that cannot.
    """
    _check_teacher(teacher, test)
    source, splits = _data_of(train, test, classes)
    student_model, make = _student_of(student)
    _check_one("objective", objective, {"temperature": temperature})
    _check_one("distillation", distillation, {"alpha": alpha, "temperature": temperature, "objective": objective})
    loss = _loss_of(alpha, temperature, objective) if distillation is None else _checked(distillation)
    _check_one("fit", fit, {"epochs": epochs, "batch_size": batch_size, "lr": lr})
    optimizer = _given({"name": "adamw", "lr": lr})
    # The same classes are built from the same plain values as by a file, so that one check serves both.
    tree = {
        "data": {"source": source, "labelled": labelled, "unlabelled": unlabelled, "validation": validation},
        "teacher": _teacher_of(teacher),
        "student": {
            "model": student_model,
            "preprocess": preprocess,
            "assistants": _named(assistants),
            "generations": generations,
        },
        "fit": fit or _given({"epochs": epochs, "batch_size": batch_size, "optimizer": optimizer}),
        "proof": {"seeds": range(seeds) if isinstance(seeds, int) else seeds, "arms": arms},
        "device": device,
        "out": str(out) if isinstance(out, Path) else out,
    }
    recipe = _with_loss(build(Recipe, tree, where="limbeck.distill", do="mend the argument"), loss)
    materials = Materials(splits, teacher if isinstance(recipe.teacher, GivenTeacher) else None, make, preprocess)
    return Plan(recipe, materials, Options(resume, overwrite, allow_weak_teacher, watch))


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given; the others keep the defaults of their class."""
    return {name: value for name, value in settings.items() if value is not None}


def _check_one(name: str, whole: Any, parts: dict[str, Any]) -> None:
    """Refuse a setting beside the object that has it too: one of the two would be ignored without a word."""
    if whole is not None and _given(parts):
        raise RecipeError(
            f"{name} came with {' and '.join(_given(parts))}",
            expected=f"{name}, which has these settings, or the settings alone",
            do="leave one of them out",
        )


def _teacher_of(teacher: Any) -> Any:
    """A teacher as a recipe names it."""
    if isinstance(teacher, TeacherSpec):
        return teacher
    if isinstance(teacher, str | Path):
        return {"kind": "saved", "path": str(teacher)}
    return {"kind": "python", "what": _name(teacher)}


def _check_teacher(teacher: Any, test: Any) -> None:
    if teacher is None:
        raise RecipeError("the teacher is None", expected="an nn.Module, a function, an array or a path", do="give one")
    given = teacher.members if isinstance(teacher, Ensemble) else teacher
    members = given if isinstance(given, list | tuple) else [given]
    if test is None and any(isinstance(member, Tensor | np.ndarray) for member in members):
        raise RecipeError(
            "the teacher is an array, and no test was given",
            expected="test data of its own: a held-out share would take rows out of the array's order",
            do="split the data and give test; the array then has a row for each example of train",
        )


def _loss_of(alpha: Any, temperature: Any, objective: Any) -> Distill:
    """The loss of these settings; plain values are checked as a file's are, objects taken as they are."""
    if objective is not None:
        _check_objective(objective)
    plain = {"alpha": alpha}
    if objective is None and (isinstance(temperature, Schedule) or temperature == "auto"):
        plain["temperature"] = temperature
    elif objective is None:
        plain["objective"] = _given({"name": "soft-targets", "temperature": temperature})
    loss = build(Distill, plain, where="limbeck.distill", do="mend the argument")
    return loss if objective is None else put(loss, objective=objective)


def _checked(distillation: Any) -> Distill:
    if isinstance(distillation, Distill):
        return distillation
    raise RecipeError(
        f"distillation is {_kind(distillation)}",
        expected="limbeck.training.Distill(...), which has all settings of the loss",
        do="make one, or give alpha, temperature and objective",
    )


def _with_loss(recipe: Recipe, loss: Distill) -> Recipe:
    """The recipe with a loss taken as it is: a user's own objective has no name in the catalogue."""
    return put(recipe, distill=loss)


def put(settings: T, where: str = "limbeck.distill", **changes: Any) -> T:
    """Settings with objects in them that no file can name.

    Raises:
        RecipeError: they do not go together; where they were given is named.
    """
    try:
        return replace(settings, **changes)  # type: ignore[type-var]
    except ValueError as error:
        expected = "settings of a run and of a loss that go together"
        raise RecipeError(f"{where} has an error: {error}", expected=expected, do="mend the argument") from None


def _check_objective(objective: Any) -> None:
    made = is_dataclass(objective) and not isinstance(objective, type)
    if made and callable(objective) and hasattr(objective, "traits") and hasattr(objective, "name"):
        return
    raise RecipeError(
        f"objective is {_kind(objective)}",
        expected="an objective: a frozen dataclass with a name and traits that can be called",
        do="make one like limbeck.SoftTargets (CONTRIBUTING.md), or leave it out",
    )


def _data_of(train: Any, test: Any, classes: Sequence[str] | None) -> Any:
    """The source of a recipe, and the splits where Python hands them over."""
    source = SOURCES["digits"]() if isinstance(train, str) and train == "digits" else train
    if isinstance(source, tuple(SOURCES.values())):
        if test is not None or classes is not None:
            raise RecipeError(
                f"{'classes' if test is None else 'test'} came with a source",
                expected="test data and class names from the source itself",
                do="leave it out",
            )
        return source, None
    if isinstance(train, str):
        raise RecipeError(
            f"train is {train!r}", expected='arrays, a Dataset, "digits" or a source', do="see limbeck list sources"
        )
    return GivenData(), from_arrays(train, test, classes=None if classes is None else tuple(classes))


def _student_of(student: Any) -> Any:
    """The student's entry in the recipe, and the object where Python hands it over."""
    if isinstance(student, str):
        if student not in MODELS:
            raise RecipeError(
                f"student is {student!r}", expected=f"one of {', '.join(MODELS)}", do="see limbeck list models"
            )
        kind: Any = MODELS[student]
        return kind(name=student), None
    if isinstance(student, tuple(MODELS.values())):
        return student, None
    if isinstance(student, nn.Module) or callable(student):
        return GivenModel(what=_name(student)), student
    raise RecipeError(
        f"student is a {type(student).__name__}",
        expected="a name of the catalogue, a spec, an nn.Module or a function that makes one",
        do="see limbeck list models",
    )


def _named(assistants: Any) -> list[Any]:
    """The assistants' entries in the recipe."""
    if isinstance(assistants, str) or not isinstance(assistants, Sequence):
        raise RecipeError(
            f"assistants is {assistants!r}", expected="a list of names and specs of the catalogue", do="make it a list"
        )
    return [{"name": model} if isinstance(model, str) else model for model in assistants]


def _kind(thing: Any) -> str:
    return thing.__name__ if isinstance(thing, type) else f"a {type(thing).__name__}"


def _name(thing: Any) -> str:
    return str(getattr(thing, "__qualname__", type(thing).__qualname__))
