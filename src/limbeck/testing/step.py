"""What a training step promises.

Dimension key: N examples, C classes, D inputs, K terms.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from limbeck.objectives import UNLABELLED, CrossEntropy, SoftTargets
from limbeck.signal import Signal
from limbeck.testing.promise import Promise, broken_by, expect, expect_all_close, expect_close, raise_broken
from limbeck.training.learner import Learner
from limbeck.training.loss import Batch, Counts, Term


class AddGradients(Protocol):
    """The signature of `limbeck.training.step.add_gradients`."""

    def __call__(
        self, learner: Learner, batch: Batch, terms: Sequence[Term], counts: Counts, *, bf16: bool = False
    ) -> Tensor: ...


def broken_step_promises(add_gradients: AddGradients) -> dict[str, str]:
    """Name of each promise a step breaks -> what was expected and what came; empty for a sound one."""
    return broken_by(STEP_PROMISES, add_gradients)


def check_step(add_gradients: AddGradients) -> None:
    """Check that micro-batches add up, and that the step is the gradient of the mean, absolutely.

    Raises:
        AssertionError: all broken promises by name, each with what was expected and what came.
    """
    raise_broken(broken_step_promises(add_gradients))


def adds_up_over_micro_batches(add_gradients: AddGradients) -> None:
    """1 x 8, 2 x 4, 8 x 1 and a ragged 1 + 5 + 2 end in one gradient, and in the same values of the terms."""
    lesson = _Lesson()
    wanted = lesson.step(add_gradients, (8,))
    for sizes in ((4, 4), (1,) * 8, (1, 5, 2)):
        expect_all_close(lesson.step(add_gradients, sizes), wanted, f"in micro-batches of {sizes}")


def is_the_gradient_of_the_mean(add_gradients: AddGradients) -> None:
    """The gradient is that of weight x sum over the labelled / expected labelled + weight x mean over all."""
    lesson = _Lesson()
    _, *gradients = lesson.step(add_gradients, (8,))
    expect_all_close(gradients, lesson.gradients_by_hand(), "in one batch of 8")


def returns_the_value_of_each_term(add_gradients: AddGradients) -> None:
    """It returns the value of each term over the step, before its weight."""
    lesson = _Lesson()
    values_K, *_ = lesson.step(add_gradients, (8,))
    expect_close(values_K, lesson.values_by_hand(), "values of the terms", relative=1e-9, floor=1e-12)
    expect(not values_K.requires_grad, "values without a graph", "values that keep one")


def gets_nothing_from_the_unlabelled(add_gradients: AddGradients) -> None:
    """A step in which nothing is labelled has no value and no gradient from `student_loss`."""
    lesson = _Lesson()
    lesson.labels_N = torch.full_like(lesson.labels_N, UNLABELLED)
    lesson.terms = lesson.terms[:1]
    for got in lesson.step(add_gradients, (5, 3)):
        expect(not got.any(), "0 from student_loss where nothing is labelled", got)


def leaves_the_teacher_alone(add_gradients: AddGradients) -> None:
    """No gradient reaches the teacher's signal, even where it would take one."""
    lesson = _Lesson()
    lesson.teacher_NC.requires_grad_()
    lesson.step(add_gradients, (4, 4))
    gradient = lesson.teacher_NC.grad
    expect(gradient is None or not gradient.any(), "no gradient at the teacher's logits", gradient)


STEP_PROMISES: tuple[Promise[AddGradients], ...] = (
    Promise(adds_up_over_micro_batches),
    Promise(is_the_gradient_of_the_mean),
    Promise(returns_the_value_of_each_term),
    Promise(gets_nothing_from_the_unlabelled),
    Promise(leaves_the_teacher_alone),
)
"""What a step promises."""


class _Lesson:
    """Eight examples, three of them labelled where four were expected, and a linear student."""

    temperature = 3.0
    student_weight, distillation_weight = 0.3, 0.6
    counts = Counts(examples=8, labelled=4.0)

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(20150309)
        self.inputs_ND = torch.randn(8, 6, generator=draw, dtype=torch.float64)
        self.teacher_NC = 2 * torch.randn(8, 5, generator=draw, dtype=torch.float64)
        self.labels_N = torch.tensor([UNLABELLED, 3, 0, UNLABELLED, UNLABELLED, UNLABELLED, 4, UNLABELLED])
        self.weight_CD = torch.randn(5, 6, generator=draw, dtype=torch.float64)
        self.bias_C = torch.randn(5, generator=draw, dtype=torch.float64)
        self.terms: tuple[Term, ...] = (
            Term("student_loss", self.student_weight, CrossEntropy()),
            Term("distillation_loss", self.distillation_weight, SoftTargets(temperature=self.temperature)),
        )

    def step(self, add_gradients: AddGradients, sizes: Sequence[int]) -> tuple[Tensor, ...]:
        """Values of the terms [K] and the gradients of weight and bias after these micro-batches."""
        student = nn.Linear(6, 5, dtype=torch.float64)
        with torch.no_grad():
            student.weight.copy_(self.weight_CD)
            student.bias.copy_(self.bias_C)
        learner = Learner(student)
        values_K = torch.zeros(len(self.terms), dtype=torch.float64)
        parts = (torch.split(x, list(sizes)) for x in (self.inputs_ND, self.labels_N, self.teacher_NC))
        for inputs, labels, teacher in zip(*parts, strict=True):
            batch = Batch(inputs, labels, Signal(teacher))
            values_K = values_K + add_gradients(learner, batch, self.terms, self.counts)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in student.parameters()]
        return values_K, *gradients

    def _by_hand(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        logits_NC = self.inputs_ND @ self.weight_CD.T + self.bias_C
        labelled_N = self.labels_N != UNLABELLED
        y_NC = torch.zeros_like(logits_NC)
        y_NC[labelled_N, self.labels_N[labelled_N]] = 1.0
        q1_NC, q_NC, p_NC = (
            x.exp() / x.exp().sum(dim=1, keepdim=True)
            for x in (logits_NC, logits_NC / self.temperature, self.teacher_NC / self.temperature)
        )
        return labelled_N.double()[:, None], y_NC, q1_NC, q_NC, p_NC

    def values_by_hand(self) -> Tensor:
        """[K], from probabilities."""
        _, y_NC, q1_NC, q_NC, p_NC = self._by_hand()
        student_loss = -(y_NC * q1_NC.log()).sum() / 4.0
        distillation_loss = self.temperature**2 * (p_NC * (p_NC / q_NC).log()).sum() / 8
        return torch.stack([student_loss, distillation_loss])

    def gradients_by_hand(self) -> tuple[Tensor, Tensor]:
        """Of weight and bias: q1 - y for each labelled example, T (q - p) for every one, in closed form."""
        labelled_N1, y_NC, q1_NC, q_NC, p_NC = self._by_hand()
        hard_NC = self.student_weight / 4.0 * labelled_N1 * (q1_NC - y_NC)
        soft_NC = self.distillation_weight / 8 * self.temperature * (q_NC - p_NC)
        gradient_NC = hard_NC + soft_NC
        return gradient_NC.T @ self.inputs_ND, gradient_NC.sum(dim=0)
