"""What a run is made of: the data parted, and what Python code hands over in person."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from limbeck.data import AnyPreprocess, Encode, Examples, Preprocess, Splits, hold_out, labelled_subset, overlap
from limbeck.errors import DataError, RecipeError
from limbeck.files import digest_tensors
from limbeck.recipe import GivenData, Recipe, TrainedTeacher


@dataclass(frozen=True)
class Materials:
    """What Python code hands over in person, where a recipe would name it.

    Args:
        splits: the data.
        teacher: an nn.Module, a function or an array of answers.
        student: makes the student, or is one whose weights are the start.
        preprocess: what such a teacher takes; None is what the data suggest.
    """

    splits: Splits | None = None
    teacher: Any = None
    student: Callable[[], nn.Module] | nn.Module | None = None
    preprocess: Preprocess | None = None


@dataclass(frozen=True)
class Prepared:
    """The data of a run, parted.

    Args:
        given_train: the training examples as they came, before any was held out.
        teacher_train: training examples with all their labels.
        train: what students learn from, labels hidden where the recipe says so.
        measured: what the verdict speaks of, the test or the validation set.
        validation: what was held out to choose settings on, if anything was.
        preprocess: what the source declares, learnt on `teacher_train` where it is learnt.
        facts: counts for the record.
    """

    given_train: Examples
    teacher_train: Examples
    train: Examples
    measured: Examples
    preprocess: AnyPreprocess
    validation: Examples | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def sha256(self) -> dict[str, str]:
        """Of the keys and labels of what students learn from and of what is measured."""
        sides = {"training set": self.train, "measured set": self.measured}
        return {name: digest_tensors({"keys": side.keys, "labels": side.labels}) for name, side in sides.items()}


def student_preprocess(recipe: Recipe, data: Prepared) -> AnyPreprocess:
    """What students see through: the recipe's, or what the source declares."""
    return recipe.student.preprocess or data.preprocess


def prepare(recipe: Recipe, materials: Materials) -> Prepared:
    """Load the data and part it: what the teacher may see, what students see, what is measured.

    Raises:
        RecipeError: a choice of examples that the data do not allow.
        DataError: data that cannot be read, or of which nothing is left to learn from or to measure.
    """
    splits = materials.splits or load_splits(recipe)
    if isinstance(splits.preprocess, Encode):
        _check_left_to_source(recipe)
    shared = overlap(splits.train, splits.test)
    test = splits.test
    if recipe.data.drop_overlap and len(shared):
        keep = torch.ones(len(test), dtype=torch.bool)
        keep[shared] = False
        test = test.select(keep)
    train, measured, validation = splits.train, test, None
    if recipe.data.validation:
        rest, held = hold_out(train, recipe.data.validation, "validation")
        train, validation = train.select(rest), train.select(held)
        measured = validation if recipe.proof.on == "validation" else test
    heard = _hide(train, recipe)
    _check_left(heard, measured)
    facts = {
        "source": recipe.data.source.source,
        "classes": list(train.classes),
        "input_shape": list(train.input_shape),
        "teacher_train": len(train),
        "teacher_labelled": _labelled(train),
        "student_train": len(heard),
        "student_labelled": _labelled(heard),
        "validation_labels": _labelled(splits.train) - _labelled(train),
        "measured_on": recipe.proof.on,
        "measured": len(measured),
        "official_test": splits.official,
        "overlap": len(shared),
        "overlap_dropped": recipe.data.drop_overlap,
        "duplicates": train.duplicates,
        **splits.facts,
    }
    return Prepared(splits.train, train, heard, measured, splits.preprocess.on(train), validation, facts)


def load_splits(recipe: Recipe) -> Splits:
    """The data of a recipe as their source gives them.

    Raises:
        RecipeError: they were to be handed over in Python.
        DataError: they cannot be read.
    """
    source = recipe.data.source
    if isinstance(source, GivenData):
        raise RecipeError(
            "data.source is python",
            expected="a source that a file can name",
            do="call limbeck.distill in Python with the arrays, or name a source (limbeck list sources)",
        )
    try:
        return source.load()
    except OSError as error:
        raise DataError(
            f"{error.filename or 'the data'} cannot be read: {error.strerror or error}",
            expected="files that this user may read",
            do="look at their permissions and at the disk",
        ) from error


def _check_left_to_source(recipe: Recipe) -> None:
    """Refuse a preprocess for rows of a table, whose categories and missing values it would take for numbers."""
    given = {"student": recipe.student.preprocess}
    if isinstance(recipe.teacher, TrainedTeacher):
        given["teacher"] = recipe.teacher.preprocess
    for whose, preprocess in given.items():
        if preprocess is not None:
            raise RecipeError(
                f"{whose}.preprocess came with rows of a table",
                expected="null: rows are encoded by what is learnt on the training rows",
                do="leave it out; `data.roles` says how a column is taken",
            )


def _check_left(heard: Examples, measured: Examples) -> None:
    for what, count in (("train on", len(heard)), ("measure", len(measured))):
        if not count:
            raise DataError(
                f"no example is left to {what}",
                expected="at least one",
                do="look at data.labelled, data.unlabelled and data.drop_overlap, and at what the data hold",
            )
    met = heard.labels[heard.labelled].unique()
    if len(met) == 1:
        raise DataError(
            f"all labels of the training set are {heard.classes[met[0]]}",
            expected=f"labels of at least two of its {len(heard.classes)} classes",
            do="look at the labels, and whether the data are sorted and were cut",
        )


def _hide(train: Examples, recipe: Recipe) -> Examples:
    """The training examples with only the labels that students may see."""
    if recipe.data.labelled is None:
        return train if recipe.data.unlabelled else train.select(train.labelled)
    if not _labelled(train):
        raise RecipeError(
            f"data.labelled is {recipe.data.labelled}, and no training example has a label",
            expected="labels to choose from",
            do="set data.labelled: null, or label some examples",
        )
    chosen = labelled_subset(train, recipe.data.labelled, "labelled")
    if not recipe.data.unlabelled:
        return train.select(chosen)
    visible = torch.zeros(len(train), dtype=torch.bool)
    visible[chosen] = True
    return train.hide_labels(visible)


def _labelled(examples: Examples) -> int:
    return int(examples.labelled.sum())
