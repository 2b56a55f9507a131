"""The target class beside all the others, for objectives that treat the two apart.

Dimension key: N examples, C classes, 1 kept for broadcasting.
"""

import math

import torch
from torch import Tensor

from limbeck.signal import UNLABELLED


def target_of(labels_N: Tensor, classes: int, name: str) -> Tensor:
    """The index of each example's target, [N, 1]; class 0 where there is no label.

    Raises:
        ValueError: fewer than two classes: there is no other.
    """
    if classes < 2:
        raise ValueError(f"{name} expected two classes or more, got {classes}: for one logit take bernoulli-targets")
    return torch.where(labels_N == UNLABELLED, 0, labels_N).unsqueeze(-1)


def others_of(logits_NC: Tensor, target_N1: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [N, C] with the target's at -inf, and where there is none among the others, [N].

    There the target's is 0, so that a softmax over no classes is not NaN: what is made of it must be masked.
    """
    with torch.no_grad():
        alone_N = logits_NC.scatter(-1, target_N1, -math.inf).amax(dim=-1) == -math.inf
        filler_N1 = torch.where(alone_N, 0.0, -math.inf).to(logits_NC.dtype).unsqueeze(-1)
    return logits_NC.scatter(-1, target_N1, filler_N1), alone_N
