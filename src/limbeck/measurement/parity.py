"""How near one network's answers are to those of the network it was made from.

Dimension key: N examples, C classes.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.measurement.metrics import correct
from limbeck.objectives import UNLABELLED

MOST_WORST = 5
"""Examples that are named."""
WRONG = 1e6
"""Nats by which another first choice counts as worse than any other divergence."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """A network beside its original on the same examples.

    Args:
        examples: N.
        not_finite: how many examples the network answers with something that is no number; they are never in agreement.
        agreement: the share of examples where the first choices are the same.
        divergence: KL(original ‖ network) at temperature 1, the mean in nats.
        largest_divergence: of one example.
        largest_error: of one logit.
        mean_error: of a logit.
        range: of the original's logits, which the errors are to be seen beside.
        labelled: how many examples the accuracies are over.
        accuracy: of the network; None without labels.
        original_accuracy: of the original; None without labels.
        drop: original_accuracy - accuracy.
        drop_interval: of the drop, 95 % over examples; None with fewer than two labels.
        per_class: for each class that has labelled examples: how many, and both accuracies.
        worst: the examples that differ most: their row, from 0, the first choices of both (None where there is no
            number), the label (None where it is not known), and the divergence.
    """

    examples: int
    not_finite: int
    agreement: float
    divergence: float
    largest_divergence: float
    largest_error: float
    mean_error: float
    range: float
    labelled: int
    accuracy: float | None
    original_accuracy: float | None
    drop: float | None
    drop_interval: tuple[float, float] | None
    per_class: tuple[dict[str, Any], ...]
    worst: tuple[dict[str, Any], ...]


def parity(original_NC: Tensor, network_NC: Tensor, labels_N: Tensor) -> Parity:
    """Hold a network's logits against its original's.

    Args:
        original_NC: [N, C], finite.
        network_NC: [N, C].
        labels_N: [N], `UNLABELLED` where the true class is not known.

    Raises:
        ValueError: shapes that differ.
    """
    if original_NC.shape != network_NC.shape or original_NC.ndim != 2 or labels_N.shape != original_NC.shape[:1]:
        raise ValueError(
            f"expected logits [N, C] twice and labels [N], got {tuple(original_NC.shape)}, "
            f"{tuple(network_NC.shape)} and {tuple(labels_N.shape)}"
        )
    finite_N = network_NC.isfinite().all(dim=1)
    # What is no number is no choice; how far it is from one, `not_finite` says.
    original_NC, network_NC = original_NC.double(), network_NC.double().nan_to_num(0.0, 0.0, 0.0)
    errors_NC = (network_NC - original_NC).abs()
    divergence_N = _divergences(original_NC, network_NC)
    same_N = (original_NC.argmax(dim=1) == network_NC.argmax(dim=1)) & finite_N
    labelled_N = labels_N != UNLABELLED
    original_right = correct(original_NC, labels_N)[labelled_N]
    right = (correct(network_NC, labels_N) & finite_N)[labelled_N]
    lost_N = original_right.double() - right.double()
    return Parity(
        examples=len(same_N),
        not_finite=int((~finite_N).sum()),
        agreement=float(same_N.double().mean()),
        divergence=float(divergence_N.mean()),
        largest_divergence=float(divergence_N.max()),
        largest_error=float(errors_NC.max()),
        mean_error=float(errors_NC.mean()),
        range=float(original_NC.max() - original_NC.min()),
        labelled=len(lost_N),
        accuracy=_share(right),
        original_accuracy=_share(original_right),
        drop=_share(lost_N),
        drop_interval=_interval(original_right, right),
        per_class=_per_class(labels_N[labelled_N], right, original_right),
        worst=_worst(original_NC, network_NC, labels_N, divergence_N, same_N, finite_N),
    )


def _share(values: Tensor) -> float | None:
    return float(values.double().mean()) if len(values) else None


def _divergences(original_NC: Tensor, network_NC: Tensor) -> Tensor:
    original = F.log_softmax(original_NC, dim=1)
    return F.kl_div(F.log_softmax(network_NC, dim=1), original, reduction="none", log_target=True).sum(dim=1).clamp(0)


def _interval(original_right: Tensor, right: Tensor) -> tuple[float, float] | None:
    """The drop's, by Newcombe's score intervals for paired shares (1998, Statistics in Medicine 17:2635, method 10).

    Unlike one of the standard error, it does not vanish where nothing was lost, and stays within what shares can be.
    """
    count = len(right)
    if count < 2:
        return None
    first, second = original_right.double(), right.double()
    p, q = float(first.mean()), float(second.mean())
    spread = math.sqrt(p * (1 - p) * q * (1 - q))
    phi = (float((first * second).mean()) - p * q) / spread if spread else 0.0
    (low_p, high_p), (low_q, high_q) = _wilson(p, count), _wilson(q, count)
    below = _joined(p - low_p, high_q - q, phi)
    above = _joined(high_p - p, q - low_q, phi)
    return p - q - below, p - q + above


def _wilson(share: float, count: int) -> tuple[float, float]:
    z2 = 1.96**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = math.sqrt(share * (1 - share) * z2 / count + z2**2 / (4 * count**2)) / (1 + z2 / count)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _joined(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))


def _per_class(labels: Tensor, right: Tensor, original_right: Tensor) -> tuple[dict[str, Any], ...]:
    rows = []
    for label in labels.unique().tolist():
        here = labels == label
        accuracy, original = _share(right[here]), _share(original_right[here])
        rows.append({"class": label, "examples": int(here.sum()), "accuracy": accuracy, "original_accuracy": original})
    return tuple(rows)


def _worst(
    original_NC: Tensor, network_NC: Tensor, labels_N: Tensor, divergence_N: Tensor, same_N: Tensor, finite_N: Tensor
) -> tuple[dict[str, Any], ...]:
    how_far_N = torch.where(same_N, divergence_N, divergence_N + WRONG)
    rows = how_far_N.topk(min(MOST_WORST, len(how_far_N))).indices.tolist()
    return tuple(
        {
            "row": row,
            "original": int(original_NC[row].argmax()),
            "network": int(network_NC[row].argmax()) if finite_N[row] else None,
            "label": None if int(labels_N[row]) == UNLABELLED else int(labels_N[row]),
            "divergence": float(divergence_N[row]),
        }
        for row in rows
    )
