"""Spoilt logit objectives."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.objectives import UNLABELLED, CrossEntropy, HardTargets, Objective, SoftTargets, Traits
from limbeck.signal import Signal


def log_softened(output, signal, temperature):
    """log q and log p, as the real objective takes them."""
    if signal is None or output.logits.shape != signal.logits.shape:
        raise ValueError("shapes differ")
    student, teacher = (x if x.dtype == torch.float64 else x.float() for x in (output.logits, signal.logits))
    return (student / temperature).log_softmax(dim=1), (teacher.detach() / temperature).log_softmax(dim=1)


def kl(log_a, log_b):
    return (log_a.exp() * torch.where(log_a.isneginf(), 0.0, log_a - log_b)).sum(dim=1)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A spoilt forward KL, unless `spoils` says otherwise; the subclasses say how."""

    spoils: ClassVar[Objective] = SoftTargets()
    name: str = "mutant"
    temperature: float = 4.0
    traits: ClassVar[Traits] = SoftTargets.traits


class NoTemperatureSquared(Mutant):
    """TRL, Liger-Kernel, distillm, torchtune: KL at temperature T without T^2; the gradient shrinks as 1/T."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, self.temperature)
        return kl(log_p, log_q)


class MeanOverClasses(Mutant):
    """NVIDIA/Model-Optimizer, reduction="mean": divided by the number of classes too."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, self.temperature)
        return self.temperature**2 * kl(log_p, log_q) / log_q.shape[1]


class Reversed(Mutant):
    """TRL's beta and torchtune's sym_kd_ratio run opposite ways: KL(q||p) where KL(p||q) was asked for."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, self.temperature)
        return self.temperature**2 * kl(log_q, log_p)


class OneSidedTemperature(Mutant):
    """The student is softened and the teacher is not."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, _ = log_softened(output, signal, self.temperature)
        _, log_p = log_softened(output, signal, 1.0)
        return self.temperature**2 * kl(log_p, log_q)


class ReducedEarly(Mutant):
    """RepDistiller, mdistiller and most others: the objective takes the mean of its batch itself."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, self.temperature)
        return self.temperature**2 * kl(log_p, log_q).mean()


class BroadcastMean(Mutant):
    """The same, disguised: the batch's mean once per example, as DIST's inter-class part is."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, self.temperature)
        values = self.temperature**2 * kl(log_p, log_q)
        return values.sum().expand(len(values)) / max(1, len(values))


class CrossEntropyCalledKL(Mutant):
    """torchtune, TextBrewer, distillm: "forward KL" is -sum p log q, which is not 0 at the teacher."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, self.temperature)
        return -(self.temperature**2) * (log_p.exp() * log_q.clamp(min=-1e30)).sum(dim=1)


class TeacherNotDetached(Mutant):
    """A live teacher left in the graph: it is trained to please the student."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, _ = log_softened(output, signal, self.temperature)
        teacher = signal.logits if signal.logits.dtype == torch.float64 else signal.logits.float()
        return self.temperature**2 * kl((teacher / self.temperature).log_softmax(dim=1), log_q)


class NaNWhereAbsent(Mutant):
    """All eight published implementations that were run: F.kl_div is NaN where a class is -inf in both."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, self.temperature)
        return self.temperature**2 * F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)


class NaNGradientWhereAbsent(Mutant):
    """distillm, torchtune: masked after the product, so the value is right and the gradient NaN (reverse KL)."""

    spoils = SoftTargets(divergence="reverse-kl")

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, self.temperature)
        products = (log_q.exp() * (log_q - log_p)).masked_fill(log_p.isneginf(), 0)
        return self.temperature**2 * products.sum(dim=1)


class LogOfProbabilities(Mutant):
    """mdistiller's DKD, cls_KD, mmrazor: log(softmax) is -inf at +-80 in float32."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, self.temperature)
        q = torch.where(log_p.isneginf(), 1.0, log_q.exp())
        return self.temperature**2 * kl(log_p, q.log())


class ClampedProbabilities(Mutant):
    """DistillKit's and TRL's clamps: finite everywhere, and where q is small wrong and without gradient."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, self.temperature)
        log_q = torch.where(log_p.isneginf(), -torch.inf, log_q.exp().clamp(min=1e-8).log())
        return self.temperature**2 * kl(log_p, log_q)


class BroadcastsWidthOne(Mutant):
    """A teacher of width 1 broadcasts without a word."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        if signal is None or signal.logits.shape[1] not in (1, output.logits.shape[1]):
            raise ValueError("shapes differ")
        wide = Signal(signal.logits.expand(output.logits.shape))
        log_q, log_p = log_softened(output, wide, self.temperature)
        return self.temperature**2 * kl(log_p, log_q)


class HalfPrecision(Mutant):
    """A loss under autocast: log-softmax and sum in the logits' own bfloat16."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        if signal is None or output.logits.shape != signal.logits.shape:
            raise ValueError("shapes differ")
        log_q = (output.logits / self.temperature).log_softmax(dim=1)
        log_p = (signal.logits.detach() / self.temperature).log_softmax(dim=1)
        return self.temperature**2 * kl(log_p, log_q)


class AlwaysFloat32(Mutant):
    """torchtune, TextBrewer: float64 is cast down too, so that nothing can be checked to more than 6 digits."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        if signal is None:
            raise ValueError("no signal")
        single = Signal(output.logits.float()), Signal(signal.logits.float())
        log_q, log_p = log_softened(*single, self.temperature)
        return self.temperature**2 * kl(log_p, log_q)


class RightValueWrongGradient(Mutant):
    """NeMo-Automodel: the value is right, the gradient is not (here half of it)."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, self.temperature)
        values = self.temperature**2 * kl(log_p, log_q)
        return 0.5 * (values + values.detach())


class MeanSquaredProbabilities(Mutant):
    """SforAiDl/KD_Lib: "KD" is the squared difference of the soft probabilities, mean over classes, times T^2."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, self.temperature)
        return self.temperature**2 * (log_q.exp() - log_p.exp()).square().mean(dim=1)


class MaskedByLabels(Mutant):
    """The hard loss's ignore_index on the soft term: the unlabelled examples teach nothing."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, self.temperature)
        return self.temperature**2 * kl(log_p, log_q) * (labels != UNLABELLED)


class TruncatedWithoutTail(Mutant):
    """verl, axolotl: the sum over the teacher's top k without the tail; negative at times, an over-sure student."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, self.temperature)
        log_p, kept = log_p.topk(2, dim=1)
        return self.temperature**2 * kl(log_p, log_q.gather(1, kept))


class RawLogits(Mutant):
    """Logit matching (Ba and Caruana 2014) under KD's name: the differences are not centred."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_softened(output, signal, self.temperature)
        student, teacher = (x if x.dtype == torch.float64 else x.float() for x in (output.logits, signal.logits))
        return 0.5 * torch.where(teacher.isneginf(), 0.0, student - teacher.detach()).square().sum(dim=1)


class CutVocabulary(Mutant):
    """Both heads sliced to a supposedly common width: the last column is cut before the softmax."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_softened(output, signal, self.temperature)
        cut = Signal(output.logits[:, :-1]), Signal(signal.logits[:, :-1])
        log_q, log_p = log_softened(*cut, self.temperature)
        return self.temperature**2 * kl(log_p, log_q)


class ComparesNeighbours(Mutant):
    """RepDistiller's CC: each example is set against the next, so the value hangs on the order of the batch."""

    traits = replace(SoftTargets.traits, coupling="batch")

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, self.temperature)
        values = self.temperature**2 * kl(log_p, log_q)
        return 0.5 * (values + values.roll(1))


@dataclass(frozen=True, kw_only=True)
class HardMutant:
    """A spoilt cross-entropy."""

    name: str = "hard-mutant"
    spoils: ClassVar[Objective] = CrossEntropy()
    traits: ClassVar[Traits] = CrossEntropy.traits


class MeanOverLabelled(HardMutant):
    """F.cross_entropy as it comes, with its mean over the labelled of the batch: NaN where there are none."""

    def __call__(self, output: Signal, signal: Signal | None, labels: Tensor) -> Tensor:
        return F.cross_entropy(output.logits, labels, ignore_index=UNLABELLED).expand(len(labels))


class UnlabelledAsClassZero(HardMutant):
    """Labels clamped to be an index and never masked: the unlabelled are all taught class 0."""

    def __call__(self, output: Signal, signal: Signal | None, labels: Tensor) -> Tensor:
        logits = output.logits if output.logits.dtype == torch.float64 else output.logits.float()
        return F.cross_entropy(logits, labels.clamp(min=0), reduction="none")


class SmoothedOverAbsentClasses(HardMutant):
    """F.cross_entropy with its label_smoothing, which is spread over the classes at -inf too: inf."""

    spoils: ClassVar[Objective] = CrossEntropy(smoothing=0.1)

    def __call__(self, output: Signal, signal: Signal | None, labels: Tensor) -> Tensor:
        logits = output.logits if output.logits.dtype == torch.float64 else output.logits.float()
        return F.cross_entropy(logits, labels, reduction="none", ignore_index=UNLABELLED, label_smoothing=0.1)


class WeighedByTheTeacher(HardMutant):
    """A hard loss that leans on the teacher without saying so: the scratch arm cannot use it."""

    def __call__(self, output: Signal, signal: Signal | None, labels: Tensor) -> Tensor:
        logits = output.logits if output.logits.dtype == torch.float64 else output.logits.float()
        doubts = 1 - signal.logits.detach().to(logits.dtype).softmax(dim=1).amax(dim=1)
        return doubts * F.cross_entropy(logits, labels, reduction="none", ignore_index=UNLABELLED)


@dataclass(frozen=True, kw_only=True)
class ChoiceMutant:
    """Spoilt hard targets."""

    name: str = "choice-mutant"
    spoils: ClassVar[Objective] = HardTargets()
    traits: ClassVar[Traits] = HardTargets.traits


class ConfidentOnly(ChoiceMutant):
    """FixMatch's threshold, kept from semi-supervised training: what the teacher doubts teaches nothing."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, 1.0)
        sure = log_p.exp().amax(dim=1) > 0.95
        return sure * F.nll_loss(log_q, log_p.argmax(dim=1), reduction="none")


class SoftmaxTwice(ChoiceMutant):
    """Probabilities given to a loss that takes logits: the softmax of a softmax, which cannot become sure."""

    def __call__(self, output: Signal, signal: Signal, labels: Tensor) -> Tensor:
        log_q, log_p = log_softened(output, signal, 1.0)
        return F.cross_entropy(log_q.exp(), log_p.argmax(dim=1), reduction="none")


KILLED_BY = {
    NoTemperatureSquared: {"has_one_gradient_size_at_all_temperatures", "matches_the_definition"},
    MeanOverClasses: {"bears_absent_classes", "matches_the_definition"},
    Reversed: {"matches_the_definition"},
    OneSidedTemperature: {
        "is_zero_at_the_teacher",
        "has_one_gradient_size_at_all_temperatures",
        "matches_the_definition",
    },
    ReducedEarly: {
        "one_value_per_example",
        "treats_each_example_alone",
        "permutes_with_examples",
        "matches_the_definition",
    },
    BroadcastMean: {"treats_each_example_alone", "matches_the_definition"},
    CrossEntropyCalledKL: {"is_zero_at_the_teacher", "matches_the_definition"},
    TeacherNotDetached: {"takes_the_teacher_as_constant"},
    NaNWhereAbsent: {"bears_absent_classes"},
    NaNGradientWhereAbsent: {"bears_absent_classes"},
    LogOfProbabilities: {"bears_extreme_logits"},
    ClampedProbabilities: {"matches_the_definition"},
    BroadcastsWidthOne: {"refuses_other_widths"},
    HalfPrecision: {"is_in_float32_at_least", "keeps_its_digits_in_half_precision"},
    AlwaysFloat32: {
        "is_in_float32_at_least",
        "is_zero_at_the_teacher",
        "ignores_a_shift_of_logits",
        "has_the_gradient_of_its_value",
        "permutes_with_classes",
        "bears_absent_classes",
        "matches_the_definition",
    },
    RightValueWrongGradient: {"has_the_gradient_of_its_value", "matches_the_definition"},
    MeanSquaredProbabilities: {"bears_absent_classes", "matches_the_definition"},
    MaskedByLabels: {"needs_no_labels", "matches_the_definition"},
    TruncatedWithoutTail: {
        "is_zero_at_the_teacher",
        "is_never_negative",
        "has_one_gradient_size_at_all_temperatures",
        "matches_the_definition",
    },
    RawLogits: {"ignores_a_shift_of_logits", "matches_the_definition"},
    CutVocabulary: {"permutes_with_classes", "matches_the_definition"},
    ComparesNeighbours: {"permutes_with_examples", "matches_the_definition"},
    MeanOverLabelled: {
        "is_in_float32_at_least",
        "keeps_its_digits_in_half_precision",
        "treats_each_example_alone",
        "is_nothing_without_labels",
        "matches_the_definition",
    },
    UnlabelledAsClassZero: {"bears_absent_classes", "is_nothing_without_labels", "matches_the_definition"},
    SmoothedOverAbsentClasses: {"bears_absent_classes"},
    WeighedByTheTeacher: {"needs_no_teacher", "matches_the_definition"},
    ConfidentOnly: {"matches_the_definition"},
    SoftmaxTwice: {"bears_absent_classes", "matches_the_definition"},
}
