"""Fit: it learns, it stops where it is asked, and it goes on as if it had never stopped."""

import contextlib
import json
import os
import random
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from lessons import SCENES, TERMS, examples_of, lesson_with, place_in, sha, student_of
from torch import nn

from limbeck.data import UNLABELLED
from limbeck.errors import DataError, Interrupted, RecipeError
from limbeck.models import ConvNet, Mlp
from limbeck.objectives import DIST, CrossEntropy
from limbeck.progress import Stop, stoppable
from limbeck.training import (
    SGD,
    AdamW,
    Constant,
    Fit,
    Learner,
    Term,
    World,
    configured,
    fit,
    gradient_norms,
    train_step,
)
from limbeck.training.checkpoint import Checkpoints
from limbeck.training.lesson import Reader
from limbeck.training.loss import Batch
from limbeck.training.order import Order

STEPS = 12  # three epochs of four steps


def train(directory, scene="mlp with dropout", *, steps=STEPS, seed=0, lesson=None, watch=None, stop=None, **settings):
    """Train a scene's student in a directory, from the checkpoint that lies there."""
    spec, given = SCENES[scene]
    settings = Fit(**{**vars(given), **settings})
    options = {} if watch is None else {"watch": watch}
    return fit(
        student_of(spec, seed),
        lesson or lesson_with(),
        settings,
        steps=steps,
        seed=seed,
        place=place_in(directory, stop=stop, **options),
    )


def stop_after(step, number=signal.SIGINT):
    """A stop, and the watcher that asks for it after that many steps."""
    stop = Stop()

    def watch(progress):
        if progress.done == step:
            stop.request(number)

    return {"stop": stop, "watch": watch}


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


# --- it learns -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", SCENES)
def test_a_toy_problem_is_learnt(tmp_path, scene):
    lesson = lesson_with()
    student = train(tmp_path, scene, steps=150, checkpoint_seconds=60)
    with torch.no_grad():
        predicted = student(lesson.preprocess(lesson.examples.inputs)).argmax(1)
    assert (predicted == lesson.examples.labels).double().mean() > 0.9
    assert not any(part.training for part in student.modules())
    losses = [line["distillation_loss"] for line in lines(tmp_path)]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_a_fit_is_the_plain_loop_that_anyone_would_write(tmp_path):
    lesson = lesson_with()
    student = train(tmp_path, "no momentum", steps=8, schedule=Constant())
    other = student_of(Mlp(hidden=(16,)))
    optimizer = torch.optim.SGD(other.parameters(), lr=0.05, weight_decay=0.0005)
    order = Order(64, 16, 0)
    for step in range(8):
        rows, _ = order.at(step)
        logits = other(lesson.examples.inputs[rows].float() / 255)
        teacher = lesson.signals.tensors["logits"][rows].float()
        hard = nn.functional.cross_entropy(logits, lesson.examples.labels[rows])
        soft = nn.functional.kl_div(
            (logits / 4).log_softmax(1), (teacher / 4).log_softmax(1), log_target=True, reduction="batchmean"
        )
        optimizer.zero_grad()
        (0.1 * hard + 0.9 * 16 * soft).backward()
        optimizer.step()
    for mine, theirs in zip(student.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_micro_batches_add_up_to_one_batch(tmp_path):
    shas = [
        train(tmp_path / str(parts), "no momentum", accumulate=parts, optimizer=SGD(lr=0.05)).state_dict()
        for parts in (1, 2, 5)
    ]
    for other in shas[1:]:
        for name, value in shas[0].items():
            torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-6)


def test_seeds_make_students_of_their_own(tmp_path):
    assert len({sha(train(tmp_path / str(seed), seed=seed)) for seed in range(3)}) == 3
    assert sha(train(tmp_path / "again", seed=0)) == sha(train(tmp_path / "0", seed=0))


def test_unlabelled_examples_are_heard_through_the_teacher_alone(tmp_path):
    examples = examples_of().hide_labels(torch.arange(64) < 6)
    student = train(tmp_path, "no momentum", lesson=lesson_with(examples), optimizer=AdamW(lr=0.01), steps=150)
    with torch.no_grad():
        predicted = student(examples.inputs.float() / 255).argmax(1)
    assert (predicted == lesson_with(examples).signals.tensors["logits"].argmax(1)).double().mean() > 0.9
    assert (examples.labels == UNLABELLED).sum() == 58


def test_batch_norm_moves_and_is_saved(tmp_path):
    class Normed(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    def run(directory, **options):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            student = Normed()
        return fit(student, lesson_with(), Fit(batch_size=16), steps=6, seed=0, place=place_in(directory, **options))

    whole = run(tmp_path / "whole")
    assert int(whole[2].num_batches_tracked) == 6
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", **stop_after(3))
    assert sha(run(tmp_path / "cut")) == sha(whole)


# --- it goes on exactly ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """sha256 of the student of each scene, trained in one go."""
    return {scene: sha(train(tmp_path_factory.mktemp("whole"), scene)) for scene in SCENES}


@pytest.mark.parametrize("scene", SCENES)
def test_a_fit_stopped_anywhere_ends_in_the_same_bits(tmp_path, uninterrupted, scene):
    for step in (1, 3, 4, 5, 10):
        directory = tmp_path / str(step)
        with pytest.raises(Interrupted, match="SIGINT"):
            train(directory, scene, **stop_after(step))
        assert sha(train(directory, scene)) == uninterrupted[scene], step


def test_a_fit_stopped_again_and_again_ends_in_the_same_bits(tmp_path, uninterrupted):
    for step in range(1, STEPS):
        with pytest.raises(Interrupted):
            train(tmp_path, **stop_after(step))
    assert sha(train(tmp_path)) == uninterrupted["mlp with dropout"]
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, STEPS + 1))


def test_how_often_it_is_saved_is_nothing_to_the_result(tmp_path, uninterrupted):
    assert sha(train(tmp_path, "convnet, adamw", checkpoint_seconds=0)) == uninterrupted["convnet, adamw"]


def test_a_finished_fit_is_not_done_again(tmp_path, uninterrupted):
    train(tmp_path)
    before = lines(tmp_path)
    student = train(tmp_path)
    assert sha(student) == uninterrupted["mlp with dropout"]
    assert not student.training
    assert lines(tmp_path) == before


def test_the_callers_randomness_is_left_alone(tmp_path):
    torch.manual_seed(11)
    state = torch.get_rng_state()
    train(tmp_path)
    gradient_norms(student_of(Mlp(dropout=0.5)), lesson_with(), Fit(), seed=0, place=place_in(tmp_path))
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", **stop_after(2))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(12)
    assert sha(train(tmp_path / "other")) == sha(train(tmp_path)), "nor does it matter"


def test_a_damaged_newest_checkpoint_costs_only_time(tmp_path, uninterrupted):
    with pytest.raises(Interrupted):
        train(tmp_path, checkpoint_seconds=0, **stop_after(7))
    weights = tmp_path / "fit" / "checkpoints" / "step-00000007" / "learner.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert sha(train(tmp_path)) == uninterrupted["mlp with dropout"]
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, STEPS + 1))


LONG = 150


def forked(work):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except Interrupted as stopped:
            status = stopped.exit_status
        finally:
            os._exit(status)
    return child


@pytest.mark.parametrize("scene", ["convnet, adamw", "accumulated"])
def test_a_fit_killed_at_random_moments_ends_in_the_same_bits(tmp_path, scene):
    whole = sha(train(tmp_path / "whole", scene, steps=LONG))
    randomness, kills = random.Random(0), 0
    for _ in range(5):
        child = forked(lambda: train(tmp_path / "killed", scene, steps=LONG, checkpoint_seconds=0))
        time.sleep(randomness.uniform(0.1, 0.4))
        os.kill(child, signal.SIGKILL)
        kills += os.waitpid(child, 0)[1] == signal.SIGKILL
    assert kills >= 1
    assert sha(train(tmp_path / "killed", scene, steps=LONG)) == whole
    assert [line["step"] for line in lines(tmp_path / "killed")][-1] == LONG
    steps = [line["step"] for line in lines(tmp_path / "killed")]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_after_a_safe_checkpoint(tmp_path, number, status):
    whole = sha(train(tmp_path / "whole", steps=40))

    def slowly(progress):
        time.sleep(0.02)

    def work():
        with stoppable() as stop:
            train(tmp_path / "cut", steps=40, watch=slowly, stop=stop)

    child = forked(work)
    log = tmp_path / "cut" / "metrics.jsonl"
    deadline = time.monotonic() + 20
    while not (log.exists() and log.read_text().count("\n") >= 3) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child, number)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status
    assert 3 <= len(lines(tmp_path / "cut")) < 40
    assert sha(train(tmp_path / "cut", steps=40)) == whole


def test_a_second_signal_ends_at_once(tmp_path):
    def work():
        with stoppable() as stop:
            stop.request(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

    began = time.monotonic()
    assert os.waitstatus_to_exitcode(os.waitpid(forked(work), 0)[1]) == 130
    assert time.monotonic() - began < 3


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with contextlib.suppress(KeyError), stoppable() as stop:
        assert stop.number is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == signal.SIGTERM
        raise KeyError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_stop_in_the_last_step_finds_the_work_done(tmp_path, uninterrupted):
    student = train(tmp_path, **stop_after(STEPS))
    assert sha(student) == uninterrupted["mlp with dropout"]


# --- it says what goes wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, STEPS])
@pytest.mark.parametrize("rate", [1e9, 1e38])
@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_a_divergence_is_refused_and_never_saved(tmp_path, kind, rate, steps):
    optimizer = kind(lr=rate, weight_decay=1.0)
    settings = Fit(batch_size=16, optimizer=optimizer, schedule=Constant(), checkpoint_seconds=0)
    student, place = student_of(Mlp(hidden=(16, 16))), place_in(tmp_path)
    try:
        fit(student, lesson_with(), settings, steps=steps, seed=0, place=place)
    except RecipeError as error:
        assert "diverged" in str(error)  # noqa: PT017
    else:
        assert steps < STEPS, "a rate of 1e9 is not survived for long"
        assert all(torch.isfinite(value).all() for value in student.state_dict().values())
    for path in tmp_path.rglob("learner.safetensors"):
        weights = Checkpoints(path.parent.parent, {})
        other = Learner(student_of(Mlp(hidden=(16, 16))))
        weights.restore(other, optimizer.build(other.parameters()))
        assert all(torch.isfinite(value).all() for value in other.state_dict().values())
    if (tmp_path / "metrics.jsonl").exists():
        assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
        assert "Infinity" not in (tmp_path / "metrics.jsonl").read_text()


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path):
    for world, accumulate in ((World(0, 4), 5), (World(0, 17), 1)):
        place = replace(place_in(tmp_path), world=world)
        with pytest.raises(RecipeError, match="batch_size 16"):
            fit(
                student_of(Mlp()),
                lesson_with(),
                Fit(batch_size=16, accumulate=accumulate),
                steps=1,
                seed=0,
                place=place,
            )


def test_a_batch_norm_is_not_given_micro_batches_of_one(tmp_path):
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.BatchNorm1d(3))
    with pytest.raises(RecipeError, match="at least 32 examples"):
        fit(student, lesson_with(), Fit(batch_size=16, accumulate=16), steps=1, seed=0, place=place_in(tmp_path))


def test_a_term_coupled_to_its_batch_is_not_parted(tmp_path):
    lesson = lesson_with(terms=(Term("coupled", 1.0, DIST()),))
    with pytest.raises(RecipeError, match="coupled, whose value"):
        fit(student_of(Mlp()), lesson, Fit(accumulate=2), steps=1, seed=0, place=place_in(tmp_path))
    fit(student_of(Mlp()), lesson, Fit(), steps=1, seed=0, place=place_in(tmp_path))


class Textbook(nn.Module):
    """A net of the tutorials: `.view` needs its images contiguous; a buffer and Python's dice are in play."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.out = nn.Linear(4 * 36, 3)
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, inputs):
        if self.training:
            self.seen += 1
            inputs = inputs * (1 + self.seen / 100) * random.choice((0.5, 1.0)) * float(np.random.uniform(0.9, 1.1))
        return self.out(self.conv(inputs).view(-1, 4 * 36))


def test_an_ordinary_net_with_foreign_randomness_is_trained_and_resumed_exactly(tmp_path):
    def run(directory, **options):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            student = Textbook()
        return fit(student, lesson_with(), Fit(batch_size=16), steps=6, seed=0, place=place_in(directory, **options))

    state = random.getstate(), np.random.get_state()[1].tolist()
    whole = run(tmp_path / "whole")
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", **stop_after(3))
    assert sha(run(tmp_path / "cut")) == sha(whole)


def test_ranks_that_begin_otherwise_are_refused(monkeypatch):
    def agree_with(start, weights):
        mine = (start, int(weights[:12], 16))
        other = (*mine, *(-number for number in mine))
        monkeypatch.setattr(World, "agree", lambda self, *numbers: tuple(map(max, numbers, other)))

    agree_with(3, "ab" * 32)
    World(1, 2).check_alike(3, "ab" * 32)
    for start, weights in ((2, "ab" * 32), (4, "ab" * 32), (3, "ac" * 32), (3, "aa" * 32)):
        with pytest.raises(DataError, match="rank 1"):
            World(1, 2).check_alike(start, weights)


# --- books -----------------------------------------------------------------------------------------------------------


def test_the_log_is_complete_and_foreign_lines_stay(tmp_path):
    log = tmp_path / "metrics.jsonl"
    foreign = '{"arm": "b", "seed": 0, "step": 99}\n'
    stale = '{"arm": "a", "seed": 0, "step": 2}\n'
    log.write_text(foreign + stale + '{"arm": "a", "se')
    train(tmp_path, steps=5)
    found = lines(tmp_path)
    assert found[0] == json.loads(foreign)
    assert [line["step"] for line in found[1:]] == [1, 2, 3, 4, 5]
    assert set(found[1]) == {"arm", "seed", "step", "lr", "student_loss", "distillation_loss", "seconds"}
    assert set(found[1]["seconds"]) == {"data", "teacher", "student"}
    assert all(value >= 0 for value in found[1]["seconds"].values())


def test_a_long_fit_leaves_about_a_hundred_lines_of_means(tmp_path):
    one = train(tmp_path / "each", steps=150, scene="no momentum")
    assert len(lines(tmp_path / "each")) == 150
    many = train(tmp_path / "means", steps=450, scene="no momentum")
    found = lines(tmp_path / "means")
    assert len(found) == 113
    assert found[-1]["step"] == 450
    assert not one.training
    assert not many.training


def test_the_watcher_sees_every_line(tmp_path):
    seen = []
    train(tmp_path, steps=5, watch=seen.append)
    assert [(p.stage, p.done, p.total) for p in seen] == [("a 0", step, 5) for step in range(1, 6)]
    assert seen[0].facts["student_loss"] == pytest.approx(lines(tmp_path)[0]["student_loss"])


# --- gradient norms --------------------------------------------------------------------------------------------------


def test_gradient_norms_are_of_the_weighted_terms_and_leave_the_student(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    student[3].eval()
    before, modes = sha(student), [part.training for part in student.modules()]
    doubled = tuple(Term(term.name, 2 * term.weight, term.objective) for term in TERMS)
    settings, place = Fit(batch_size=16, accumulate=4), place_in(tmp_path)
    norms = gradient_norms(student, lesson_with(), settings, seed=0, place=place)
    louder = gradient_norms(student, lesson_with(terms=doubled), settings, seed=0, place=place)
    assert set(norms) == {"student_loss", "distillation_loss"}
    assert all(value > 0 for value in norms.values())
    assert louder == pytest.approx({name: 2 * value for name, value in norms.items()})
    assert sha(student) == before
    assert [part.training for part in student.modules()] == modes
    assert all(parameter.grad is None for parameter in student.parameters())
    assert not list(tmp_path.iterdir())


def test_gradient_norms_are_those_of_the_first_step(tmp_path):
    lesson, settings = lesson_with(terms=(Term("student_loss", 0.5, CrossEntropy()),)), Fit(batch_size=16)
    student = student_of(ConvNet(channels=(4, 8)))
    norms = gradient_norms(student, lesson, settings, seed=3, place=place_in(tmp_path))
    reader = Reader(lesson, settings, 3, place_in(tmp_path), torch.channels_last)
    batches = list(reader.batches(*Order(64, 16, 3).at(0)))
    assert isinstance(batches[0], Batch)
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-9)
    train_step(Learner(student), optimizer, batches, lesson.terms, lesson.counts(16), world=World())
    expected = nn.utils.get_total_norm([p.grad for p in student.parameters()])
    assert norms["student_loss"] == pytest.approx(float(expected), rel=1e-5)


# --- torch around it -------------------------------------------------------------------------------------------------


def test_threads_and_determinism_are_set_and_put_back(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    before = torch.get_num_threads()
    with contextlib.suppress(KeyError), configured(Fit(threads=before + 1, deterministic=True)):
        assert torch.get_num_threads() == before + 1
        assert torch.are_deterministic_algorithms_enabled()
        raise KeyError
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()
