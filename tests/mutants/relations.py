"""Spoilt relation objectives."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from limbeck.objectives import (
    PKT,
    InBatchContrastive,
    Objective,
    RKDAngle,
    RKDDistance,
    SimilarityPreserving,
    TapObjective,
    Traits,
)

TAPS = {"student": "early", "teacher": "late"}


def rows(student, teacher):
    """Vectors [N, D] of both, as the real objectives take them."""
    if len(student) != len(teacher):
        raise ValueError("unlike numbers of examples")
    student, teacher = (x if x.dtype == torch.float64 else x.float() for x in (student, teacher))
    return student.flatten(1), teacher.detach().flatten(1)


def lengths(x):
    """Of the last dimension, without a gradient at 0."""
    return torch.linalg.vector_norm(x, dim=-1)


def units(x):
    return x / lengths(x)[..., None].masked_fill(lengths(x)[..., None] == 0, 1.0)


def apart(x):
    return lengths(x[:, None] - x[None])


def by_their_mean(distances):
    mean = distances.sum() / (distances > 0).sum().clamp(min=1)
    return distances / torch.where(mean == 0, 1.0, mean)


def cosines(x):
    sides = units(x[None] - x[:, None])
    return sides @ sides.mT


def huber(student, teacher):
    return F.smooth_l1_loss(student, teacher, reduction="none")


@dataclass(frozen=True, kw_only=True)
class DistanceMutant(TapObjective):
    """A spoilt RKD distance."""

    spoils: ClassVar[Objective] = RKDDistance(**TAPS)
    name: str = "distance-mutant"
    student: str = "early"
    teacher: str = "late"
    traits: ClassVar[Traits] = RKDDistance.traits


class OffDiagonalMean(DistanceMutant):
    """The mean over the other examples alone: N / (N - 1) times the published value."""

    def values(self, student, teacher, learnt):
        distances = (by_their_mean(apart(x)) for x in rows(student, teacher))
        return huber(*distances).sum(dim=1) / max(1, len(student) - 1)


class MeanDistanceDetached(DistanceMutant):
    """The mean distance taken as a constant, as a running mean would be: the value is right, the gradient is not."""

    def values(self, student, teacher, learnt):
        student, teacher = rows(student, teacher)
        ours, theirs = apart(student), apart(teacher)
        mean = ours.detach().sum() / (ours > 0).sum().clamp(min=1)
        return huber(ours / torch.where(mean == 0, 1.0, mean), by_their_mean(theirs)).mean(dim=1)


class UnitDistances(DistanceMutant):
    """open-mmlab/mmrazor, with_l2_norm: features are brought to length 1 first."""

    def values(self, student, teacher, learnt):
        return huber(*(by_their_mean(apart(units(x))) for x in rows(student, teacher))).mean(dim=1)


class GramDistances(DistanceMutant):
    """lenscloth/RKD and all who copied it: |x|^2 + |y|^2 - 2 x.y clamped at 1e-12; no digits far from the origin.

    Their 0 / 0 for one example is mended here.
    """

    def values(self, student, teacher, learnt):
        return huber(*map(self.distances, rows(student, teacher))).mean(dim=1)

    @staticmethod
    def distances(x):
        squares = x.square().sum(dim=1)
        squares = squares[:, None] + squares - 2 * x @ x.T
        distances = squares.clamp(min=1e-12).sqrt() * (1 - torch.eye(len(x), dtype=x.dtype))
        return by_their_mean(distances)


@dataclass(frozen=True, kw_only=True)
class AngleMutant(DistanceMutant):
    """A spoilt RKD angle."""

    spoils: ClassVar[Objective] = RKDAngle(**TAPS)
    name: str = "angle-mutant"
    traits: ClassVar[Traits] = RKDAngle.traits


class DistinctTriples(AngleMutant):
    """The mean over triples of three examples alone: N^3 / (N (N - 1) (N - 2)) times the published value."""

    def values(self, student, teacher, learnt):
        count = len(student)
        return huber(*map(cosines, rows(student, teacher))).sum(dim=(1, 2)) / max(1, (count - 1) * (count - 2))


class UnitAngles(AngleMutant):
    """open-mmlab/mmrazor, with_l2_norm: features are brought to length 1 first."""

    def values(self, student, teacher, learnt):
        return huber(*(cosines(units(x)) for x in rows(student, teacher))).mean(dim=(1, 2))


class AnotherVertex(AngleMutant):
    """The angles at the other corners are given to the example: the batch's mean is right and no value is."""

    def values(self, student, teacher, learnt):
        return huber(*map(cosines, rows(student, teacher))).mean(dim=(0, 1))


@dataclass(frozen=True, kw_only=True)
class PKTMutant(DistanceMutant):
    """A spoilt PKT."""

    spoils: ClassVar[Objective] = PKT(**TAPS)
    name: str = "pkt-mutant"
    traits: ClassVar[Traits] = PKT.traits

    def divergence(self, student, teacher):
        return (teacher * torch.log((teacher + 1e-7) / (student + 1e-7))).mean(dim=1)

    def lengths(self, x):
        return lengths(x)

    def neighbours(self, x):
        x = x / (self.lengths(x) + 1e-7)[:, None]
        kernel = (x @ x.T + 1) / 2
        return kernel / kernel.sum(dim=1, keepdim=True)

    def values(self, student, teacher, learnt):
        return self.divergence(*map(self.neighbours, rows(student, teacher)))


class RowSum(PKTMutant):
    """The KL divergence of a row, as the paper prints it: N times the published value, whose weight is 30,000."""

    def divergence(self, student, teacher):
        return super().divergence(student, teacher) * len(student)


class NeighboursReversed(PKTMutant):
    """The divergence of the teacher from the student."""

    def divergence(self, student, teacher):
        return super().divergence(teacher, student)


class RootOfASum(PKTMutant):
    """passalis/probabilistic_kt and its copies: torch.sqrt(torch.sum(x ** 2)), whose gradient is NaN at a dead row."""

    def lengths(self, x):
        return x.square().sum(dim=1).sqrt()


@dataclass(frozen=True, kw_only=True)
class SimilarityMutant(DistanceMutant):
    """A spoilt similarity-preserving objective."""

    spoils: ClassVar[Objective] = SimilarityPreserving(**TAPS)
    name: str = "similarity-mutant"
    traits: ClassVar[Traits] = SimilarityPreserving.traits

    def similarities(self, x):
        return units(x @ x.T)

    def values(self, student, teacher, learnt):
        student, teacher = map(self.similarities, rows(student, teacher))
        return (student - teacher).square().mean(dim=1)


class AbsoluteRows(SimilarityMutant):
    """torchdistill's SPKDLoss: normalize(G, 1) is p = 1, not the dimension; rows of L1 norm 1."""

    def similarities(self, x):
        dots = x @ x.T
        return F.normalize(dots, p=1.0)


class UnitVectors(SimilarityMutant):
    """Cosines in the place of dot products: each example's own length is lost before its row is normalised."""

    def similarities(self, x):
        return super().similarities(units(x))


@dataclass(frozen=True, kw_only=True)
class ContrastMutant(DistanceMutant):
    """A spoilt in-batch contrast."""

    spoils: ClassVar[Objective] = InBatchContrastive(**TAPS, width=3, temperature=0.5)
    name: str = "contrast-mutant"
    traits: ClassVar[Traits] = InBatchContrastive.traits

    def build(self, student, teacher):
        return self.spoils.build(student, teacher)

    def embedded(self, student, teacher, learnt):
        return units(learnt.student(student)), units(learnt.teacher(teacher))

    def of_scores(self, scores):
        own = torch.arange(len(scores))
        return (F.cross_entropy(scores, own, reduction="none") + F.cross_entropy(scores.T, own, reduction="none")) / 2

    def values(self, student, teacher, learnt):
        ours, theirs = self.embedded(*rows(student, teacher), learnt)
        return self.of_scores(ours @ theirs.T / self.spoils.temperature)


class OneDirection(ContrastMutant):
    """The student must find the teacher's view among all, and not the other way round."""

    def of_scores(self, scores):
        return F.cross_entropy(scores, torch.arange(len(scores)), reduction="none")


class TeacherEmbeddingNotTrained(ContrastMutant):
    """The teacher's embedding computed with the teacher, under no_grad: it stays as random as it was made."""

    def embedded(self, student, teacher, learnt):
        ours, theirs = super().embedded(student, teacher, learnt)
        return ours, theirs.detach()


class HiddenEmbedding(ContrastMutant):
    """The student's embedding in a list, where no optimizer and no checkpoint finds it."""

    def build(self, student, teacher):
        learnt = super().build(student, teacher)
        learnt.hidden = [learnt.student]
        del learnt.student
        return learnt

    def embedded(self, student, teacher, learnt):
        hidden = learnt.hidden[0].to(student.dtype)
        return units(hidden(student)), units(learnt.teacher(teacher))


class EmbeddedAnyLength(ContrastMutant):
    """Dot products of embeddings that were not brought to length 1: the task is solved by making them long."""

    def embedded(self, student, teacher, learnt):
        return learnt.student(student), learnt.teacher(teacher)


KILLED_BY = {
    OffDiagonalMean: {"matches_the_definition"},
    MeanDistanceDetached: {"has_the_gradient_of_its_value", "matches_the_definition"},
    UnitDistances: {"matches_the_definition"},
    GramDistances: {"bears_extreme_features"},
    DistinctTriples: {"matches_the_definition"},
    UnitAngles: {"matches_the_definition"},
    AnotherVertex: {"matches_the_definition"},
    RowSum: {"matches_the_definition"},
    NeighboursReversed: {"matches_the_definition"},
    RootOfASum: {"bears_dead_features"},
    AbsoluteRows: {"matches_the_definition"},
    UnitVectors: {"matches_the_definition"},
    OneDirection: {"matches_the_definition"},
    TeacherEmbeddingNotTrained: {
        "has_the_gradient_of_its_value",
        "trains_what_it_learns",
        "matches_the_definition",
    },
    HiddenEmbedding: {"trains_what_it_learns", "matches_the_definition"},
    EmbeddedAnyLength: {"matches_the_definition"},
}
