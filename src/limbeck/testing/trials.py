"""What an objective is asked in a trial, and what it answers.

The student's and the teacher's tensors are logits [N, C], or for a tap objective features [N, ...] at its two taps.
What is learnt for it is built anew in every trial, always from the same seed.

Dimension key: N examples, C classes.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from limbeck.objectives import UNLABELLED, LogitObjective, Objective, TapObjective
from limbeck.signal import Signal

Shape = tuple[int, ...]
Shapes = tuple[Shape, Shape]
"""Of the student's tensor and of the teacher's, both with the batch."""

SHAPES = ((33, 10), (7, 5), (1, 2))
"""Ragged logits [N, C], so that no size stands in for another."""

MAP_SHAPES: tuple[Shapes, ...] = (
    ((7, 6, 5, 5), (7, 6, 5, 5)),
    ((9, 3, 4, 4), (9, 5, 4, 4)),
    ((5, 4, 6, 6), (5, 4, 3, 3)),
    ((1, 4, 3, 3), (1, 4, 3, 3)),
)
"""Maps [N, channels, height, width]: alike, of other channels, of another size, of one example."""

VECTOR_SHAPES: tuple[Shapes, ...] = (((7, 5), (7, 5)), ((8, 6), (8, 9)), ((1, 4), (1, 4)), ((4, 3, 6), (4, 3, 5)))
"""Vectors [N, width], and at the end tokens [N, tokens, width]."""

Answer = tuple[Tensor, ...]
"""Values [N], then the gradients of their sum: at the student's tensor, and at each parameter that is learnt."""


def shapes_of(objective: Objective) -> list[Shapes]:
    """What the objective is asked with; unlike shapes only where it does not refuse to build for them."""
    if not objective.traits.taps:
        # Of two classes standardised logits leave only the order: refused, and a promise asks for that.
        least = 3 if is_standardised(objective) else 2
        return [((count, max(classes, least)),) * 2 for count, classes in SHAPES]
    shapes = MAP_SHAPES if "maps" in objective.traits.needs else (*MAP_SHAPES, *VECTOR_SHAPES)
    return [pair for pair in shapes if pair[0] == pair[1] or not _is_refused(objective, pair)]


def is_standardised(objective: Objective) -> bool:
    return isinstance(objective, LogitObjective) and objective.standardise


def inputs(shapes: Shapes, scale: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    """Student's and teacher's tensors in float64 and labels [N], a third unknown; always the same.

    Labels are classes of the student's second dimension; a tap objective does not look at them.
    """
    count, width = shapes[0][:2]
    draw = torch.Generator().manual_seed(1000 * count + width)
    student, teacher = (scale * torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes)
    labels = torch.randint(width, (count,), generator=draw)
    labels[1::3] = UNLABELLED
    return student, teacher, labels


def built(objective: Objective, student: Tensor, teacher: Tensor, seed: int = 0) -> nn.Module | None:
    """What the objective learns for tensors of these shapes, in the dtype it will compute in."""
    if not objective.traits.taps:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learnt = cast(TapObjective, objective).build(tuple(student.shape[1:]), tuple(teacher.shape[1:]))
    if learnt is not None:
        learnt.to(torch.float64 if student.dtype == torch.float64 else torch.float32)
    return learnt


def ask(
    objective: Objective, student: Tensor, teacher: Tensor | None, labels: Tensor, learnt: nn.Module | None
) -> Tensor:
    """The values [N] of the objective."""
    if not objective.traits.taps:
        return objective(Signal(student), None if teacher is None else Signal(teacher), labels)
    tapped = cast(TapObjective, objective)
    signal = None if teacher is None else _tapped({tapped.teacher: teacher})
    return tapped(_tapped({tapped.student: student}), signal, labels, learnt)


def run(objective: Objective, student: Tensor, teacher: Tensor | None, labels: Tensor) -> Answer:
    """Values, and the gradients of their sum at the student's tensor and at what is learnt."""
    learnt = built(objective, student, student if teacher is None else teacher)
    return run_with(learnt, objective, student, teacher, labels)


def run_with(
    learnt: nn.Module | None, objective: Objective, student: Tensor, teacher: Tensor | None, labels: Tensor
) -> Answer:
    """The same with what is learnt given, fresh from `built`."""
    leaf = student.detach().clone().requires_grad_()
    values = ask(objective, leaf, teacher, labels, learnt)
    values.sum().backward()
    assert leaf.grad is not None, "expected a gradient at what the student says, got none"
    reached = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters_of(learnt).values()]
    return values.detach(), leaf.grad, *reached


def parameters_of(learnt: nn.Module | None) -> dict[str, nn.Parameter]:
    return {} if learnt is None else dict(learnt.named_parameters())


def _tapped(features: Mapping[str, Tensor]) -> Signal:
    """A signal whose logits say nothing."""
    count = max(len(tensor) for tensor in features.values())
    return Signal(torch.zeros(count, 2), features)


def _is_refused(objective: Objective, shapes: Shapes) -> bool:
    student, teacher = (torch.empty(shape) for shape in shapes)
    try:
        built(objective, student, teacher)
    except ValueError:
        return True
    return False
