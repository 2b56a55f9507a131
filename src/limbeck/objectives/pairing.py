"""Student beside teacher: what every objective does to its two tensors first.

Dimension key: N examples, C classes.
"""

from torch import Tensor

from limbeck.signal import raised


def paired(student_NC: Tensor, teacher_NC: Tensor, name: str, *, least: int = 1) -> tuple[Tensor, Tensor]:
    """Student's and teacher's values of one shape, the teacher's a constant, both in at least float32.

    Raises:
        ValueError: shapes that differ (a width of 1 would broadcast without a word), no row for each example, or
            fewer than the least number of classes.
    """
    if student_NC.ndim < 2:
        raise ValueError(
            f"{name} expected a row for each example, [N, C], got {tuple(student_NC.shape)}: for one logit an example "
            "give [N, 1], for one example [1, C]"
        )
    if student_NC.shape[-1] < least:
        raise ValueError(
            f"{name} expected {least} classes or more, got {student_NC.shape[-1]}: for one logit take bernoulli_kd, "
            "which is the objective bernoulli-targets"
        )
    if student_NC.shape != teacher_NC.shape:
        raise ValueError(
            f"{name} expected one shape, got {tuple(student_NC.shape)} from the student and "
            f"{tuple(teacher_NC.shape)} from the teacher: give both the same classes, or taps of one shape"
        )
    return raised(student_NC), raised(teacher_NC).detach()


def beside(student: Tensor, teacher: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Student's and teacher's features [N, ...] of the same examples, the teacher's a constant, in at least float32.

    Raises:
        ValueError: different numbers of examples, or no dimension beside them.
    """
    if student.ndim < 2 or teacher.ndim < 2 or len(student) != len(teacher):
        raise ValueError(
            f"{name} expected features [N, ...] of the same examples, got {tuple(student.shape)} from the student and "
            f"{tuple(teacher.shape)} from the teacher: tap parts that give each example its own features"
        )
    return raised(student), raised(teacher).detach()
