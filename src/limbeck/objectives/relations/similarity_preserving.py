"""Similarity-preserving distillation: which examples the teacher finds alike.

Dimension key: N examples, D numbers of a vector.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.objectives.base import TapObjective, Traits
from limbeck.objectives.directions import unit
from limbeck.objectives.relations.common import gram, vectors


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over j of (G_s - G_t)_ij^2, G = X X^T with rows of L2 norm 1, Tung and Mori 2019, arXiv 1907.09682.

    The row of an example whose features are all 0 stays 0 and gives no gradient.

    Args:
        student: [N, ...], taken as vectors.
        teacher: [N, ...], taken as constants, of any width.

    Returns:
        Values [N] without a unit, each of the whole batch: the values of two halves are not those of their union.

    Raises:
        ValueError: different numbers of examples.
    """
    student_ND, teacher_ND = vectors(student, teacher, "similarity-preserving")
    apart_NN = F.mse_loss(_similarities(student_ND), _similarities(teacher_ND), reduction="none")
    return apart_NN.mean(dim=1)


@dataclass(frozen=True, kw_only=True)
class SimilarityPreserving(TapObjective):
    """How far the dot products between the student's features are from the teacher's (`similarity_preserving`).

    Those of each example with all as a unit vector.
    """

    name: Literal["similarity-preserving"] = "similarity-preserving"

    traits: ClassVar[Traits] = Traits(
        needs=("features",),
        coupling="batch",
        zero_at_teacher=True,
        shift_invariant=False,
        paper="Tung and Mori 2019, arXiv 1907.09682",
        formula="mean_j (G_s - G_t)_ij^2, G = X X^T with rows of L2 norm 1",
        cost="N^2 D",
    )

    def values(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        """Values [N] from features [N, ...]."""
        return similarity_preserving(student, teacher)


def _similarities(x_ND: Tensor) -> Tensor:
    """G, [N, N]."""
    return unit(gram(x_ND))
