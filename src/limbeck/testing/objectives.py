"""What an objective promises, each where its traits say so.

Dimension key: N examples, C classes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limbeck.objectives import UNLABELLED, Objective, Traits
from limbeck.signal import Signal
from limbeck.testing.promise import Promise, broken_by, expect, expect_close, expect_finite, expect_same, raise_broken

SHAPES = ((7, 5), (33, 10), (1, 2))
"""Ragged [N, C], so that no size stands in for another."""

Definition = Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]]
"""(student's logits [N, C], teacher's logits [N, C], labels [N]) -> values [N], float64: the paper's formula.

It is worth what it does not share: write it in NumPy probabilities, not with the objective's functions.
"""


def broken_promises(objective: Objective, definition: Definition | None = None) -> dict[str, str]:
    """Name of each promise an objective breaks -> what was expected and what came; empty for a sound one."""
    promises = [*PROMISES]
    if definition is not None:
        promises.append(Promise(matches(definition)))
    return broken_by(promises, objective)


def check_objective(objective: Objective, definition: Definition | None = None) -> None:
    """Check everything that an objective's traits promise, and that it is what its definition says.

    Raises:
        AssertionError: all broken promises by name, each with what was expected and what came.
    """
    raise_broken(broken_promises(objective, definition))


def check_definition(objective: Objective, definition: Definition) -> None:
    """Check values, absolutely, and gradients against an independent definition, in float64.

    Raises:
        AssertionError: what was expected and what came.
    """
    Promise(matches(definition))(objective)


def one_value_per_example(objective: Objective) -> None:
    """It returns [N], also for one example and for none, and does not divide by the batch."""
    for count, classes in (*SHAPES, (0, 5)):
        student, teacher, labels = _inputs(count, classes)
        values, gradient = _run(objective, student, teacher, labels)
        expect(values.shape == (count,), f"shape [{count}], one value per example", list(values.shape))
        expect_finite(values, gradient)


def is_in_float32_at_least(objective: Objective) -> None:
    """Half-precision logits are raised to float32; float64 is left alone."""
    student, teacher, labels = _inputs(7, 5)
    for given in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        values, _ = _run(objective, student.to(given), teacher.to(given), labels)
        wanted = torch.float64 if given == torch.float64 else torch.float32
        expect(values.dtype == wanted, f"{wanted} values from {given} logits", values.dtype)


def is_zero_at_the_teacher(objective: Objective) -> None:
    """Value and gradient are 0 where the student says what the teacher says."""
    for shape in SHAPES:
        _, teacher, labels = _inputs(*shape)
        values, gradient = _run(objective, teacher, teacher, labels)
        expect_close(values, torch.zeros_like(values), "value where student = teacher", floor=1e-9)
        expect_close(gradient, torch.zeros_like(gradient), "gradient where student = teacher", floor=1e-9)


def is_never_negative(objective: Objective) -> None:
    """No value is below 0."""
    for count, classes in SHAPES:
        for scale in (0.1, 3.0, 30.0):
            values, _ = _run(objective, *_inputs(count, classes, scale))
            expect(bool((values >= -1e-9).all()), "no value below 0", float(values.min()))


def ignores_a_shift_of_logits(objective: Objective) -> None:
    """A constant added to a row of the student's or the teacher's logits is nothing; gradients sum to 0."""
    for count, classes in SHAPES:
        student, teacher, labels = _inputs(count, classes)
        wanted = _run(objective, student, teacher, labels)
        shift = torch.linspace(-40.0, 70.0, count, dtype=torch.float64)[:, None]
        expect_same(_run(objective, student + shift, teacher, labels), wanted, "with a shifted student")
        expect_same(_run(objective, student, teacher + shift, labels), wanted, "with a shifted teacher")
        sums = wanted[1].sum(dim=-1)
        expect_close(sums, torch.zeros_like(sums), "sum of the gradient over classes", floor=1e-9)


def has_the_gradient_of_its_value(objective: Objective) -> None:
    """Autograd's gradient is that of central differences, in float64."""
    for shape in ((7, 5), (1, 2)):
        student, teacher, labels = _inputs(*shape)

        def values(logits: Tensor, teacher: Tensor = teacher, labels: Tensor = labels) -> Tensor:
            return objective(Signal(logits), Signal(teacher), labels)

        torch.autograd.gradcheck(values, student.requires_grad_(), eps=1e-5, atol=1e-6, rtol=1e-5)


def takes_the_teacher_as_constant(objective: Objective) -> None:
    """No gradient reaches the teacher, even where it would take one."""
    student, teacher, labels = _inputs(7, 5)
    teacher.requires_grad_()
    _run(objective, student, teacher, labels)
    reached = teacher.grad is not None and bool(teacher.grad.any())
    expect(not reached, "no gradient at the teacher's logits", teacher.grad)


def has_one_gradient_size_at_all_temperatures(objective: Objective) -> None:
    """From temperature 20 to 40 the gradient's norm changes by less than a tenth: T^2 is there, once."""
    assert is_dataclass(objective)
    student, teacher, labels = _inputs(33, 10)
    cool: Any = replace(objective, temperature=20.0)
    hot: Any = replace(objective, temperature=40.0)
    norms = [float(_run(softened, student, teacher, labels)[1].norm()) for softened in (cool, hot)]
    expect(abs(norms[0] / norms[1] - 1) < 0.1, "gradient norms at T = 20 and 40 within 10 %", norms)


def bears_extreme_logits(objective: Objective) -> None:
    """Logits of +-80 and +-10,000 in float32 give the finite value and gradient of float64."""
    for extreme in (80.0, 1e4):
        student, teacher, labels = _inputs(7, 5)
        # Every row of both reaches both ends; in the first ones the two disagree.
        student[:, 0], student[:, 1], teacher[:, 0], teacher[:, 1] = extreme, -extreme, -extreme, extreme
        teacher[4:] = student[4:].flip(0)
        student, teacher = student.float(), teacher.float()
        values, gradient = _run(objective, student, teacher, labels)
        expect_finite(values, gradient)
        wanted = _run(objective, student.double(), teacher.double(), labels)
        expect_close(values.double(), wanted[0], f"values at +-{extreme:g}", relative=1e-5, floor=1e-4)
        expect_close(gradient.double(), wanted[1], f"gradient at +-{extreme:g}", relative=1e-3, floor=1e-5)


def keeps_its_digits_in_half_precision(objective: Objective) -> None:
    """From bfloat16 logits it is as near to the truth as the truth rounded twice to bfloat16.

    The truth is the same objective in float64; its own float32 error is allowed for.
    """
    student, teacher, labels = _inputs(33, 10)
    student, teacher = student.bfloat16(), teacher.bfloat16()
    truth = _run(objective, student.double(), teacher.double(), labels)
    single = _run(objective, student.float(), teacher.float(), labels)
    half = _run(objective, student, teacher, labels)
    for what, ours, float32, true in zip(("values", "gradient"), half, single, truth, strict=True):
        rounding, own = (true.bfloat16().double() - true).abs(), (float32.double() - true).abs()
        allowed = float(2 * rounding.max() + 2 * own.max() + 1e-7)
        error = float((ours.double() - true).abs().max())
        expect(error <= allowed, f"{what} from bfloat16 within {allowed:.3g} of the truth", error)


def treats_each_example_alone(objective: Objective) -> None:
    """Micro-batches equal one batch, and an example alone equals the example in its batch."""
    student, teacher, labels = _inputs(33, 10)
    wanted = _run(objective, student, teacher, labels)
    for sizes in ((11, 11, 11), (1, 30, 2), (1,) * 33):
        parts = [torch.split(x, list(sizes)) for x in (student, teacher, labels)]
        values, gradients = zip(*(_run(objective, *part) for part in zip(*parts, strict=True)), strict=True)
        expect_same((_cat(values), _cat(gradients)), wanted, f"in micro-batches of {sizes}")


def permutes_with_examples(objective: Objective) -> None:
    """Examples in another order give the same values in that order."""
    student, teacher, labels = _inputs(33, 10)
    values, gradient = _run(objective, student, teacher, labels)
    order = torch.arange(33) * 10 % 33
    got = _run(objective, student[order], teacher[order], labels[order])
    expect_same(got, (values[order], gradient[order]), "with the examples in another order")


def permutes_with_classes(objective: Objective) -> None:
    """Classes in another order, in student, teacher and labels alike, change nothing."""
    student, teacher, labels = _inputs(33, 10)
    values, gradient = _run(objective, student, teacher, labels)
    order = torch.arange(10) * 7 % 10
    moved = torch.where(labels == UNLABELLED, UNLABELLED, order.argsort()[labels.clamp(min=0)])
    got = _run(objective, student[:, order], teacher[:, order], moved)
    expect_same(got, (values, gradient[:, order]), "with the classes in another order")


def bears_absent_classes(objective: Objective) -> None:
    """A class at -inf in both changes nothing, and its gradient is 0."""
    for count, classes in SHAPES:
        student, teacher, labels = _inputs(count, classes)
        values, gradient = _run(objective, student, teacher, labels)
        absent, nothing = torch.full((count, 2), -math.inf, dtype=torch.float64), torch.zeros(count, 2)
        got = _run(objective, _cat((absent, student), 1), _cat((absent, teacher), 1), labels)
        expect_same(got, (values, _cat((nothing, gradient), 1)), "with two absent classes")


def is_nothing_without_labels(objective: Objective) -> None:
    """An example without a label has value 0 and gradient 0; in a batch of them too."""
    for student, teacher, labels in (_inputs(33, 10), _inputs(1, 2)):
        for given in (labels, torch.full_like(labels, UNLABELLED)):
            values, gradient = _run(objective, student, teacher, given)
            unlabelled = given == UNLABELLED
            expect(not values[unlabelled].any(), "value 0 without a label", values[unlabelled])
            expect(not gradient[unlabelled].any(), "gradient 0 without a label", gradient[unlabelled])
            expect_finite(values, gradient)


def needs_no_labels(objective: Objective) -> None:
    """Other labels, or none, change nothing."""
    for student, teacher, labels in (_inputs(33, 10), _inputs(1, 2)):
        wanted = _run(objective, student, teacher, labels)
        for other in (labels.flip(0), torch.zeros_like(labels), torch.full_like(labels, UNLABELLED)):
            expect_same(_run(objective, student, teacher, other), wanted, "with other labels", exact=True)


def needs_no_teacher(objective: Objective) -> None:
    """Another teacher, or none, changes nothing."""
    for student, teacher, labels in (_inputs(33, 10), _inputs(1, 2)):
        wanted = _run(objective, student, teacher, labels)
        for other in (-teacher, None):
            expect_same(_run(objective, student, other, labels), wanted, "with another teacher", exact=True)


def refuses_other_widths(objective: Objective) -> None:
    """A teacher with one class (which would broadcast), a class too many or no signal is a ValueError."""
    student, teacher, labels = _inputs(7, 5)
    for other in (teacher[:, :1], _cat((teacher, teacher[:, :1]), 1), None):
        width = "no teacher" if other is None else f"{other.shape[1]} teacher classes"
        try:
            _run(objective, student, other, labels)
        except ValueError:
            continue
        raise AssertionError(f"expected ValueError from 5 student classes and {width}, got a value")


def _trait(condition: Callable[[Traits], bool]) -> Callable[[Objective], bool]:
    return lambda objective: condition(objective.traits)


def _is_softened(objective: Objective) -> bool:
    return is_dataclass(objective) and "temperature" in {field.name for field in fields(objective)}


PROMISES: tuple[Promise[Objective], ...] = (
    Promise(one_value_per_example),
    Promise(is_in_float32_at_least),
    Promise(is_zero_at_the_teacher, _trait(lambda traits: traits.zero_at_teacher)),
    Promise(is_never_negative, _trait(lambda traits: traits.non_negative)),
    Promise(ignores_a_shift_of_logits, _trait(lambda traits: traits.shift_invariant)),
    Promise(has_the_gradient_of_its_value),
    Promise(takes_the_teacher_as_constant),
    Promise(has_one_gradient_size_at_all_temperatures, _is_softened),
    Promise(bears_extreme_logits),
    Promise(keeps_its_digits_in_half_precision),
    Promise(treats_each_example_alone, _trait(lambda traits: traits.coupling == "example")),
    Promise(permutes_with_examples),
    Promise(permutes_with_classes),
    Promise(bears_absent_classes, _trait(lambda traits: "logits" in traits.needs and traits.zero_at_teacher)),
    Promise(is_nothing_without_labels, _trait(lambda traits: "labels" in traits.needs)),
    Promise(needs_no_labels, _trait(lambda traits: "labels" not in traits.needs)),
    Promise(needs_no_teacher, _trait(lambda traits: not traits.hears_teacher)),
    Promise(refuses_other_widths, _trait(lambda traits: traits.hears_teacher)),
)
"""What every objective promises, each where its traits say so."""


def matches(definition: Definition) -> Callable[[Objective], None]:
    """The absolute promise: the value of `definition`, and the gradient of its central differences."""

    def matches_the_definition(objective: Objective) -> None:
        for count, classes in SHAPES:
            for scale in (0.5, 2.0, 20.0):
                student, teacher, labels = _inputs(count, classes, scale)
                values, gradient = _run(objective, student, teacher, labels)
                s_NC, t_NC, y_N = student.numpy(), teacher.numpy(), labels.numpy()
                wanted = torch.from_numpy(definition(s_NC, t_NC, y_N))
                expect_close(values, wanted, "values of the definition", relative=1e-9, floor=1e-12)
                differences = torch.from_numpy(_central_differences(definition, s_NC, t_NC, y_N))
                expect_close(gradient, differences, "gradient of the definition", relative=1e-5, floor=1e-6)

    return matches_the_definition


def _inputs(count: int, classes: int, scale: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    """Student's and teacher's logits [N, C] in float64 and labels [N], a third unknown; always the same."""
    draw = torch.Generator().manual_seed(1000 * count + classes)
    student, teacher = scale * torch.randn(2, count, classes, generator=draw, dtype=torch.float64)
    labels = torch.randint(classes, (count,), generator=draw)
    labels[1::3] = UNLABELLED
    return student.clone(), teacher.clone(), labels


def _run(objective: Objective, student: Tensor, teacher: Tensor | None, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Values, and the gradient of their sum at the student's logits."""
    leaf = student.detach().clone().requires_grad_()
    values = objective(Signal(leaf), None if teacher is None else Signal(teacher), labels)
    values.sum().backward()
    assert leaf.grad is not None, "expected a gradient at the student's logits, got none"
    return values.detach(), leaf.grad


def _central_differences(
    definition: Definition, s_NC: NDArray[np.float64], t_NC: NDArray[np.float64], y_N: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The gradient of the sum of the definition's values, to the fourth order of a step of 1e-3."""
    gradient_NC = np.zeros_like(s_NC)
    for at in np.ndindex(s_NC.shape):
        for steps, weight in ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12)):
            moved_NC = s_NC.copy()
            moved_NC[at] += steps * 1e-3
            gradient_NC[at] += weight * definition(moved_NC, t_NC, y_N).sum() / 1e-3
    return gradient_NC


def _cat(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    return torch.cat([part.reshape(1) if part.ndim == 0 else part for part in parts], dim)
