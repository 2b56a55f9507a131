"""An objective of your own: checked against its formula, then put in the place of soft targets.

Run it by `python examples/own_objective.py`.

CONTRIBUTING.md shows how one enters the catalogue, so that recipes can name it.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from torch import Tensor

import limbeck
from limbeck.data import Digits
from limbeck.models import Mlp
from limbeck.objectives import LogitObjective, Traits
from limbeck.objectives.pairing import paired
from limbeck.testing import check_objective
from limbeck.training import AdamW, Fit


@dataclass(frozen=True, kw_only=True)
class Brier(LogitObjective):
    """The squared distance of the student's probabilities from the teacher's."""

    name: Literal["brier"] = "brier"

    traits: ClassVar[Traits] = Traits(needs=("logits",), zero_at_teacher=True)

    def values(self, student_NC: Tensor, teacher_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Values [N] from two logits [N, C]."""
        student_NC, teacher_NC = paired(student_NC, teacher_NC, self.name)
        return (student_NC.softmax(dim=-1) - teacher_NC.softmax(dim=-1)).square().sum(dim=-1)


def softmax(logits_NC: np.ndarray) -> np.ndarray:
    powers_NC = np.exp(logits_NC)
    return powers_NC / powers_NC.sum(axis=1, keepdims=True)


def brier(student_NC: np.ndarray, teacher_NC: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """The same in NumPy: the contract suite holds the objective to it, value and gradient."""
    return ((softmax(student_NC) - softmax(teacher_NC)) ** 2).sum(axis=1)


check_objective(Brier(), definition=brier)
print("Brier keeps every promise that its traits make")

data = Digits().load()
forest = ExtraTreesClassifier(200, random_state=0).fit(data.train.inputs.flatten(1).numpy(), data.train.labels.numpy())


def teacher(inputs: Tensor) -> np.ndarray:
    """Probabilities [N, 10] of a forest, for inputs as the student takes them: pixels from 0 to 1."""
    return forest.predict_proba(16 * inputs.flatten(1).numpy())


result = limbeck.distill(
    teacher=teacher,
    student=Mlp(hidden=(32,)),
    train="digits",
    labelled=100,
    objective=Brier(),
    fit=Fit(epochs=40, batch_size=64, optimizer=AdamW(lr=0.003), threads=1),
    seeds=3,
    out="runs/own-objective",
    overwrite=True,
)
print(result)
