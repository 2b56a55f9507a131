"""Feature beside feature: brought to one height and width, and to one number of channels by a projector.

A tap gives vectors [N, D], tokens [N, L, D] or maps [N, C, H, W]; the D of the first two are called channels too.

Dimension key: N examples, C channels, H height, W width, L tokens, D numbers of a vector.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.objectives.base import Shape
from limbeck.objectives.pairing import beside, paired

MAPS = {3: "maps [C, H, W]"}
FEATURES = {1: "vectors [D]", 2: "tokens [L, D]", **MAPS}
"""Dimensions of one example -> what it is: for objectives that compare maps alone, and for those that do any."""


def check_shapes(student: Shape, teacher: Shape, name: str, kinds: dict[int, str] = FEATURES) -> None:
    """Refuse features that are not of one kind, and tokens that are not as many.

    Args:
        student: shape of one example.
        teacher: likewise.
        name: the objective's.
        kinds: what it compares.

    Raises:
        ValueError: what it compares, both shapes, and what to do.
    """
    got = f"got {tuple(student)} from the student and {tuple(teacher)} from the teacher"
    if len(student) != len(teacher) or len(student) not in kinds:
        raise ValueError(f"{name} expected both to give {' or '.join(kinds.values())}, {got}: tap other parts")
    if len(student) == 2 and student[0] != teacher[0]:
        raise ValueError(f"{name} expected as many tokens [L, D] from both, {got}: tap parts that see the same tokens")


def channels(shape: Shape) -> int:
    """Channels of one example's features."""
    return shape[0] if len(shape) == 3 else shape[-1]


def linear(given: int, wanted: int, dimensions: int) -> nn.Module:
    """From `given` channels to `wanted` at each position, without bias, of examples with so many dimensions."""
    return nn.Conv2d(given, wanted, 1, bias=False) if dimensions == 3 else nn.Linear(given, wanted, bias=False)


def projector_for(student: Shape, teacher: Shape, name: str, kinds: dict[int, str] = FEATURES) -> nn.Module | None:
    """A linear map of the student's channels to as many as the teacher's, from torch's global randomness.

    Args:
        student: shape of one example.
        teacher: likewise.
        name: the objective's.
        kinds: what it compares.

    Returns:
        None where the channels are as many already.

    Raises:
        ValueError: shapes that no projector can make comparable.
    """
    check_shapes(student, teacher, name, kinds)
    if channels(student) == channels(teacher):
        return None
    return linear(channels(student), channels(teacher), len(student))


def aligned(student: Tensor, teacher: Tensor, name: str, kinds: dict[int, str] = FEATURES) -> tuple[Tensor, Tensor]:
    """Both in at least float32 and of one height and width, the teacher's a constant; channels may differ.

    The larger map is average-pooled to the size of the smaller.

    Raises:
        ValueError: different numbers of examples, or shapes that cannot be compared.
    """
    student, teacher = beside(student, teacher, name)
    check_shapes(student.shape[1:], teacher.shape[1:], name, kinds)
    if student.ndim < 4 or student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    height, width = (min(sizes) for sizes in zip(student.shape[2:], teacher.shape[2:], strict=True))
    return _pooled(student, height, width), _pooled(teacher, height, width)


def compared(
    student: Tensor, teacher: Tensor, learnt: nn.Module | None, name: str, kinds: dict[int, str] = FEATURES
) -> tuple[Tensor, Tensor]:
    """Both of one shape, in at least float32, the teacher's a constant.

    Args:
        student: [N, ...].
        teacher: [N, ...].
        learnt: what brings the student's channels to as many as the teacher's, as `projector_for` makes it; None where
            they are.
        name: the objective's.
        kinds: what it compares.

    Raises:
        ValueError: features that cannot be compared, or not as many channels.
    """
    # Pooled first: a linear map of each position commutes with it and costs less on the smaller map.
    student, teacher = aligned(student, teacher, name, kinds)
    if learnt is not None:
        student = learnt(student)
    if student.shape != teacher.shape:
        raise ValueError(
            f"{name} expected as many channels from both, got {tuple(student.shape)} from the student and "
            f"{tuple(teacher.shape)} from the teacher: give it the module that its build makes"
        )
    return paired(student, teacher, name)


def mean(values: Tensor) -> Tensor:
    """Mean [N] of [N, ...] over all but the examples."""
    # Not `.mean`, whose backward fills a whole [N, ...] with one number per example.
    return values.flatten(1).sum(dim=1) / math.prod(values.shape[1:])


def mean_square(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean [N] of (s - t)^2 over all but the examples."""
    return mean(F.mse_loss(student.flatten(1), teacher.flatten(1), reduction="none"))


def _pooled(features_NCHW: Tensor, height: int, width: int) -> Tensor:
    if features_NCHW.shape[2:] == (height, width):
        return features_NCHW
    return F.adaptive_avg_pool2d(features_NCHW, (height, width))
