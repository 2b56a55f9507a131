"""The arms of a comparison: what each hears, and with which weights."""

import pytest
import torch
from lessons import examples_of, lesson_with, tapped_lesson

from limbeck.data import UNLABELLED, Preprocess
from limbeck.errors import RecipeError
from limbeck.objectives import DKD, VID, CrossEntropy, HardTargets, Hint, LogitMSE, SoftTargets
from limbeck.teachers import CallableTeacher, Live
from limbeck.training import (
    Counts,
    Distill,
    HalfCosine,
    Linear,
    Points,
    Term,
    TermSchedule,
    WeightedTerm,
    lesson_of,
)

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
    with pytest.raises(ValueError, match="hears no logits"):
        Distill(objective=CrossEntropy())


def test_a_loss_without_the_teacher_asks_for_no_signal():
    assert lesson("distilled", Distill(alpha=1.0)).signals is None


def test_every_seed_shuffles_anew():
    examples = lesson("distilled").examples
    signals = lesson_with(examples).signals
    first, second = (
        lesson_of("shuffled-teacher", Distill(), examples, signals, PREPROCESS, seed=seed).signals for seed in (0, 1)
    )
    assert not torch.equal(first.tensors["logits"], second.tensors["logits"])


def test_the_shuffled_teacher_keeps_its_answers():
    plain, shuffled = lesson("distilled"), lesson("shuffled-teacher")
    assert shuffled.terms == plain.terms
    assert not torch.equal(shuffled.signals.tensors["logits"], plain.signals.tensors["logits"])
    assert torch.equal(shuffled.signals.tensors["logits"].argmax(1), plain.signals.tensors["logits"].argmax(1))


def test_live_signals_cannot_be_shuffled():
    examples = examples_of(30)
    live = Live(CallableTeacher(lambda x: x, PREPROCESS), examples)
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


# --- terms that look at features -------------------------------------------------------------------------------------

TAPS = (
    WeightedTerm(weight=0.5, objective=Hint(student="conv1", teacher="conv2")),
    WeightedTerm(weight=Linear(start=0.0, end=1.0), objective=VID(student="conv2", teacher="conv1")),
    WeightedTerm(weight=2.0, objective=Hint(student="conv2", teacher="conv2")),
)


def tapped(arm, distill, labelled=30):
    given = tapped_lesson(examples=examples_of(30).hide_labels(torch.arange(30) < labelled))
    return given, lesson_of(arm, distill, given.examples, given.signals, PREPROCESS, seed=0)


def test_the_teacher_is_tapped_once_wherever_terms_look():
    assert Distill(terms=(HINT, *TAPS)).teacher_taps == ("conv2", "conv1")
    assert Distill(terms=(HINT,)).teacher_taps == ()


def test_the_distilled_arm_hears_features():
    given, found = tapped("distilled", Distill(terms=(HINT, *TAPS)))
    assert [(term.name, term.weight) for term in found.terms[2:]] == [
        ("term0_soft-targets", 0.5),
        ("term1_hint", 0.5),
        ("term2_vid", 0.0),
        ("term3_hint", 2.0),
    ]
    assert [term.objective for term in found.terms[3:]] == [term.objective for term in TAPS]
    assert found.signals is given.signals


@pytest.mark.parametrize("arm", ["scratch", "label-smoothing"])
def test_an_arm_without_a_teacher_looks_at_no_features(arm):
    _, found = tapped(arm, Distill(terms=TAPS))
    assert [term.name for term in found.terms] == ["student_loss"]
    assert found.signals is None


def test_the_hard_teacher_shows_no_features():
    _, found = tapped("hard-teacher", Distill(terms=(*TAPS, HINT)))
    assert [(term.name, term.objective) for term in found.terms] == [
        ("student_loss", CrossEntropy()),
        ("distillation_loss", HardTargets()),
        ("term3_soft-targets", HardTargets()),
    ]


def test_a_hard_teacher_that_has_only_features_to_show_is_refused():
    """Its arm would be the labels alone, under a teacher's name."""
    for labelled in ({}, {"labelled": 0}):
        with pytest.raises(
            RecipeError, match="hard-teacher came with a loss that looks at the teacher's features alone"
        ):
            tapped("hard-teacher", Distill(alpha=1.0, terms=TAPS), **labelled)
    _, found = tapped("distilled", Distill(alpha=1.0, terms=TAPS), labelled=0)
    assert [term.name for term in found.terms] == ["term0_hint", "term1_vid", "term2_hint"]


def test_the_shuffled_teacher_moves_features_with_their_logits():
    given, found = tapped("shuffled-teacher", Distill(terms=TAPS))
    plain, shuffled = given.signals, found.signals
    assert found.terms == tapped("distilled", Distill(terms=TAPS))[1].terms
    moved = (shuffled.tensors["logits"] != plain.tensors["logits"]).any(dim=1)
    assert moved.double().mean() > 0.5
    row_of = {tuple(row.tolist()): i for i, row in enumerate(plain.tensors["logits"])}
    order = torch.tensor([row_of[tuple(row.tolist())] for row in shuffled.tensors["logits"]])
    assert sorted(order.tolist()) == list(range(30))
    for tap in ("conv1", "conv2", "flatten"):
        before, after = plain.tensors[f"tap.{tap}"], shuffled.tensors[f"tap.{tap}"]
        assert torch.equal(after, before[order])
        assert not torch.equal(after, before)


# --- what changes over a fit -----------------------------------------------------------------------------------------


def test_alpha_may_be_a_schedule():
    alpha = Points(points=((0.0, 1.0), (0.5, 0.25), (1.0, 0.0)))
    student, distillation = lesson("distilled", Distill(alpha=alpha)).terms
    assert (student.weight, distillation.weight) == (1.0, 0.0)
    assert student.schedule == TermSchedule(weight=alpha)
    for step in range(9):
        at = student.at(step, 9).weight, distillation.at(step, 9).weight
        assert at == pytest.approx((alpha.at(step / 8), 1 - alpha.at(step / 8)))
    assert (student.at(4, 9).weight, distillation.at(4, 9).weight) == (0.25, 0.75)
    assert student.at(0, 1).weight == 1.0, "a fit of one step stays at the start"


def test_both_weights_may_be_schedules_of_their_own():
    found = Distill(student_weight=Linear(start=0.0, end=3.0), distillation_weight=2.0).loss()
    assert [(term.weight, term.at(4, 5).weight) for term in found] == [(0.0, 3.0), (2.0, 2.0)]
    assert found[1].schedule is None


def test_a_weight_that_is_ever_more_than_nothing_counts():
    never = WeightedTerm(weight=Linear(start=0.0, end=0.0), objective=HardTargets())
    once = WeightedTerm(weight=Linear(start=0.0, end=0.1), objective=HardTargets())
    found = Distill(alpha=Linear(start=1.0, end=1.0), terms=(never, once)).loss()
    assert [term.name for term in found] == ["student_loss", "term1_hard-targets"]


@pytest.mark.parametrize(
    "objective", [SoftTargets(), DKD(), SoftTargets(temperature=8.0), SoftTargets(standardise=True)]
)
def test_a_temperature_schedule_begins_the_objective(objective):
    schedule = HalfCosine(start=8.0, end=2.0)
    distill = Distill(objective=objective, temperature=schedule)
    assert distill.objective.temperature == 8.0
    assert distill.objective.standardise == objective.standardise
    term = distill.loss()[1]
    assert [term.at(step, 3).objective.temperature for step in range(3)] == pytest.approx([8.0, 5.0, 2.0])
    assert term.at(2, 3).objective.temperature == 2.0
    assert Distill(**vars(distill)) == distill, "a resolved recipe is read again"


def test_the_hard_teacher_keeps_schedules_of_weights_and_drops_those_of_doubts():
    distill = Distill(alpha=Linear(start=0.0, end=1.0), temperature=Linear(start=8.0, end=1.0))
    student, distillation = lesson("hard-teacher", distill).terms
    assert distillation.at(4, 5) == Term("distillation_loss", 0.0, HardTargets())
    assert distillation.at(0, 5).weight == 1.0
    assert student.at(4, 5).weight == 1.0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"alpha": Linear(start=0.0, end=1.1)}, "alpha is a share"),
        ({"alpha": Linear(start=-0.1, end=1.0)}, "alpha is a share"),
        ({"alpha": Points(points=((0.0, 0.5), (0.5, 2.0), (1.0, 0.5)))}, "alpha is a share"),
        ({"student_weight": Linear(start=1.0, end=-1.0), "distillation_weight": 1.0}, "at least 0"),
        ({"student_weight": Linear(start=0.0, end=0.0), "distillation_weight": 0.0}, "one of them above"),
        ({"alpha": Linear(start=0.0, end=1.0), "student_weight": 1.0, "distillation_weight": 1.0}, "not both forms"),
        ({"temperature": Linear(start=4.0, end=0.0)}, "temperature must be"),
        ({"temperature": Points(points=((0.0, 4.0), (0.5, -1.0), (1.0, 4.0)))}, "temperature must be"),
        ({"temperature": Linear(start=0.0, end=4.0)}, "temperature must be"),
        ({"temperature": Linear(start=8.0, end=1.0), "objective": SoftTargets(temperature=2.0)}, "give it once"),
        ({"temperature": Linear(start=8.0, end=1.0), "objective": LogitMSE()}, "logit-mse has none"),
        ({"objective": TAPS[0].objective}, "hint hears no logits"),
    ],
)
def test_schedules_and_objectives_that_make_no_sense_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        Distill(**values)
