"""Hard labels where each class is a yes or a no of its own: binary and multi-label tasks.

Dimension key: N examples, C classes.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.objectives.base import Traits
from limbeck.signal import UNLABELLED, Signal, raised


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-sum_c log sigmoid(+-s_c), + where the answer is yes, Rifkin and Klautau 2004, JMLR 5 (one against the rest).

    Args:
        logits: [N, C]; C may be 1.
        labels: [N], the one class whose answer is yes (of one logit: 1 is yes and 0 is no), `UNLABELLED` where it is
            not known; or [N, C], 1, 0 or `UNLABELLED` for each class.

    Returns:
        Values [N] in nats, one per example, of the known answers.

    Raises:
        ValueError: labels of another shape, or that are none of these.
    """
    logits_NC = raised(logits)
    yes_NC = _yes(labels, logits_NC)
    # An absent class, at -inf, is a no; torch's loss would be inf - inf there.
    finite_NC = logits_NC.clamp_min(torch.finfo(logits_NC.dtype).min / 2)
    values_NC = F.binary_cross_entropy_with_logits(finite_NC, yes_NC, reduction="none")
    if labels.ndim == 1:
        return torch.where(labels == UNLABELLED, 0.0, values_NC.sum(dim=-1))
    return torch.where(labels == UNLABELLED, 0.0, values_NC).sum(dim=-1)


@dataclass(frozen=True, kw_only=True)
class BinaryCrossEntropy:
    """Cross-entropy of each class's yes or no with the true ones, summed (`binary_cross_entropy`), in nats.

    0 where no answer is known. The labels may be a class of each example or the answers to all classes.
    """

    name: Literal["binary-cross-entropy"] = "binary-cross-entropy"

    traits: ClassVar[Traits] = Traits(
        needs=("labels",),
        zero_at_teacher=False,
        shift_invariant=False,
        paper="Rifkin and Klautau 2004, JMLR 5, pages 101 to 141",
        formula="-sum log sigmoid(s_c if the answer is yes, else -s_c)",
        cost="N C",
    )

    def __call__(self, output: Signal, signal: Signal | None, labels: Tensor) -> Tensor:
        """Values [N] in nats from logits [N, C] and labels [N] or [N, C]; the signal is not used."""
        return binary_cross_entropy(output.logits, labels)


def _yes(labels: Tensor, logits_NC: Tensor) -> Tensor:
    """1 where the answer is yes, else 0, [N, C]."""
    if logits_NC.ndim < 2 or (labels.is_floating_point() and labels.ndim == 1):
        raise ValueError(
            "binary_cross_entropy expected logits [N, C] and labels [N] of whole numbers, got logits "
            f"{tuple(logits_NC.shape)} and {labels.dtype}: give logits[:, None] for one logit each, labels.long()"
        )
    if labels.ndim == 1 and logits_NC.shape[-1] > 1:
        class_N1 = torch.where(labels == UNLABELLED, 0, labels).unsqueeze(-1)
        return torch.zeros_like(logits_NC).scatter_(-1, class_N1, 1.0)
    answers_NC = labels.unsqueeze(-1) if labels.ndim == 1 else labels
    if answers_NC.shape != logits_NC.shape:
        raise ValueError(
            f"binary_cross_entropy expected labels [N] or [N, C], got {tuple(labels.shape)} beside logits "
            f"{tuple(logits_NC.shape)}: give each example its class, or the answer to each class"
        )
    strange = answers_NC[(answers_NC != 0) & (answers_NC != 1) & (answers_NC != UNLABELLED)]
    if len(strange):
        raise ValueError(
            f"binary_cross_entropy expected answers of 1, 0 or {UNLABELLED}, got {strange[0].item()}: 1 is yes, 0 is no"
        )
    return (answers_NC == 1).to(logits_NC.dtype)
