"""Views in a fit: whose the stored answers are, and what is learnt of a mix."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lessons import CLASSES, TERMS, examples_of, lesson_with, place_in, student_of

from limbeck.data import STORED_VIEWS, UNLABELLED, Augment, Preprocess, Views
from limbeck.models import Mlp
from limbeck.objectives import CrossEntropy, SoftTargets
from limbeck.progress import Stop, unwatched
from limbeck.signal import Signal
from limbeck.teachers import CallableTeacher, Live, label
from limbeck.training import Distill, Fit, Lesson, Term, lesson_of
from limbeck.training.learner import Learner
from limbeck.training.lesson import Reader
from limbeck.training.loss import Batch, Counts
from limbeck.training.step import add_gradients

AUGMENTS = [Augment(shift=2, flip=True), Augment(shift=1, mixup=0.8), Augment(cutmix=1.0)]
PREPROCESS = Preprocess(scale=255.0)
ROWS = torch.tensor([3, 9, 17, 30, 31, 50])


def asked(inputs):
    """A teacher whose answer depends on every pixel."""
    weights = torch.randn(64, 3, generator=torch.Generator().manual_seed(4))
    return inputs.flatten(1) @ weights


WHO = CallableTeacher(asked, PREPROCESS)


def reader_of(lesson, augment, tmp_path, seed=0):
    return Reader(lesson, Fit(augment=augment), seed, place_in(tmp_path), torch.contiguous_format)


def batch_of(reader, epoch):
    (batch,) = reader.batches(ROWS, torch.full_like(ROWS, epoch))
    return batch


@pytest.mark.parametrize("augment", AUGMENTS)
def test_a_stored_answer_is_that_about_the_very_view_the_student_sees(tmp_path, augment):
    examples = examples_of()
    views = Views(examples, augment, seed=STORED_VIEWS, cycle=3)
    signals = label(tmp_path / "labels", WHO, examples, views=views, watch=unwatched, stop=Stop()).signals
    lesson = replace(lesson_with(examples), signals=signals, views=3)
    for epoch in (0, 1, 2, 5):
        batch = batch_of(reader_of(lesson, augment, tmp_path), epoch)
        torch.testing.assert_close(batch.signal.logits, asked(batch.inputs), rtol=2**-9, atol=2**-8)
    live = replace(lesson, signals=Live(WHO, examples), views=1)
    batch = batch_of(reader_of(live, augment, tmp_path), 7)
    torch.testing.assert_close(batch.signal.logits, asked(batch.inputs), rtol=2**-9, atol=2**-8)


def test_stored_views_come_in_turn_and_are_those_of_every_student(tmp_path):
    lesson, augment = replace(lesson_with(), views=3), AUGMENTS[0]
    seen = [batch_of(reader_of(lesson, augment, tmp_path, seed), epoch).inputs for seed in (0, 1) for epoch in range(6)]
    for one, other in ((0, 3), (1, 4), (0, 6), (2, 11)):
        assert torch.equal(seen[one], seen[other])
    assert not torch.equal(seen[0], seen[1])


def test_without_stored_views_every_epoch_and_student_has_views_of_its_own(tmp_path):
    lesson, augment = lesson_with(), AUGMENTS[0]
    seen = [batch_of(reader_of(lesson, augment, tmp_path, seed), epoch).inputs for seed in (0, 1) for epoch in range(6)]
    assert len({each.numpy().tobytes() for each in seen}) == 12


def test_duplicates_share_their_stored_views(tmp_path):
    twice = examples_of().select(torch.arange(128) % 64)
    reader = reader_of(replace(lesson_with(twice), views=2), AUGMENTS[0], tmp_path)
    (batch,) = reader.batches(torch.tensor([5, 69]), torch.tensor([1, 3]))
    assert torch.equal(batch.inputs[0], batch.inputs[1])


@pytest.mark.parametrize(
    ("arm", "views"),
    [("distilled", 4), ("hard-teacher", 4), ("shuffled-teacher", 4), ("scratch", 1), ("label-smoothing", 1)],
)
def test_only_who_hears_the_teacher_is_bound_to_its_views(arm, views):
    given = lesson_with()
    found = lesson_of(arm, Distill(views=4), given.examples, given.signals, PREPROCESS, seed=0)
    assert found.views == views


def test_views_are_counted_or_live():
    assert Distill(views=8).views == 8
    with pytest.raises(ValueError, match="views must be 1 or more, or live, not 0"):
        Distill(views=0)


# --- the labels of a mix ---------------------------------------------------------------------------------------------


def values_of(objective, logits, labels, partners, shares):
    signal = Signal(torch.zeros_like(logits))
    batch = Batch(torch.zeros(len(labels), 1), labels, signal, partners, shares)
    return Learner(torch.nn.Identity()).values(Term("t", 1.0, objective), Signal(logits), batch)


def test_a_label_objective_hears_both_labels_of_a_mix_by_their_shares():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels, partners = torch.tensor([0, 1, 2, UNLABELLED]), torch.tensor([2, 1, UNLABELLED, 0])
    shares = torch.tensor([0.7, 0.4, 0.9, 0.25])
    log_q = logits.double().log_softmax(1)
    expected = [
        -0.7 * log_q[0, 0] - 0.3 * log_q[0, 2],
        -log_q[1, 1],
        -0.9 * log_q[2, 2],
        -0.75 * log_q[3, 0],
    ]
    found = values_of(CrossEntropy(), logits, labels, partners, shares)
    torch.testing.assert_close(found.double(), torch.stack(expected), rtol=1e-5, atol=1e-6)


def test_what_hears_no_labels_hears_the_teacher_about_the_mix_and_nothing_else():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(4, dtype=torch.int64)
    mixed = values_of(SoftTargets(), logits, labels, labels + 1, torch.full((4,), 0.3))
    assert torch.equal(mixed, SoftTargets()(Signal(logits), Signal(torch.zeros_like(logits)), labels))


def test_the_gradient_of_a_mixed_step_is_that_of_the_soft_label(tmp_path):
    """Zhang 2018: cross-entropy with the mixed one-hot label."""
    lesson = lesson_with(terms=(Term("student_loss", 1.0, CrossEntropy()),))
    student = student_of(Mlp(hidden=(8,)))
    batch = batch_of(reader_of(replace(lesson, signals=None), AUGMENTS[1], tmp_path), 0)
    assert (batch.shares < 1).any()
    add_gradients(Learner(student), batch, lesson.terms, Counts(6, 6))
    found = [parameter.grad.clone() for parameter in student.parameters()]
    student.zero_grad()
    one_hot, partner = (F.one_hot(y, len(CLASSES)) for y in (batch.labels, batch.partners))
    soft = batch.shares[:, None] * one_hot + (1 - batch.shares[:, None]) * partner
    F.cross_entropy(student(batch.inputs), soft).backward()
    for gradient, parameter in zip(found, student.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-7)


def test_a_mix_has_the_label_of_its_partner(tmp_path):
    # Pictures of one value that is their label: the pixels tell who was mixed in.
    examples = examples_of()
    flat = replace(examples, inputs=torch.zeros_like(examples.inputs) + examples.labels.view(-1, 1, 1, 1) * 100)
    reader = reader_of(replace(lesson_with(examples), examples=flat), Augment(cutmix=1.0), tmp_path)
    (batch,) = reader.batches(torch.arange(64), torch.zeros(64, dtype=torch.int64))
    shown = (batch.inputs * 255 / 100).mean(dim=(1, 2, 3))
    torch.testing.assert_close(shown, batch.shares * batch.labels + (1 - batch.shares) * batch.partners)
    assert len(batch.partners.unique()) == 3


@pytest.mark.parametrize("augment", [Augment(mixup=0.4), Augment(cutmix=1.0), Augment(mixup=1.0, cutmix=0.3)])
def test_the_counts_are_the_labels_that_mixes_hold_on_average(tmp_path, augment):
    examples = examples_of().hide_labels(torch.arange(64) % 4 != 0)
    lesson = Lesson(examples, None, TERMS, PREPROCESS)
    reader = reader_of(lesson, augment, tmp_path)
    held = []
    for epoch in range(150):
        (batch,) = reader.batches(torch.arange(64), torch.full((64,), epoch))
        own, partners = (labels != UNLABELLED for labels in (batch.labels, batch.partners))
        held.append(float((batch.shares * own + (1 - batch.shares) * partners).sum()))
    error = np.std(held) / len(held) ** 0.5
    assert abs(np.mean(held) - lesson.counts(64).labelled) < 4 * error
    assert error < 0.4


def test_a_shuffled_teacher_of_several_views_keeps_the_choice_about_each(tmp_path):
    examples = examples_of()
    views = Views(examples, AUGMENTS[1], seed=STORED_VIEWS, cycle=3)
    signals = label(tmp_path / "labels", WHO, examples, views=views, watch=unwatched, stop=Stop()).signals
    shuffled, rows = signals.shuffled(5), torch.arange(64)
    for number in range(3):
        numbers = torch.full((64,), number)
        before, after = (each.fetch(rows, examples.inputs, numbers).logits for each in (signals, shuffled))
        assert torch.equal(before.argmax(1), after.argmax(1))
        assert sorted(before.tolist()) == sorted(after.tolist())
        assert (before != after).any(dim=1).double().mean() > 0.5
