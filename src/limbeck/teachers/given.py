"""The teacher that a Python object makes."""

from typing import Any

import numpy as np
from torch import Tensor, nn

from limbeck.errors import DataError, RecipeError
from limbeck.teachers.audience import Audience
from limbeck.teachers.ensemble import Ensemble, EnsembleTeacher
from limbeck.teachers.estimator import can_predict, teacher_of_estimator
from limbeck.teachers.function import CallableTeacher
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.table import TableTeacher
from limbeck.teachers.teacher import Teacher, tensor_of


def teacher_of(given: Any, audience: Audience) -> Teacher:
    """The teacher that a Python object makes.

    Args:
        given: an nn.Module, a fitted estimator with `predict_proba`, an array or tensor with a row for each training
            example, a function of preprocessed inputs [N, ...] that returns logits or probabilities [N, C], or a list
            or `Ensemble` of these.
        audience: whom it is to answer for.

    Raises:
        DataError: none of these, or an array of another length.
        RecipeError: taps of something that is no module.
    """
    preprocess = audience.handed_over or audience.preprocess
    if isinstance(given, nn.Module):
        return ModuleTeacher(given, preprocess, audience.device, audience.taps)
    if audience.taps:
        raise RecipeError(
            f"the taps {', '.join(audience.taps)} came with a teacher that is a {type(given).__name__}",
            expected="an nn.Module, whose parts can be tapped",
            do="leave out the terms that look at features, or hand over the network itself",
        )
    if isinstance(given, list | tuple) and any(_can_answer(member) for member in given):
        given = Ensemble(given)
    if isinstance(given, Ensemble):
        return _together(given, audience)
    if isinstance(given, Tensor | np.ndarray):
        return TableTeacher(tensor_of(given), audience.examples)
    if can_predict(given):
        return teacher_of_estimator(given, audience)
    if _can_answer(given):
        return CallableTeacher(given, preprocess)
    raise DataError(
        f"the teacher is a {type(given).__name__}",
        expected="an nn.Module, an estimator with predict_proba, a function of a batch, an array of logits with a row "
        "per training example, or a list",
        do="wrap it in a function that takes inputs [N, ...] and returns logits [N, classes]; an SVC has predict_proba "
        "with probability=True",
    )


def _together(given: Ensemble, audience: Audience) -> EnsembleTeacher:
    for number, member in enumerate(given.members):
        if not _can_answer(member):
            raise DataError(
                f"member {number} of the teacher is a {type(member).__name__}",
                expected="an nn.Module, an estimator with predict_proba, a function of a batch, or an array of logits "
                "with a row per training example",
                do="load a saved model by limbeck.load_model(path).module; in a recipe there is teacher.kind: ensemble",
            )
    members = [teacher_of(member, audience) for member in given.members]
    return EnsembleTeacher(members, given.weights, given.mean)


def _can_answer(given: Any) -> bool:
    return isinstance(given, Tensor | np.ndarray) or can_predict(given) or callable(given)
