"""The arms of a comparison: what each hears, and with which weights."""

import pytest
import torch
from lessons import examples_of, lesson_with

from limbeck.data import UNLABELLED, Preprocess
from limbeck.errors import RecipeError
from limbeck.objectives import CrossEntropy, HardTargets, SoftTargets
from limbeck.teachers import CallableTeacher, Live
from limbeck.training import Counts, Distill, Term, WeightedTerm, lesson_of

PREPROCESS = Preprocess(scale=255.0)
HINT = WeightedTerm(weight=0.5, objective=SoftTargets(temperature=2.0, divergence="reverse-kl"))


def lesson(arm, distill=None, labelled=None):
    examples = examples_of(30)
    if labelled is not None:
        examples = examples.hide_labels(torch.arange(30) < labelled)
    return lesson_of(arm, distill or Distill(), examples, lesson_with(examples).signals, PREPROCESS, seed=0)


def weights(lesson):
    return [(term.name, term.weight, term.objective) for term in lesson.terms]


def test_the_distilled_arm_hears_both_by_alpha():
    found = lesson("distilled", Distill(alpha=0.3, objective=SoftTargets(temperature=8.0), terms=(HINT,)))
    assert weights(found) == [
        ("student_loss", 0.3, CrossEntropy()),
        ("distillation_loss", 0.7, SoftTargets(temperature=8.0)),
        ("term0_soft-targets", 0.5, HINT.objective),
    ]
    assert len(found.examples) == 30
    assert found.signals is not None


@pytest.mark.parametrize(
    ("distill", "expected"),
    [
        (Distill(), (0.1, 0.9)),
        (Distill(alpha=0.25), (0.25, 0.75)),
        (Distill(student_weight=2.0, distillation_weight=3.0), (2.0, 3.0)),
        (Distill(alpha=0.0), (0.0, 1.0)),
    ],
)
def test_the_weights_are_those_asked_for(distill, expected):
    assert distill.weights == pytest.approx(expected)


def test_a_term_without_weight_is_not_computed():
    assert [term.name for term in Distill(alpha=0.0).loss()] == ["distillation_loss"]
    assert [term.name for term in Distill(alpha=1.0).loss()] == ["student_loss"]
    nothing = WeightedTerm(weight=0.0, objective=HardTargets())
    assert [term.name for term in Distill(alpha=1.0, terms=(nothing,)).loss()] == ["student_loss"]


@pytest.mark.parametrize(
    "values",
    [
        {"alpha": -0.1},
        {"alpha": 1.1},
        {"alpha": float("nan")},
        {"alpha": 0.1, "student_weight": 0.1},
        {"alpha": 0.1, "student_weight": 0.1, "distillation_weight": 0.9},
        {"student_weight": 1.0},
        {"distillation_weight": 1.0},
        {"student_weight": 0.0, "distillation_weight": 0.0},
        {"student_weight": -1.0, "distillation_weight": 2.0},
        {"student_weight": float("inf"), "distillation_weight": 2.0},
        {"student_weight": float("nan"), "distillation_weight": 2.0},
        {"student_weight": 2.0, "distillation_weight": float("nan")},
    ],
)
def test_weights_that_make_no_sense_are_refused(values):
    with pytest.raises(ValueError, match=r"alpha|weight"):
        Distill(**values)


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_term_of_no_weight_at_all_is_refused(weight):
    with pytest.raises(ValueError, match="weight"):
        WeightedTerm(weight=weight, objective=HardTargets())


@pytest.mark.parametrize(("arm", "smoothing"), [("scratch", 0.0), ("label-smoothing", 0.1)])
def test_an_arm_without_a_teacher_hears_labels_alone(arm, smoothing):
    found = lesson(arm, Distill(alpha=0.3, terms=(HINT,)), labelled=12)
    assert weights(found) == [("student_loss", 1.0, CrossEntropy(smoothing=smoothing))]
    assert found.signals is None
    assert len(found.examples) == 12
    assert (found.examples.labels != UNLABELLED).all()
    assert found.counts(16) == Counts(16, 16.0)


def test_the_hard_teacher_passes_on_answers_without_doubts():
    found = lesson("hard-teacher", Distill(alpha=0.3, terms=(HINT,)))
    assert [(term.name, term.weight) for term in found.terms[:2]] == [
        ("student_loss", 0.3),
        ("distillation_loss", 0.7),
    ]
    assert found.terms[1].objective == HardTargets()
    assert found.terms[2].objective == HardTargets(), "a further term must not whisper either"


def test_an_objective_that_hears_no_teacher_is_no_distillation():
    with pytest.raises(ValueError, match="hears no teacher"):
        Distill(objective=CrossEntropy())


def test_a_loss_without_the_teacher_asks_for_no_signal():
    assert lesson("distilled", Distill(alpha=1.0)).signals is None


def test_every_seed_shuffles_anew():
    examples = lesson("distilled").examples
    signals = lesson_with(examples).signals
    first, second = (
        lesson_of("shuffled-teacher", Distill(), examples, signals, PREPROCESS, seed=seed).signals for seed in (0, 1)
    )
    assert not torch.equal(first.logits, second.logits)


def test_the_shuffled_teacher_keeps_its_answers():
    plain, shuffled = lesson("distilled"), lesson("shuffled-teacher")
    assert shuffled.terms == plain.terms
    assert not torch.equal(shuffled.signals.logits, plain.signals.logits)
    assert torch.equal(shuffled.signals.logits.argmax(1), plain.signals.logits.argmax(1))


def test_live_signals_cannot_be_shuffled():
    examples = examples_of(30)
    live = Live(CallableTeacher(lambda x: x, PREPROCESS), examples, torch.float16)
    with pytest.raises(RecipeError, match="live"):
        lesson_of("shuffled-teacher", Distill(), examples, live, PREPROCESS, seed=0)


def test_the_labelled_are_counted_in_expectation():
    found = lesson("distilled", labelled=12)
    assert len(found.examples) == 30
    counts = found.counts(20)
    assert (counts.examples, counts.labelled) == (20, pytest.approx(8.0))
    assert counts.of(Term("student_loss", 1.0, CrossEntropy())) == pytest.approx(8.0)
    assert counts.of(Term("distillation_loss", 1.0, SoftTargets())) == 20


def test_without_labels_the_teacher_is_heard_alone():
    assert [term.name for term in lesson("distilled", labelled=0).terms] == ["distillation_loss"]
    for arm, distill in (("scratch", Distill()), ("label-smoothing", Distill()), ("distilled", Distill(alpha=1.0))):
        with pytest.raises(RecipeError, match="labelled"):
            lesson(arm, distill, labelled=0)
