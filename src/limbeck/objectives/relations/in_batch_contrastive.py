"""In-batch contrast: the student's view of an example must be told apart as the teacher's view of the same one.

Dimension key: N examples, E numbers of an embedding.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.objectives.base import Shape, TapObjective, Traits
from limbeck.objectives.checks import check_temperature, check_width
from limbeck.objectives.directions import unit
from limbeck.objectives.relations.common import product, vectors
from limbeck.signal import raised

Embed = Callable[[Tensor], Tensor]
"""From [N, D] to [N, E]."""


def in_batch_contrastive(
    student: Tensor, teacher: Tensor, embed_student: Embed, embed_teacher: Embed, *, temperature: float = 0.07
) -> Tensor:
    """-(log softmax_j(u_i v_j / T)_i + log softmax_j(v_i u_j / T)_i) / 2, u and v embeddings of length 1.

    The idea of contrastive representation distillation (CRD, Tian 2020, arXiv 1910.10699) without its memory: there
    each example is set against 16,384 stored embeddings with noise-contrastive estimation, whose normaliser is fixed
    by the first batch; here against the other examples of the batch with a softmax (InfoNCE, van den Oord 2018,
    arXiv 1807.03748), so that there is no state but the embeddings, no false negative is kept out, and a small batch
    is an easy task. A batch of one has nothing to tell apart: 0.

    Args:
        student: [N, ...], taken as vectors.
        teacher: [N, ...], taken as constants, of any width.
        embed_student: gives u before its length is made 1; to be learnt.
        embed_teacher: gives v likewise; to be learnt too, or the student is held to a random projection.
        temperature: T.

    Returns:
        Values [N] in nats, each of the whole batch: the values of two halves are not those of their union.

    Raises:
        ValueError: different numbers of examples, or a temperature that is none.
    """
    check_temperature(temperature)
    student_ND, teacher_ND = vectors(student, teacher, "in-batch-contrastive")
    u_NE, v_NE = unit(raised(embed_student(student_ND))), unit(raised(embed_teacher(teacher_ND)))
    scores_NN = product(u_NE, v_NE.T) / temperature
    own_N = torch.arange(len(scores_NN), device=scores_NN.device)
    to_teacher_N = F.cross_entropy(scores_NN, own_N, reduction="none")
    return (to_teacher_N + F.cross_entropy(scores_NN.T, own_N, reduction="none")) / 2


class Embeddings(nn.Module):
    """Linear maps of the student's and the teacher's features to one width.

    Args:
        student: shape of one example.
        teacher: likewise.
        width: of both embeddings.
    """

    def __init__(self, student: Shape, teacher: Shape, width: int) -> None:
        super().__init__()
        self.student = nn.Linear(math.prod(student), width)
        self.teacher = nn.Linear(math.prod(teacher), width)


@dataclass(frozen=True, kw_only=True)
class InBatchContrastive(TapObjective):
    """How badly learnt embeddings of the student and the teacher tell which two are of one example (InfoNCE).

    CRD's idea without its memory bank (`in_batch_contrastive`): the other examples of the batch are the negatives.

    Args:
        width: of the embeddings.
        temperature: T, divides the cosines before softmax.

    Raises:
        ValueError: width not a whole number of at least 1, temperature outside 0.001 to 1,000,000.
    """

    name: Literal["in-batch-contrastive"] = "in-batch-contrastive"
    width: int = 128
    temperature: float = 0.07

    traits: ClassVar[Traits] = Traits(
        needs=("features",),
        coupling="batch",
        zero_at_teacher=False,
        shift_invariant=False,
        paper="after Tian 2020, arXiv 1910.10699; InfoNCE, van den Oord 2018, arXiv 1807.03748",
        formula="-(log softmax_j(u_i v_j / T)_i + log softmax_j(v_i u_j / T)_i) / 2, u, v learnt embeddings",
        cost="N^2 + N D, and the embeddings'",
    )

    def __post_init__(self) -> None:
        check_width(self.width)
        check_temperature(self.temperature)
        super().__post_init__()

    def build(self, student: Shape, teacher: Shape) -> nn.Module:
        """The two embeddings."""
        return Embeddings(student, teacher, self.width)

    def values(self, student: Tensor, teacher: Tensor, learnt: nn.Module | None) -> Tensor:
        """Values [N] in nats from features [N, ...].

        Raises:
            ValueError: not what `build` gave.
        """
        if not isinstance(learnt, Embeddings):
            raise ValueError(
                f"in-batch-contrastive expected what its build makes, got {type(learnt).__name__}: build it first"
            )
        return in_batch_contrastive(student, teacher, learnt.student, learnt.teacher, temperature=self.temperature)
