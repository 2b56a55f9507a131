"""Spoilt feature objectives."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from limbeck.objectives import HCL, VID, AttentionTransfer, ChannelWise, Feature, Hint, Objective
from limbeck.objectives.features.common import MAPS, aligned, compared
from limbeck.objectives.features.vid import MeanAndVariance

TAPS = {"student": "early", "teacher": "late"}


def mean(values):
    return values.flatten(1).mean(dim=1)


# ------------------------------------------------------------------------------------------------------ hint


@dataclass(frozen=True, kw_only=True)
class SpoiltHint(Hint):
    spoils: ClassVar[Objective] = Hint(**TAPS)
    student: str = "early"
    teacher: str = "late"


class HalfTheSum(SpoiltHint):
    """The paper's half sum of squares at a weight that the peers chose for the mean: hundreds of times too large."""

    def values(self, student, teacher, learnt):
        student, teacher = compared(student, teacher, learnt, "hint")
        return 0.5 * (student - teacher).square().flatten(1).sum(dim=1)


class MeanOfTheBatch(SpoiltHint):
    """RepDistiller, mdistiller: nn.MSELoss as it comes."""

    def values(self, student, teacher, learnt):
        return F.mse_loss(*compared(student, teacher, learnt, "hint"))


class RectifiedProjector(SpoiltHint):
    """RepDistiller's ConvReg: a ReLU after the projector, which cannot reach what of the teacher is below 0."""

    def values(self, student, teacher, learnt):
        return super().values(student, teacher, learnt and nn.Sequential(learnt, nn.ReLU()))


class BroadcastsOneTeacher(SpoiltHint):
    """The shapes are not looked at: one teacher's example is held up to all of the batch."""

    def values(self, student, teacher, learnt):
        return super().values(student, teacher.expand(len(student), *teacher.shape[1:]), learnt)


class TeacherNotDetached(SpoiltHint):
    """A live teacher left in the graph: it is trained to please the student."""

    def values(self, student, teacher, learnt):
        return super().values(student, teacher, learnt) + mean(teacher.to(student.dtype) - teacher.detach())


# --------------------------------------------------------------------------------------------------- feature


@dataclass(frozen=True, kw_only=True)
class SpoiltCosine(Feature):
    spoils: ClassVar[Objective] = Feature(**TAPS, distance="cosine")
    student: str = "early"
    teacher: str = "late"
    distance: str = "cosine"


class NormalisedByL1(SpoiltCosine):
    """torchdistill: F.normalize(x, 1), which is p = 1 and not the first dimension."""

    def values(self, student, teacher, learnt):
        student, teacher = compared(student, teacher, learnt, "feature")
        dim = 1 if student.ndim == 4 else -1
        return mean(1 - (F.normalize(student, 1, dim) * F.normalize(teacher, 1, dim)).sum(dim=dim, keepdim=True))


class OneAngleForTheWholeMap(SpoiltCosine):
    """All positions in one long vector: the strongest decide."""

    def values(self, student, teacher, learnt):
        student, teacher = compared(student, teacher, learnt, "feature")
        return 1 - F.cosine_similarity(student.flatten(1), teacher.flatten(1))


class BareNorms(SpoiltCosine):
    """Divided by the norms as they are: NaN where a ReLU has left nothing."""

    def values(self, student, teacher, learnt):
        student, teacher = compared(student, teacher, learnt, "feature")
        dim = 1 if student.ndim == 4 else -1
        student, teacher = (x / x.square().sum(dim=dim, keepdim=True).sqrt() for x in (student, teacher))
        return mean(1 - (student * teacher).sum(dim=dim, keepdim=True))


class SummedInSinglePrecision(SpoiltCosine):
    """DistillKit: added to a zero of torch's default dtype, whatever the features are in."""

    def values(self, student, teacher, learnt):
        return super().values(student, teacher, learnt).float()


# ---------------------------------------------------------------------------------------- attention transfer


@dataclass(frozen=True, kw_only=True)
class SpoiltAttention(AttentionTransfer):
    spoils: ClassVar[Objective] = AttentionTransfer(**TAPS)
    student: str = "early"
    teacher: str = "late"

    def attention(self, maps):
        return F.normalize(maps.pow(self.power).mean(dim=1).flatten(1))


class NormOfTheDifference(SpoiltAttention):
    """torchdistill's mode "paper": the norm that the paper prints, at a weight chosen for the mean square."""

    def values(self, student, teacher, learnt):
        # In float64, where the gradient of a norm keeps its digits.
        maps = (x.double() for x in aligned(student, teacher, "attention-transfer", MAPS))
        norms = torch.linalg.vector_norm(torch.sub(*map(self.attention, maps)), dim=1)
        return norms if student.dtype == torch.float64 else norms.float()


class PooledAfterThePower(SpoiltAttention):
    """The attention is pooled and not the features: other numbers wherever the two sizes differ."""

    def values(self, student, teacher, learnt):
        aligned(student, teacher, "attention-transfer", MAPS)
        energies = (
            (x if x.dtype == torch.float64 else x.float()).square().mean(dim=1, keepdim=True)
            for x in (student, teacher)
        )
        student, teacher = (F.normalize(x.flatten(1)) for x in aligned(*energies, "attention-transfer", MAPS))
        return (student - teacher).square().mean(dim=1)


class SizesLeftIn(SpoiltAttention):
    """The map of energies as it comes, without its norm: a network with large features never gets there."""

    def values(self, student, teacher, learnt):
        maps = aligned(student, teacher, "attention-transfer", MAPS)
        student, teacher = (x.square().mean(dim=1).flatten(1) for x in maps)
        return (student - teacher).square().mean(dim=1)


@dataclass(frozen=True, kw_only=True)
class OverflowsAtSix(SpoiltAttention):
    """RepDistiller, mdistiller: at p = 6 the squares of the energies of large features are inf in float32."""

    spoils: ClassVar[Objective] = AttentionTransfer(**TAPS, power=6)
    power: int = 6

    def values(self, student, teacher, learnt):
        student, teacher = map(self.attention, aligned(student, teacher, "attention-transfer", MAPS))
        return (student - teacher).square().mean(dim=1)


# ------------------------------------------------------------------------------------------------------- vid


@dataclass(frozen=True, kw_only=True)
class SpoiltVID(VID):
    spoils: ClassVar[Objective] = VID(**TAPS)
    student: str = "early"
    teacher: str = "late"

    def parts(self, student, teacher, learnt):
        """(mu - t)^2 with the channels last, and the scale of each channel."""
        student, teacher = compared(student, teacher, learnt.network, "vid")
        errors = (student - teacher).square()
        return errors.movedim(1, -1) if errors.ndim == 4 else errors, learnt.log_scale


class HiddenVariance(SpoiltVID):
    """mdistiller: the scales in a plain list, out of the sight of `parameters()`: never trained, never saved."""

    def build(self, student, teacher):
        learnt = MeanAndVariance(student, teacher)
        hidden = [learnt.log_scale]
        del learnt.log_scale
        learnt.hidden = hidden
        return learnt

    def values(self, student, teacher, learnt):
        learnt.__dict__["log_scale"] = learnt.hidden[0]
        return super().values(student, teacher, learnt)


class ScaleReadAsLogVariance(SpoiltVID):
    """v = exp(a) in the place of softplus(a): a variance of 147 to begin with."""

    def values(self, student, teacher, learnt):
        errors, log_scale = self.parts(student, teacher, learnt)
        return mean(0.5 * (errors * (-log_scale).exp() + log_scale))


class WithoutTheLogarithm(SpoiltVID):
    """Only the weighted squares: the variances run away to where everything is forgiven."""

    def values(self, student, teacher, learnt):
        errors, log_scale = self.parts(student, teacher, learnt)
        return mean(0.5 * errors / (F.softplus(log_scale) + 1e-5))


class FrozenVariance(SpoiltVID):
    """The scales are parameters, but taken as constants: plain squares under another name."""

    def values(self, student, teacher, learnt):
        errors, log_scale = self.parts(student, teacher, learnt)
        variance = F.softplus(log_scale.detach()) + 1e-5
        return mean(0.5 * (errors / variance + variance.log()))


# ---------------------------------------------------------------------------------------------- channel-wise


@dataclass(frozen=True, kw_only=True)
class SpoiltChannelWise(ChannelWise):
    spoils: ClassVar[Objective] = ChannelWise(**TAPS, temperature=4.0)
    student: str = "early"
    teacher: str = "late"
    temperature: float = 4.0

    def softened(self, student, teacher, learnt):
        """Two [N, C, K], divided by the temperature."""
        return (x.flatten(2) / self.temperature for x in compared(student, teacher, learnt, "channel-wise", MAPS))


class NoTemperatureSquaredByChannel(SpoiltChannelWise):
    """KL at temperature T without T^2: the gradient shrinks as 1/T."""

    def values(self, student, teacher, learnt):
        return super().values(student, teacher, learnt) / self.temperature**2


class ChannelsAsClasses(SpoiltChannelWise):
    """Softmax over the channels of each position, as the older methods of segmentation have it."""

    def values(self, student, teacher, learnt):
        log_q, log_p = (x.log_softmax(dim=1) for x in self.softened(student, teacher, learnt))
        return self.temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=1).mean(dim=1)


class SumOverChannels(SpoiltChannelWise):
    """Not divided by the number of channels: wide networks drown the other terms."""

    def values(self, student, teacher, learnt):
        log_q, log_p = (x.log_softmax(dim=2) for x in self.softened(student, teacher, learnt))
        return self.temperature**2 * (log_p.exp() * (log_p - log_q)).flatten(1).sum(dim=1)


class LogOfSoftmax(SpoiltChannelWise):
    """log(softmax(x)): log 0 where a map has a peak."""

    def values(self, student, teacher, learnt):
        q, p = (x.softmax(dim=2) for x in self.softened(student, teacher, learnt))
        return self.temperature**2 * (p * (p.log() - q.log())).sum(dim=2).mean(dim=1)


# ------------------------------------------------------------------------------------------------------- hcl


@dataclass(frozen=True, kw_only=True)
class SpoiltHCL(HCL):
    spoils: ClassVar[Objective] = HCL(**TAPS)
    student: str = "early"
    teacher: str = "late"

    def terms(self, student, teacher, learnt):
        """The squared difference of the whole map, and by the level of each that is used, pooled to it."""
        difference = torch.sub(*compared(student, teacher, learnt, "hcl", MAPS))
        pooled = {q: F.adaptive_avg_pool2d(difference, q) for q in (4, 2, 1) if q < difference.shape[2]}
        return mean(difference.square()), {q: mean(smaller.square()) for q, smaller in pooled.items()}


class WeightsOfTheLevels(SpoiltHCL):
    """1/2, 1/4, 1/8 tied to 4, 2, 1: where 4 is skipped the published code begins at 1/2 all the same."""

    def values(self, student, teacher, learnt):
        whole, terms = self.terms(student, teacher, learnt)
        weights = {4: 0.5, 2: 0.25, 1: 0.125}
        return (whole + sum(weights[q] * term for q, term in terms.items())) / (1 + sum(weights[q] for q in terms))


class NotDivided(SpoiltHCL):
    """The weighted sum, without the sum of the weights under it: up to 15/8 of the value."""

    def values(self, student, teacher, learnt):
        whole, terms = self.terms(student, teacher, learnt)
        return whole + sum(0.5 ** (1 + place) * term for place, term in enumerate(terms.values()))


class PooledInTurn(SpoiltHCL):
    """Each level pooled from the one before: windows of another width where the sizes do not divide."""

    def terms(self, student, teacher, learnt):
        difference = torch.sub(*compared(student, teacher, learnt, "hcl", MAPS))
        whole, terms = mean(difference.square()), {}
        for level in (4, 2, 1):
            if level < difference.shape[2]:
                difference = F.adaptive_avg_pool2d(difference, level)
                terms[level] = mean(difference.square())
        return whole, terms

    def values(self, student, teacher, learnt):
        whole, terms = self.terms(student, teacher, learnt)
        weights = [0.5 ** (1 + place) for place in range(len(terms))]
        return (whole + sum(w * x for w, x in zip(weights, terms.values(), strict=True))) / (1 + sum(weights))


KILLED_BY = {
    HalfTheSum: {"matches_the_definition"},
    MeanOfTheBatch: {
        "one_value_per_example",
        "treats_each_example_alone",
        "permutes_with_examples",
        "matches_the_definition",
    },
    RectifiedProjector: {"matches_the_definition"},
    BroadcastsOneTeacher: {"refuses_what_cannot_be_compared"},
    TeacherNotDetached: {"takes_the_teacher_as_constant"},
    NormalisedByL1: {"is_zero_at_the_teacher", "matches_the_definition"},
    OneAngleForTheWholeMap: {"matches_the_definition"},
    BareNorms: {"bears_dead_features"},
    SummedInSinglePrecision: {
        "is_in_float32_at_least",
        "has_the_gradient_of_its_value",
        "matches_the_definition",
    },
    NormOfTheDifference: {"matches_the_definition"},
    PooledAfterThePower: {"matches_the_definition"},
    SizesLeftIn: {"bears_extreme_features", "matches_the_definition"},
    OverflowsAtSix: {"bears_extreme_features"},
    HiddenVariance: {"trains_what_it_learns", "matches_the_definition"},
    ScaleReadAsLogVariance: {"matches_the_definition"},
    WithoutTheLogarithm: {"matches_the_definition"},
    FrozenVariance: {"has_the_gradient_of_its_value", "trains_what_it_learns", "matches_the_definition"},
    NoTemperatureSquaredByChannel: {"has_one_gradient_size_at_all_temperatures", "matches_the_definition"},
    ChannelsAsClasses: {"matches_the_definition"},
    SumOverChannels: {"matches_the_definition"},
    LogOfSoftmax: {"bears_extreme_features"},
    WeightsOfTheLevels: {"matches_the_definition"},
    NotDivided: {"matches_the_definition"},
    PooledInTurn: {"matches_the_definition"},
}
