"""Spoilt logit objectives beyond KD and cross-entropy."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.functional import (
    bernoulli_kd,
    binary_cross_entropy,
    dist,
    dkd,
    jsd,
    kd,
    logit_mse,
    nkd,
    total_variation,
    ttm,
)
from limbeck.objectives import (
    DIST,
    DKD,
    NKD,
    TTM,
    UNLABELLED,
    BernoulliTargets,
    BinaryCrossEntropy,
    LogitMSE,
    Objective,
    SoftTargets,
    Traits,
)
from limbeck.signal import Signal
from mutants.logits import kl


@dataclass(frozen=True, kw_only=True)
class Spoilt:
    """A spoilt objective of two logits; the subclasses say which, and how."""

    name: str = "spoilt"

    def __call__(self, output: Signal, signal: Signal | None, labels: Tensor) -> Tensor:
        if signal is None or output.logits.shape != signal.logits.shape:
            raise ValueError("shapes differ")
        student, teacher = (x if x.dtype == torch.float64 else x.float() for x in (output.logits, signal.logits))
        return self.values(student, teacher.detach(), labels)


class JsdShareSwapped(Spoilt):
    """distillm's `lam` is 1 - beta: the other network's share of the mixture."""

    spoils = SoftTargets(divergence="jsd", temperature=1.0, beta=0.1)
    traits = spoils.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return jsd(student, teacher, temperature=1.0, beta=0.9)


class JsdOfRawEnds(Spoilt):
    """The generic formula also at beta 0, where it is nothing and teaches nothing."""

    spoils = SoftTargets(divergence="jsd", beta=0.0)
    traits = spoils.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return 0.0 * jsd(student, teacher, beta=0.5)


class TotalVariationWithoutHalf(Spoilt):
    """The L1 distance under the name of total variation: twice it."""

    spoils = SoftTargets(divergence="total-variation")
    traits = spoils.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return 2 * total_variation(student, teacher)


class DKDOfProbabilities(Spoilt):
    """mdistiller, cls_KD, mmrazor: the logarithm of summed probabilities, -inf in float32 on logits of +-80."""

    spoils = DKD()
    traits = DKD.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        known = labels.clamp(min=0)[:, None]
        q, p = ((x / 4).softmax(dim=1).gather(1, known)[:, 0] for x in (student, teacher))
        target = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
        others = dkd(student, teacher, labels, target_weight=0.0, non_target_weight=8.0)
        return torch.where(labels == UNLABELLED, 0.0, 16 * target + others)


class DKDSummedOverTheBatch(Spoilt):
    """mmrazor, reduction="mean": what it calls the mean is the sum over the batch."""

    spoils = DKD()
    traits = DKD.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        values = dkd(student, teacher, labels)
        return torch.where(labels == UNLABELLED, 0.0, values.sum())


class DKDOfTheUnlabelled(Spoilt):
    """No mask for examples without a label: the clamped label makes class 0 their target."""

    spoils = DKD()
    traits = DKD.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return dkd(student, teacher, labels.clamp(min=0))


class DISTClampsItsEpsilon(Spoilt):
    """torchdistill: the norms are clamped to 1e-8 where the published code adds it, 1e-4 of the value at T 20."""

    spoils = DIST()
    traits = DIST.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        q, p = student.softmax(dim=1), teacher.softmax(dim=1)
        over_classes, over_batch = (self.distance(q, p), self.distance(q.T, p.T))
        return over_classes + over_batch.mean()

    @staticmethod
    def distance(a: Tensor, b: Tensor) -> Tensor:
        a, b = (x - x.mean(dim=1, keepdim=True) for x in (a, b))
        return 1 - F.cosine_similarity(a, b, dim=1, eps=1e-8)


class DISTAddsCorrelation(Spoilt):
    """torchdistill's DIST+: the classes' term is + correlation, so that disagreement is rewarded."""

    spoils = DIST()
    traits = DIST.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        inter = dist(student, teacher, intra_weight=0.0)
        both = dist(student, teacher)
        return inter + 1 - (both - inter)


class NKDKeepsTheTarget(Spoilt):
    """The other classes' softmax taken over all classes: the target is not left out."""

    spoils = NKD()
    traits = NKD.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        target = nkd(student, teacher, labels, non_target_weight=0.0)
        log_q, p = student.log_softmax(dim=1), teacher.softmax(dim=1)
        others = -(p * torch.where(p > 0, log_q, 0.0)).sum(dim=1)
        return torch.where(labels == UNLABELLED, 0.0, target + 1.5 * others)


class NKDLessItsEntropy(Spoilt):
    """KL where the paper has cross-entropy: the same gradient of the others, another value."""

    spoils = NKD()
    traits = NKD.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        target = nkd(student, teacher, labels, non_target_weight=0.0)
        return target + dkd(student, teacher, labels, temperature=1.0, target_weight=0.0, non_target_weight=1.5)


class TTMSoftensBoth(Spoilt):
    """TTM taken for KD: the student is softened too, which the paper leaves out on purpose."""

    spoils = TTM()
    traits = TTM.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return kd(student, teacher, temperature=10.0) / 100


class TTMTimesTemperatureSquared(Spoilt):
    """T^2 out of habit, where the gradient is not of size 1/T."""

    spoils = TTM()
    traits = TTM.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return 100 * ttm(student, teacher)


class WeightOfTheStudent(Spoilt):
    """WTTM's weight taken from the student, and with a gradient."""

    spoils = TTM(exponent=0.2, weighted=True)
    traits = TTM.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return student.softmax(dim=1).pow(0.2).sum(dim=1) * ttm(student, teacher, exponent=0.2)


class HalfTheSum(Spoilt):
    """Ba and Caruana's own half sum: C / 2 times the mean, so that a weight means another thing in each task."""

    spoils = LogitMSE()
    traits = LogitMSE.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return 0.5 * student.shape[1] * logit_mse(student, teacher)


class AbsentCounted(Spoilt):
    """A padded vocabulary counted in the mean."""

    spoils = LogitMSE()
    traits = LogitMSE.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return torch.where(teacher.isneginf(), 0.0, student - teacher).square().mean(dim=1)


@dataclass(frozen=True, kw_only=True)
class PopulationStandardDeviation(SoftTargets):
    """Logit standardisation with the standard deviation of C instead of C - 1: 0.624 for 0.561."""

    spoils: ClassVar[Objective] = SoftTargets(standardise=True, temperature=2.0)
    standardise: bool = True
    temperature: float = 2.0

    def values(self, student_NC: Tensor, teacher_NC: Tensor, labels_N: Tensor) -> Tensor:
        count = (teacher_NC > -torch.inf).sum(dim=1, keepdim=True)
        factor = (count / (count - 1)).to(student_NC.dtype).sqrt()
        return kd(factor * student_NC, factor * teacher_NC, temperature=2.0)


class BernoulliOfSoftmax(Spoilt):
    """Yes and no taken from a softmax: classes that do not exclude each other compete."""

    spoils = BernoulliTargets()
    traits = BernoulliTargets.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return kd(student, teacher)


class BernoulliMeanOverClasses(Spoilt):
    """F.binary_cross_entropy's mean: divided by the number of classes too."""

    spoils = BernoulliTargets()
    traits = BernoulliTargets.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return bernoulli_kd(student, teacher) / student.shape[1]


class BernoulliOfYesOnly(Spoilt):
    """sum p log(p/q) as if the classes were one distribution: the noes are forgotten, and it can be negative."""

    spoils = BernoulliTargets()
    traits = BernoulliTargets.traits

    def values(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return 16 * kl(F.logsigmoid(teacher / 4), F.logsigmoid(student / 4))


@dataclass(frozen=True, kw_only=True)
class AnswerMutant:
    """A spoilt binary cross-entropy."""

    name: str = "answer-mutant"
    spoils: ClassVar[Objective] = BinaryCrossEntropy()
    traits: ClassVar[Traits] = BinaryCrossEntropy.traits


class UnlabelledAllNo(AnswerMutant):
    """One-hot rows of nothing but 0: an unknown label becomes a no to every class."""

    def __call__(self, output: Signal, signal: Signal | None, labels: Tensor) -> Tensor:
        classes = torch.arange(output.logits.shape[1])
        return binary_cross_entropy(output.logits, (labels[:, None] == classes).long())


class MeanOfTheAnswers(AnswerMutant):
    """F.binary_cross_entropy_with_logits as it comes: the mean over the classes."""

    def __call__(self, output: Signal, signal: Signal | None, labels: Tensor) -> Tensor:
        return binary_cross_entropy(output.logits, labels) / output.logits.shape[1]


KILLED_BY = {
    JsdShareSwapped: {"matches_the_definition"},
    JsdOfRawEnds: {"matches_the_definition"},
    TotalVariationWithoutHalf: {"matches_the_definition"},
    DKDOfProbabilities: {"bears_extreme_logits", "bears_absent_classes"},
    DKDSummedOverTheBatch: {"treats_each_example_alone", "matches_the_definition"},
    DKDOfTheUnlabelled: {"bears_absent_classes", "is_nothing_without_labels", "matches_the_definition"},
    DISTClampsItsEpsilon: {"bears_absent_classes", "matches_the_definition"},
    DISTAddsCorrelation: {"is_never_negative", "matches_the_definition"},
    NKDKeepsTheTarget: {"matches_the_definition"},
    NKDLessItsEntropy: {"matches_the_definition"},
    TTMSoftensBoth: {"matches_the_definition"},
    TTMTimesTemperatureSquared: {"matches_the_definition"},
    WeightOfTheStudent: {"bears_extreme_logits", "bears_absent_classes", "matches_the_definition"},
    HalfTheSum: {"bears_absent_classes", "matches_the_definition"},
    AbsentCounted: {"bears_absent_classes"},
    PopulationStandardDeviation: {"matches_the_definition"},
    BernoulliOfSoftmax: {"matches_the_definition"},
    BernoulliMeanOverClasses: {"bears_absent_classes", "matches_the_definition"},
    BernoulliOfYesOnly: {"is_zero_at_the_teacher", "is_never_negative", "matches_the_definition"},
    UnlabelledAllNo: {"is_nothing_without_labels", "matches_the_definition"},
    MeanOfTheAnswers: {"bears_absent_classes", "matches_the_definition"},
}
