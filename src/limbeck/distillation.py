"""The Python door: `limbeck.distill`, the whole story in one call."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import Tensor, nn

from limbeck.data import SOURCES, AnyPreprocess, Preprocess, from_arrays
from limbeck.errors import Interrupted, RecipeError
from limbeck.files import path_of
from limbeck.measurement import Verdict
from limbeck.models import MODELS, ModelSpec
from limbeck.pipeline import Options, run
from limbeck.preparation import Materials
from limbeck.progress import Watch, unwatched
from limbeck.recipe import GivenData, GivenModel, GivenTeacher, Recipe
from limbeck.recipe_text import build
from limbeck.report import closing_sentence, write_report
from limbeck.teachers import Ensemble, SavedModel, TeacherSpec, load_model
from limbeck.training import ArmName, Auto, Distill, Fit, Schedule

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """What a run has shown, and where it lies.

    Args:
        directory: of the run: record, reports, students, labels.
        record: all that was measured.
        make: the user's architecture, where the student is not of the catalogue.
    """

    directory: Path
    record: dict[str, Any]
    make: Callable[[], nn.Module] | None = None

    @property
    def verdict(self) -> Verdict:
        """The distilled arm against scratch, or the first comparison that was made."""
        return Verdict.from_dict(self.record["verdict"])

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Every comparison that was made."""
        return tuple(Verdict.from_dict(verdict) for verdict in self.record["verdicts"])

    @property
    def student(self) -> nn.Module:
        """The trained student of the lowest seed, last epoch, in evaluation mode; no teacher inside.

        It takes preprocessed inputs, see `preprocess`.
        """
        return self._saved.module

    @property
    def preprocess(self) -> AnyPreprocess:
        """From inputs as they are stored to what the student takes."""
        return self._saved.preprocess

    @cached_property
    def _saved(self) -> SavedModel:
        arms, seeds = self.record["recipe"]["proof"]["arms"], self.record["recipe"]["proof"]["seeds"]
        arm = "distilled" if "distilled" in arms else arms[0]
        directory = self.directory / "arms" / arm / f"seed-{min(seeds)}" / "student"
        return load_model(directory, self.make() if self.make else None)

    def __str__(self) -> str:
        return closing_sentence(self.record)


def distill(
    *,
    teacher: Any,
    student: str | ModelSpec | Callable[[], nn.Module] | nn.Module,
    train: Any,
    test: Any = None,
    out: str | Path,
    alpha: float | Schedule | Auto | None = None,
    temperature: float | Schedule | Auto | None = None,
    objective: Any = None,
    distillation: Distill | None = None,
    assistants: Sequence[str | ModelSpec] = (),
    generations: int = 1,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    fit: Fit | None = None,
    seeds: int | Sequence[int] = 5,
    arms: Sequence[ArmName] = ("distilled", "scratch"),
    labelled: int | None = None,
    unlabelled: bool = True,
    validation: int = 0,
    classes: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    allow_weak_teacher: bool = False,
    watch: Watch = unwatched,
) -> Result:
    """Distil a teacher into a student, and prove the gain against the same student without the teacher.

    Args:
        teacher: an nn.Module that takes preprocessed inputs; a function of preprocessed inputs that returns logits or
            probabilities [N, C]; an array of them with a row per training example; a list of these, or an `Ensemble`
            with weights; a spec of the catalogue of teachers, such as `limbeck.teachers.TimmTeacher(name=...)`; or the
            path of a saved model.
        student: a name of the catalogue (`limbeck list models`), one of its specs (`limbeck.models.Mlp(hidden=(32,))`),
            a function that makes an nn.Module, or an instance, whose weights every student then starts from.
        train: (inputs, labels) as arrays or tensors, a `torch.utils.data.Dataset`, or a source: the name "digits" or
            one of `limbeck.data`, such as `Idx(path=...)`. Label -100: not known.
        test: likewise arrays or a Dataset; None holds a share of train out. Not given with a source.
        out: the directory of the run.
        alpha: `loss = alpha * student_loss + (1 - alpha) * distillation_loss`, 0.1 unless given, a schedule, or "auto",
            which is guessed from the teacher's answers.
        temperature: of the distillation loss, 4 unless given, a schedule or "auto"; `objective` has its own.
        objective: the soft-label objective; None is `SoftTargets(temperature=temperature)`.
        distillation: all settings of the loss, further terms among them, in the place of the three above.
        assistants: names or specs of the catalogue that stand between teacher and student, each taught by the one
            before it.
        generations: how often the student is trained in a row, each time taught by the last.
        epochs: passes over the training examples of the distilled arm, the budget of all arms; 20 unless given.
        batch_size: examples of one optimizer step, 128 unless given.
        lr: the peak learning rate of AdamW under a cosine, 0.001 unless given.
        fit: all settings of the training, in the place of the three above.
        seeds: how many, counted from 0, or which.
        arms: what is compared.
        labelled: how many training labels students see; None is all.
        unlabelled: whether students that hear the teacher also see the examples without a label.
        validation: how many training examples are held out.
        classes: names of the labels.
        preprocess: from stored inputs to what teacher and student take; None is what the data suggest.
        device: auto, cpu, cuda or cuda:N.
        resume: go on with the run in `out`.
        overwrite: delete the run in `out` first.
        allow_weak_teacher: go on with a teacher no better than chance.
        watch: told of progress.

    Returns:
        The result: `.verdict`, `.student`, `.record`.

    Raises:
        RecipeError: settings that cannot be used. DataError: data, teacher or labels that cannot. DiskError: a full or
            read-only disk. Interrupted: Ctrl-C or SIGTERM, after a safe checkpoint.
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
    return _told(recipe, materials, Options(resume, overwrite, allow_weak_teacher, watch))


def _told(recipe: Recipe, materials: Materials, options: Options) -> Result:
    """Run a recipe and report on it."""
    try:
        record = run(recipe, materials, options)
    except Interrupted as stopped:
        raise stopped.advising("make the same call again with resume=True") from None
    directory = path_of(recipe.out, "out")
    write_report(directory, record)
    return Result(directory, record, _maker(materials.student))


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
    if objective is None and isinstance(temperature, Schedule | str):
        plain["temperature"] = temperature
    elif objective is None:
        plain["objective"] = _given({"name": "soft-targets", "temperature": temperature})
    loss = build(Distill, plain, where="limbeck.distill", do="mend the argument")
    return loss if objective is None else _put(loss, objective=objective)


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
    return _put(recipe, distill=loss)


def _put(settings: T, **changes: Any) -> T:
    """Settings with objects in them that no file can name."""
    try:
        return replace(settings, **changes)  # type: ignore[type-var]
    except ValueError as error:
        expected = "settings of a run and of a loss that go together"
        raise RecipeError(f"limbeck.distill has an error: {error}", expected=expected, do="mend the argument") from None


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


def _maker(student: Any) -> Callable[[], nn.Module] | None:
    """What makes the architecture that saved weights are put into."""
    if student is None:
        return None
    return (lambda: deepcopy(student)) if isinstance(student, nn.Module) else student
