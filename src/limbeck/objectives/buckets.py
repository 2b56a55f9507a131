"""Logits of the k largest classes and one bucket for all the others.

The mass of a bucket is exact, so a divergence over the buckets is that of two true distributions: never negative, never
above the divergence over all classes, and equal to it where k is C (the data processing inequality).

Dimension key: N examples, C classes, B = k + 1 buckets, the tail last; B = k where k is C.
"""

import torch
from torch import Tensor

from limbeck.signal import Signal, raised


def bucketed(student_NC: Tensor, signal: Signal, temperature: float) -> tuple[Tensor, Tensor]:
    """The student's and the teacher's logits of the buckets, whose softmax at the temperature has the buckets' masses.

    The tail's logit is T log sum exp(z_c / T) over the classes that are not kept: at another temperature it is another
    number, which the teacher's largest logits do not tell.

    Args:
        student_NC: [N, C], all of the student's.
        signal: the teacher's, its k largest logits.
        temperature: T.

    Raises:
        ValueError: other numbers of classes, or a temperature at which the teacher's tail is not known.
    """
    top = signal.top
    assert top is not None, "a signal that kept all logits has no buckets"
    if student_NC.shape != (len(top.ids), top.classes):
        raise ValueError(
            f"expected a student of {top.classes} classes for {len(top.ids)} examples, got logits of shape "
            f"{tuple(student_NC.shape)}: give both the same classes"
        )
    student_NC, teacher_NK = raised(student_NC), raised(signal.logits)
    student_NK = student_NC.gather(1, top.ids)
    if top.ids.shape[1] == top.classes:
        return student_NK, teacher_NK
    rest_NC = student_NC.scatter(1, top.ids, -torch.inf)
    student_tail_N = temperature * (rest_NC / temperature).logsumexp(dim=1)
    teacher_tail_N = temperature * raised(top.tail(temperature))
    return (
        torch.cat([student_NK, student_tail_N[:, None]], dim=1),
        torch.cat([teacher_NK, teacher_tail_N[:, None]], dim=1),
    )
