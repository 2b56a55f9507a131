"""Fits whose terms learn or change: they move, they resume to the bit, and only the student is delivered."""

import contextlib
import importlib
import os
import random
import signal
import time

import pytest
import torch
from lessons import SCENES, TAPPED, TERMS, lesson_with, place_in, sha, student_of, tapped_lesson
from test_fit import forked, lines, stop_after, train
from torch import nn

from limbeck.errors import Interrupted, RecipeError
from limbeck.files import digest_tensors, read_tensors
from limbeck.models import ConvNet, Mlp
from limbeck.objectives import AttentionTransfer, CrossEntropy, RKDDistance, SoftTargets
from limbeck.training import (
    SGD,
    AdamW,
    Constant,
    Fit,
    HalfCosine,
    Linear,
    Points,
    Term,
    TermSchedule,
    World,
    check_parts,
    fit,
    gradient_norms,
    learner_of,
)
from limbeck.training.order import Order

STEPS = 12  # three epochs of four steps
SPEC = ConvNet(channels=(4, 8))
EXAMPLE_COUPLED = (*TAPPED[:4], Term("term3_at", 1.0, AttentionTransfer(student="conv2", teacher="conv2")))
CONVNETS = ("convnet, adamw", "convnet, momentum", "augmented", "bf16")


def learner_in(directory):
    """The newest checkpoint of a fit: the learner's tensors by name."""
    newest = max((directory / "fit" / "checkpoints").glob("step-*"))
    return read_tensors(newest / "learner.safetensors")


def bits(directory):
    """sha256 of what lies in the newest checkpoint, the optimizer's moments with it."""
    newest = max((directory / "fit" / "checkpoints").glob("step-*"))
    return [digest_tensors(read_tensors(newest / f"{name}.safetensors")) for name in ("learner", "optimizer")]


# --- what is learnt --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", CONVNETS)
def test_all_that_terms_learn_moves(tmp_path, scene):
    with learner_of(student_of(SPEC), tapped_lesson(), seed=0, device=torch.device("cpu")) as learner:
        before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    train(tmp_path, scene, lesson=tapped_lesson())
    after = learner_in(tmp_path)
    assert after.keys() == before.keys()
    assert {"learnt.term0_hint.weight", "learnt.term1_vid.log_scale"} <= after.keys()
    for name, tensor in after.items():
        assert tensor.isfinite().all(), name
        assert not torch.equal(tensor, before[name]), name


def test_the_terms_are_heeded(tmp_path):
    train(tmp_path, "convnet, adamw", lesson=tapped_lesson(), steps=100)
    found = lines(tmp_path)
    for term in TAPPED:
        values = [line[term.name] for line in found]
        assert sum(values[-10:]) < sum(values[:10]), term.name
    hint = [line["term0_hint"] for line in found]
    assert sum(hint[-10:]) < 0.5 * sum(hint[:10])


def test_only_the_student_is_delivered(tmp_path):
    given = student_of(SPEC)
    keys = list(given.state_dict())
    student = fit(given, tapped_lesson(), Fit(batch_size=16), steps=4, seed=0, place=place_in(tmp_path))
    assert student is given
    assert list(student.state_dict()) == keys
    assert list(student.state_dict()) == [name for name, _ in student.named_parameters()]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in student.modules())
    assert {name.removeprefix("student.") for name in learner_in(tmp_path) if name.startswith("student.")} == set(keys)


def test_hooks_are_gone_when_a_fit_is_stopped_or_fails(tmp_path):
    student = student_of(SPEC)

    def run(settings, **options):
        return fit(student, tapped_lesson(), settings, steps=4, seed=0, place=place_in(tmp_path, **options))

    with pytest.raises(Interrupted):
        run(Fit(batch_size=16), **stop_after(2))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in student.modules())
    with pytest.raises(RecipeError, match="diverged"):
        run(Fit(batch_size=16, optimizer=SGD(lr=1e30), schedule=Constant()))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in student.modules())


def test_a_student_whose_terms_learn_nothing_is_trained_as_ever(tmp_path):
    """What is learnt draws from generators of its own: a term of weight 0 beside it changes no bit of the student."""
    silent = tuple(Term(term.name, 0.0, term.objective) for term in TAPPED[2:])
    plain = train(tmp_path / "plain", "convnet, momentum", lesson=tapped_lesson(TERMS))
    beside = train(tmp_path / "beside", "convnet, momentum", lesson=tapped_lesson((*TERMS, *silent)))
    assert sha(plain) == sha(beside)


# --- it goes on exactly ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", CONVNETS)
def test_a_fit_stopped_anywhere_ends_in_the_same_bits(tmp_path, scene):
    student = train(tmp_path / "whole", scene, lesson=tapped_lesson())
    for step in (1, 4, 7):
        directory = tmp_path / str(step)
        with pytest.raises(Interrupted, match="SIGINT"):
            train(directory, scene, lesson=tapped_lesson(), **stop_after(step))
        assert sha(train(directory, scene, lesson=tapped_lesson())) == sha(student), step
        assert bits(directory) == bits(tmp_path / "whole"), step


@pytest.mark.parametrize("optimizer", [AdamW(lr=0.01), SGD(lr=0.02, momentum=0.9)], ids=lambda given: given.name)
def test_a_fit_killed_at_random_moments_ends_in_the_same_bits(tmp_path, optimizer, unsynced):
    def run(name, **options):
        settings = {"optimizer": optimizer, "steps": 100, "lesson": lesson, **options}
        return train(tmp_path / name, "convnet, adamw", **settings)

    lesson = tapped_lesson()
    whole, randomness, kills = sha(run("whole")), random.Random(0), 0
    for _ in range(4):
        child = forked(lambda: run("killed", checkpoint_seconds=0))
        time.sleep(randomness.uniform(0.1, 0.3))
        os.kill(child, signal.SIGKILL)
        kills += os.waitpid(child, 0)[1] == signal.SIGKILL
    assert kills >= 1
    assert sha(run("killed")) == whole
    assert bits(tmp_path / "killed") == bits(tmp_path / "whole")


def test_a_checkpoint_of_other_terms_is_refused(tmp_path):
    with pytest.raises(Interrupted):
        train(tmp_path, "convnet, adamw", lesson=tapped_lesson(), **stop_after(3))
    with pytest.raises(RecipeError, match="another student"):
        train(tmp_path, "convnet, adamw", lesson=tapped_lesson(TERMS))


# --- parts of a batch ------------------------------------------------------------------------------------------------


def test_micro_batches_add_up_to_one_batch(tmp_path):
    for parts in (1, 2, 5):
        lesson = tapped_lesson(EXAMPLE_COUPLED)
        train(tmp_path / str(parts), "convnet, momentum", lesson=lesson, accumulate=parts)
    whole = learner_in(tmp_path / "1")
    for parts in (2, 5):
        for name, value in learner_in(tmp_path / str(parts)).items():
            torch.testing.assert_close(value, whole[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("accumulate", "world"), [(2, World()), (1, World(0, 2))])
@pytest.mark.parametrize("objective", [TAPPED[-1].objective, RKDDistance(student="head", teacher="flatten")])
def test_a_relation_is_not_parted(objective, accumulate, world):
    settings = Fit(batch_size=16, accumulate=accumulate)
    with pytest.raises(RecipeError, match="term0_relation, whose value"):
        check_parts(student_of(SPEC), (*TAPPED[:4], Term("term0_relation", 1.0, objective)), settings, world)
    check_parts(student_of(SPEC), EXAMPLE_COUPLED, settings, world)


# --- schedules -------------------------------------------------------------------------------------------------------

ALPHA = Linear(start=0.9, end=0.1)
SCHEDULED = (
    Term("student_loss", 0.9, CrossEntropy(), TermSchedule(weight=ALPHA)),
    Term(
        "distillation_loss",
        0.1,
        SoftTargets(temperature=8.0),
        TermSchedule(weight=ALPHA.complement(), temperature=HalfCosine(start=8.0, end=1.0)),
    ),
    Term("term0_hint", 0.0, TAPPED[2].objective, TermSchedule(weight=Points(points=((0.0, 0.0), (0.5, 2.0))))),
)


@contextlib.contextmanager
def used(monkeypatch):
    """The terms of each step, as they were used."""
    module = importlib.import_module("limbeck.training.fit")  # its package gives the function of that name
    seen, real = [], module.train_step

    def spy(learner, optimizer, batches, terms, *others, **options):
        seen.append(terms)
        return real(learner, optimizer, batches, terms, *others, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "train_step", spy)
        yield seen


def figures(terms):
    return [terms[0].weight, terms[1].weight, terms[1].objective.temperature, terms[2].weight]


@pytest.mark.parametrize("steps", [1, 2, 3, STEPS])
def test_each_step_has_the_values_of_its_share(tmp_path, monkeypatch, steps):
    with used(monkeypatch) as seen:
        train(tmp_path, "convnet, adamw", lesson=tapped_lesson(SCHEDULED), steps=steps)
    assert len(seen) == steps
    assert [term.name for term in seen[0]] == [term.name for term in SCHEDULED]
    assert figures(seen[0]) == [0.9, pytest.approx(0.1), 8.0, 0.0]
    if steps > 1:
        assert figures(seen[-1]) == [0.1, pytest.approx(0.9), 1.0, 2.0]
    for step, terms in enumerate(seen):
        share = step / max(1, steps - 1)
        alpha = 0.9 - 0.8 * share
        temperature = 4.5 + 3.5 * torch.tensor(torch.pi * share).double().cos().item()
        assert figures(terms) == pytest.approx([alpha, 1 - alpha, temperature, min(2.0, 4 * share)])


def test_a_fit_with_schedules_is_the_plain_loop_that_anyone_would_write(tmp_path):
    lesson, steps = lesson_with(terms=SCHEDULED[:2]), 8
    student = train(tmp_path, "no momentum", lesson=lesson, steps=steps, schedule=Constant())
    other = student_of(Mlp(hidden=(16,)))
    optimizer = torch.optim.SGD(other.parameters(), lr=0.05, weight_decay=0.0005)
    order, hard_values = Order(64, 16, 0), []
    for step in range(steps):
        rows, _ = order.at(step)
        alpha = 0.9 - 0.8 * step / (steps - 1)
        temperature = HalfCosine(start=8.0, end=1.0).at(step / (steps - 1))
        logits = other(lesson.examples.inputs[rows].float() / 255)
        teacher = lesson.signals.tensors["logits"][rows].float()
        hard = nn.functional.cross_entropy(logits, lesson.examples.labels[rows])
        soft = nn.functional.kl_div(
            (logits / temperature).log_softmax(1),
            (teacher / temperature).log_softmax(1),
            log_target=True,
            reduction="batchmean",
        )
        optimizer.zero_grad()
        (alpha * hard + (1 - alpha) * temperature**2 * soft).backward()
        optimizer.step()
        hard_values.append(hard.item())
    for mine, theirs in zip(student.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
    assert [line["student_loss"] for line in lines(tmp_path)] == pytest.approx(hard_values, rel=1e-5)


def test_a_fit_stopped_within_a_schedule_ends_in_the_same_bits(tmp_path, monkeypatch):
    lesson = tapped_lesson(SCHEDULED)
    with used(monkeypatch) as whole:
        student = train(tmp_path / "whole", "convnet, momentum", lesson=lesson)
    for step in (1, 5, 11):
        directory = tmp_path / str(step)
        with used(monkeypatch) as seen:
            with pytest.raises(Interrupted):
                train(directory, "convnet, momentum", lesson=lesson, **stop_after(step))
            assert sha(train(directory, "convnet, momentum", lesson=lesson)) == sha(student)
        assert list(map(figures, seen)) == list(map(figures, whole))
        assert bits(directory) == bits(tmp_path / "whole")


def test_gradient_norms_are_of_the_first_step(tmp_path):
    settings = Fit(**vars(SCENES["convnet, adamw"][1]))
    place = place_in(tmp_path)
    lesson = tapped_lesson(SCHEDULED)
    norms = gradient_norms(student_of(SPEC), lesson, settings, seed=0, place=place)
    first = tapped_lesson(lesson.terms_at(0, STEPS))
    assert norms == gradient_norms(student_of(SPEC), first, settings, seed=0, place=place)
    assert norms["term0_hint"] == 0.0
