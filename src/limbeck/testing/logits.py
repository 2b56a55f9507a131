"""What an objective on logits promises, beyond what every objective does.

Dimension key: N examples, C classes.
"""

import math

import torch
from torch import Tensor

from limbeck.objectives import UNLABELLED, Objective
from limbeck.testing.promise import expect, expect_close, expect_finite, expect_same
from limbeck.testing.trials import inputs, is_standardised, run, shapes_of


def ignores_a_shift_of_logits(objective: Objective) -> None:
    """A constant added to a row of the student's or the teacher's logits is nothing; gradients sum to 0."""
    for shapes in shapes_of(objective):
        student, teacher, labels = inputs(shapes)
        wanted = run(objective, student, teacher, labels)
        shift = torch.linspace(-40.0, 70.0, len(student), dtype=torch.float64)[:, None]
        expect_same(run(objective, student + shift, teacher, labels), wanted, "with a shifted student")
        expect_same(run(objective, student, teacher + shift, labels), wanted, "with a shifted teacher")
        sums = wanted[1].sum(dim=-1)
        expect_close(sums, torch.zeros_like(sums), "sum of the gradient over classes", floor=1e-9)


def bears_extreme_logits(objective: Objective) -> None:
    """Logits of +-80 and +-10,000 in float32 give the finite value and gradient of float64."""
    for extreme in (80.0, 1e4):
        student, teacher, labels = inputs(((7, 5), (7, 5)))
        # Every row of both reaches both ends; in the first ones the two disagree.
        student[:, 0], student[:, 1], teacher[:, 0], teacher[:, 1] = extreme, -extreme, -extreme, extreme
        teacher[4:] = student[4:].flip(0)
        student, teacher = student.float(), teacher.float()
        values, gradient = run(objective, student, teacher, labels)
        expect_finite(values, gradient)
        wanted = run(objective, student.double(), teacher.double(), labels)
        expect_close(values.double(), wanted[0], f"values at +-{extreme:g}", relative=1e-5, floor=1e-4)
        expect_close(gradient.double(), wanted[1], f"gradient at +-{extreme:g}", relative=1e-3, floor=1e-5)


def permutes_with_classes(objective: Objective) -> None:
    """Classes in another order, in student, teacher and labels alike, change nothing."""
    student, teacher, labels = inputs(((33, 10), (33, 10)))
    values, gradient = run(objective, student, teacher, labels)
    order = torch.arange(10) * 7 % 10
    moved = torch.where(labels == UNLABELLED, UNLABELLED, order.argsort()[labels.clamp(min=0)])
    got = run(objective, student[:, order], teacher[:, order], moved)
    expect_same(got, (values, gradient[:, order]), "with the classes in another order")


def bears_absent_classes(objective: Objective) -> None:
    """A class at -inf in both changes nothing, and its gradient is 0."""
    for shapes in shapes_of(objective):
        student, teacher, labels = inputs(shapes)
        values, gradient = run(objective, student, teacher, labels)
        absent, nothing = torch.full((len(student), 2), -math.inf, dtype=torch.float64), torch.zeros(len(student), 2)
        moved = torch.where(labels == UNLABELLED, UNLABELLED, labels + 2)
        got = run(objective, torch.cat((absent, student), 1), torch.cat((absent, teacher), 1), moved)
        expect_same(got, (values, torch.cat((nothing, gradient), 1)), "with two absent classes")


def is_nothing_without_labels(objective: Objective) -> None:
    """An example without a label has value 0 and gradient 0; in a batch of them too."""
    for shapes in shapes_of(objective):
        student, teacher, labels = inputs(shapes)
        for given in (labels, torch.full_like(labels, UNLABELLED)):
            values, gradient = run(objective, student, teacher, given)
            unlabelled = given == UNLABELLED
            expect(not values[unlabelled].any(), "value 0 without a label", values[unlabelled])
            expect(not gradient[unlabelled].any(), "gradient 0 without a label", gradient[unlabelled])
            expect_finite(values, gradient)


def needs_no_teacher(objective: Objective) -> None:
    """Another teacher, or none, changes nothing."""
    for shapes in shapes_of(objective):
        student, teacher, labels = inputs(shapes)
        wanted = run(objective, student, teacher, labels)
        for other in (-teacher, None):
            expect_same(run(objective, student, other, labels), wanted, "with another teacher", exact=True)


def refuses_other_widths(objective: Objective) -> None:
    """A teacher with one class (which would broadcast), a class too many or no signal is a ValueError.

    So are two classes to an objective that standardises them.
    """
    student, teacher, labels = inputs(((7, 5), (7, 5)))
    one_more = torch.cat((teacher, teacher[:, :1]), 1)
    refused: list[tuple[Tensor, Tensor | None]] = [(student, teacher[:, :1]), (student, one_more), (student, None)]
    if is_standardised(objective):
        refused.append((student[:, :2], teacher[:, :2]))
    for ours, other in refused:
        width = "no teacher" if other is None else f"{other.shape[1]} teacher classes"
        try:
            run(objective, ours, other, labels)
        except ValueError:
            continue
        raise AssertionError(f"expected ValueError from {ours.shape[1]} student classes and {width}, got a value")
