"""The learner: what terms learn is f(seed, name of the term), trains beside the student, and is refused in words."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from lessons import HINT, TAPPED, TERMS, lesson_with, place_in, sha, student_of, tapped_lesson, tapped_teacher
from torch import nn
from torch.utils.checkpoint import checkpoint

from limbeck.errors import RecipeError
from limbeck.files import digest_tensors
from limbeck.models import ConvNet, Mlp
from limbeck.objectives import VID, AttentionTransfer, Hint
from limbeck.signal import Signal
from limbeck.teachers import Live, Stored
from limbeck.training import Distill, Fit, Learner, Term, WeightedTerm, gradient_norms, learner_of, lesson_of
from limbeck.training.loss import Batch

CPU = torch.device("cpu")
SPEC = ConvNet(channels=(4, 8))


def learnt(lesson=None, *, student=None, seed=0):
    """sha256 of what each term learns, by its name."""
    with learner_of(student or student_of(SPEC), lesson or tapped_lesson(), seed=seed, device=CPU) as learner:
        return {name: sha(part) for name, part in learner.learnt.items()}


def hooks_of(module):
    return [part for part in module.modules() if part._forward_hooks or part._forward_pre_hooks]


# --- what is learnt --------------------------------------------------------------------------------------------------


def test_each_term_learns_what_its_objective_builds():
    with learner_of(student_of(SPEC), tapped_lesson(), seed=0, device=CPU) as learner:
        shapes = {name: [tuple(p.shape) for p in part.parameters()] for name, part in learner.learnt.items()}
    assert list(shapes) == ["term0_hint", "term1_vid", "term2_in-batch-contrastive"]
    assert shapes["term0_hint"] == [(8, 4, 1, 1)], "from the student's channels to the teacher's"
    assert (16,) in shapes["term1_vid"], "a variance for each channel"


def test_it_is_a_function_of_the_seed_and_the_name_of_the_term():
    first = learnt()
    torch.manual_seed(99)
    student_of(SPEC, seed=5)
    assert learnt() == first, "whatever drew randomness before"
    assert learnt(student=student_of(SPEC, seed=3)) == first, "and whatever the student begins with"
    assert all(learnt(seed=1)[name] != digest for name, digest in first.items())
    renamed = replace(tapped_lesson(), terms=(Term("term7_hint", 0.5, HINT),))
    assert learnt(renamed)["term7_hint"] != first["term0_hint"]


@pytest.mark.parametrize("term", TAPPED[2:], ids=lambda term: term.name)
def test_a_term_learns_the_same_alone_and_among_others(term):
    assert learnt(tapped_lesson((term,))) == {term.name: learnt()[term.name]}
    assert learnt(tapped_lesson(tuple(reversed(TAPPED)))) == learnt()


@pytest.mark.parametrize("terms", [TERMS, TERMS[:1]])
def test_nothing_is_learnt_and_nothing_hooked_without_taps(terms):
    student = student_of(SPEC)
    with learner_of(student, lesson_with(terms=terms), seed=0, device=CPU) as learner:
        assert len(learner.learnt) == 0
        assert not any(part._forward_hooks for part in student.modules())
        assert len(list(learner.parameters())) == len(list(student.parameters()))
        assert learner(torch.zeros(2, 1, 8, 8)).features == {}


def test_as_many_channels_need_no_projector():
    lesson = tapped_lesson((Term("term0_hint", 0.5, HINT),))
    assert learnt(lesson, student=student_of(ConvNet(channels=(8, 8)))) == {}


# --- what is left alone ----------------------------------------------------------------------------------------------


def test_the_student_is_what_it_was_and_the_callers_randomness_too():
    student = nn.Sequential()
    for name, part in student_of(SPEC).named_children():
        student.add_module(name, part)
        if name == "conv1":
            student.add_module("norm", nn.BatchNorm2d(4))
            student.add_module("drop", nn.Dropout(0.5))
    student.norm.eval()
    before, modes, keys = sha(student), [part.training for part in student.modules()], list(student.state_dict())
    torch.manual_seed(11)
    state = torch.get_rng_state()
    with learner_of(student, tapped_lesson(), seed=0, device=CPU) as learner:
        assert sha(student) == before
        assert hooks_of(student)
        assert {name.split(".")[0] for name in learner.state_dict()} == {"student", "learnt"}
    assert sha(student) == before
    assert [part.training for part in student.modules()] == modes
    assert list(student.state_dict()) == keys
    assert all(parameter.grad is None for parameter in student.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not hooks_of(student)


def test_taps_are_closed_when_the_block_fails():
    student = student_of(SPEC)
    with pytest.raises(KeyError), learner_of(student, tapped_lesson(), seed=0, device=CPU):
        raise KeyError
    assert not hooks_of(student)


def test_the_arms_of_a_seed_begin_with_one_student_whatever_they_learn():
    lesson, starts = tapped_lesson(), set()
    distill = Distill(terms=(WeightedTerm(weight=0.5, objective=HINT),))
    for arm in ("distilled", "scratch", "hard-teacher", "shuffled-teacher"):
        taught = lesson_of(arm, distill, lesson.examples, lesson.signals, lesson.preprocess, seed=0)
        with learner_of(student_of(SPEC), taught, seed=0, device=CPU) as learner:
            starts.add(sha(learner.student))
    assert len(starts) == 1


def test_a_student_passes_its_gradient_through_its_taps():
    with learner_of(student_of(SPEC), tapped_lesson(), seed=0, device=CPU) as learner:
        lesson = tapped_lesson()
        rows = torch.arange(6)
        inputs = lesson.preprocess(lesson.examples.inputs[rows])
        batch = Batch(inputs, lesson.examples.labels[rows], lesson.signals.fetch(rows, inputs, torch.zeros_like(rows)))
        learner.values(lesson.terms[2], learner(inputs), batch).sum().backward()
        reached = {name for name, p in learner.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {"student.conv1.weight", "student.conv1.bias", "learnt.term0_hint.weight"}


# --- what cannot be formed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        (AttentionTransfer(student="head", teacher="conv1"), "attention-transfer expected"),
        (Hint(student="head", teacher="conv1"), "hint expected both"),
        (VID(student="conv1", teacher="flatten"), "vid expected both"),
        (Hint(student="conv1", teacher="head"), "expected the tap 'head', got taps conv1, conv2, flatten"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_term_that_cannot_compare_is_named(objective, words):
    student = student_of(SPEC)
    lesson = tapped_lesson((*TERMS, Term("term3_it", 1.0, objective)))
    with pytest.raises(RecipeError, match=f"term3_it cannot be formed: .*{words}") as caught:
        learnt(lesson, student=student)
    assert caught.value.exit_status == 2
    assert not hooks_of(student)


def test_classes_that_differ_are_refused_with_the_terms_name():
    lesson = tapped_lesson()
    signals = Stored({**lesson.signals.tensors, "logits": lesson.signals.tensors["logits"][:, :2]})
    with pytest.raises(RecipeError, match=r"distillation_loss cannot be formed: .*one shape"):
        learnt(replace(lesson, signals=signals))


def test_a_tap_that_the_student_lacks_is_refused():
    lesson = tapped_lesson((Term("term0_hint", 0.5, Hint(student="conv3", teacher="conv1")),))
    with pytest.raises(RecipeError, match="'conv3' is no part of the student; did you mean 'conv"):
        learnt(lesson)


def test_a_teacher_that_was_not_asked_is_refused():
    with pytest.raises(RecipeError, match=r"term0_hint cannot be formed: .*signal"):
        learnt(replace(tapped_lesson((TAPPED[2],)), signals=None))


class Partly(nn.Module):
    """A student whose first part can be frozen, or computed again in the backward pass, the old way or the new."""

    def __init__(self, again=None):
        super().__init__()
        self.conv1, self.head, self.again = nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.Linear(128, 3), again

    def forward(self, inputs):
        if self.again is None or not self.training:
            return self.head(self.body(inputs))
        return self.head(checkpoint(self.body, inputs.requires_grad_(), use_reentrant=self.again == "old"))

    def body(self, inputs):
        return self.conv1(inputs).relu().flatten(1)


def test_a_tap_after_nothing_that_is_trained_is_refused():
    """Its term would be a constant for the student: a setting that does nothing."""
    student = Partly()
    student.conv1.requires_grad_(False)
    lesson = tapped_lesson((*TERMS, TAPPED[2]))
    with pytest.raises(RecipeError, match="'conv1' of the student carries no gradient"):
        learnt(lesson, student=student)


def test_a_tap_inside_what_is_computed_again_carries_its_gradient_or_is_refused(tmp_path):
    lesson, settings, place = tapped_lesson((TAPPED[2],)), Fit(batch_size=16), place_in(tmp_path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain, new, old = Partly(), Partly("new"), Partly("old")
    new.load_state_dict(plain.state_dict())
    expected = gradient_norms(plain, lesson, settings, seed=0, place=place)
    assert gradient_norms(new, lesson, settings, seed=0, place=place) == pytest.approx(expected)
    with pytest.raises(RecipeError, match="'conv1' of the student carries no gradient"):
        gradient_norms(old, lesson, settings, seed=0, place=place)


# --- whom it hears ---------------------------------------------------------------------------------------------------


def test_what_is_learnt_is_the_same_of_stored_and_of_live_signals():
    lesson = tapped_lesson()
    live = Live(tapped_teacher(), lesson.examples)
    assert learnt(replace(lesson, signals=live)) == learnt(lesson)


def test_a_lesson_of_one_example_is_enough_to_look_at():
    lesson = tapped_lesson((*TERMS, *TAPPED[2:4]))
    one = torch.zeros(1, dtype=torch.int64)
    single = replace(lesson, examples=lesson.examples.select(one), signals=lesson.signals.select(one))
    assert learnt(single) == learnt(lesson)


def test_it_is_a_student_alone_where_none_was_made_for_it():
    student = student_of(Mlp(hidden=(4,)))
    learner = Learner(student)
    assert isinstance(learner(torch.zeros(2, 1, 8, 8)), Signal)
    assert digest_tensors(learner.student.state_dict()) == sha(student)


# --- gradient norms --------------------------------------------------------------------------------------------------


def test_gradient_norms_count_the_students_parameters_alone(tmp_path):
    student, lesson, settings = student_of(SPEC), tapped_lesson(), Fit(batch_size=16)
    before = sha(student)
    norms = gradient_norms(student, lesson, settings, seed=0, place=place_in(tmp_path))
    assert list(norms) == [term.name for term in TAPPED]
    assert all(value > 0 for value in norms.values())
    assert sha(student) == before
    assert all(parameter.grad is None for parameter in student.parameters())
    assert not hooks_of(student)
    # By hand: one term, one batch, the student's gradients and not the projector's.
    for term in TAPPED[2:]:
        pupil = copy.deepcopy(student)
        assert norms[term.name] == pytest.approx(by_hand(pupil, replace(lesson, terms=(term,))), rel=1e-5)


def by_hand(student, lesson):
    from limbeck.training.order import Order

    rows, _ = Order(len(lesson.examples), 16, 0).at(0)
    seen = lesson.examples.inputs[rows]
    inputs = lesson.preprocess(seen).contiguous(memory_format=torch.channels_last)
    (term,) = lesson.terms
    with learner_of(student, lesson, seed=0, device=CPU) as learner:
        batch = Batch(inputs, lesson.examples.labels[rows], lesson.signals.fetch(rows, seen, torch.zeros_like(rows)))
        (term.weight * learner.values(term, learner(inputs), batch).mean()).backward()
    return float(nn.utils.get_total_norm([p.grad.double() for p in student.parameters() if p.grad is not None]))


def test_a_term_with_a_dot_in_its_name_learns_too():
    @dataclass(frozen=True, kw_only=True)
    class Own(Hint):
        name: str = "lab.hint"

    (term,) = Distill(alpha=1.0, terms=(WeightedTerm(weight=1.0, objective=Own(student="a", teacher="b")),)).loss()[1:]
    assert term.name == "term0_lab-hint"
    nn.ModuleDict({term.name: nn.Linear(1, 1)})
