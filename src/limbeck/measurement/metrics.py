"""How good the answers of one network are.

Dimension key: N examples, C classes.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.objectives import UNLABELLED

ECE_BINS = 15
"""As in the tables of Guo 2017; the value depends on it, so it is no option."""

NO_ANSWER = -1
"""What a network answers where a logit is NaN: no class, hence never right and never in agreement."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What a network is worth on some examples; None is what could not be measured or is not finite.

    Args:
        accuracy: the share of right first choices.
        nll: -log softmax(logits)_label, the mean in nats.
        ece: expected calibration error, see `calibration_error`.
        errors: the number of wrong first choices.
        examples: the labelled ones, which the four above are over.
        agreement: the share of all examples, labelled or not, where the first choice is the teacher's.
    """

    accuracy: float | None
    nll: float | None
    ece: float | None
    errors: int | None
    examples: int
    agreement: float | None


def evaluate(logits_NC: Tensor, labels_N: Tensor, teacher_logits_NC: Tensor | None) -> Metrics:
    """Measure a network's answers, in float64 on the CPU.

    Args:
        logits_NC: [N, C], raw.
        labels_N: [N], int64, `UNLABELLED` where the true class is not known.
        teacher_logits_NC: [N, C] for the same examples in the same order; None when there is no teacher.

    Raises:
        ValueError: shapes that do not fit.
    """
    labels_N = labels_N.cpu()
    labelled_N = labels_N != UNLABELLED
    right_N = correct(logits_NC, labels_N)[labelled_N]
    agreement = None if teacher_logits_NC is None else _agreement(logits_NC, teacher_logits_NC)
    examples = len(right_N)
    if examples == 0:
        return Metrics(accuracy=None, nll=None, ece=None, errors=None, examples=0, agreement=agreement)
    log_p_NC = F.log_softmax(logits_NC.detach().to("cpu", torch.float64)[labelled_N], dim=-1)
    return Metrics(
        accuracy=right_N.double().mean().item(),
        nll=_finite(F.nll_loss(log_p_NC, labels_N[labelled_N]).item()),
        ece=_finite(calibration_error(log_p_NC.exp().amax(dim=-1), right_N)),
        errors=int((~right_N).sum()),
        examples=examples,
        agreement=agreement,
    )


def correct(logits_NC: Tensor, labels_N: Tensor) -> Tensor:
    """Whether the first choice is the label, [N], bool, on the CPU; False where the label is unknown.

    Raises:
        ValueError: labels that are not one per row of logits: a width of 1 would broadcast without a word.
    """
    if logits_NC.ndim != 2 or labels_N.shape != logits_NC.shape[:1]:
        raise ValueError(
            f"expected logits [N, C] and labels [N], got shapes {tuple(logits_NC.shape)} and "
            f"{tuple(labels_N.shape)}: give one label per example"
        )
    return _answers(logits_NC) == labels_N.cpu()


def calibration_error(confidence_N: Tensor, correct_N: Tensor) -> float:
    """The expected calibration error, sum_b |B_b| / N * |accuracy(B_b) - confidence(B_b)|.

    Guo 2017, arXiv 1706.04599, equation 3: bins b of equal width, ((b - 1) / B, b / B].

    Args:
        confidence_N: [N], float64, the largest probability.
        correct_N: [N], bool, whether that choice was right.
    """
    inner_edges = torch.linspace(0, 1, ECE_BINS + 1, dtype=torch.float64)[1:-1]
    bin_N = torch.bucketize(confidence_N, inner_edges)
    # |B_b| cancels against the mean within the bin: sums are all that is needed, and empty bins are no case.
    gaps = torch.zeros(ECE_BINS, dtype=torch.float64)
    gaps.index_add_(0, bin_N, correct_N.double() - confidence_N)
    return gaps.abs().sum().item() / len(confidence_N)


def _agreement(logits_NC: Tensor, teacher_logits_NC: Tensor) -> float | None:
    if logits_NC.shape != teacher_logits_NC.shape:
        raise ValueError(
            f"expected logits of one shape, got {tuple(logits_NC.shape)} from the network and "
            f"{tuple(teacher_logits_NC.shape)} from the teacher: give both the same examples and classes"
        )
    same_N = _answers(logits_NC) == _answers(teacher_logits_NC)
    return _finite(same_N.double().mean().item())


def _answers(logits_NC: Tensor) -> Tensor:
    """The first choices [N] on the CPU; `argmax` alone would take a NaN for the largest value."""
    return logits_NC.argmax(dim=-1).where(~logits_NC.isnan().any(dim=-1), NO_ANSWER).cpu()


def _finite(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None
