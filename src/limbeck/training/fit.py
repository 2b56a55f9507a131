"""Fit: one student, one lesson, so many steps.

Order and randomness are functions of (seed, step, rank), never of iterator state: a fit killed at any moment and
started again ends in the same bits.
"""

import copy
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from limbeck.data import derive_seed
from limbeck.errors import RecipeError
from limbeck.files import digest_tensors
from limbeck.models import layout_of
from limbeck.progress import interruption
from limbeck.training.checkpoint import Checkpoints
from limbeck.training.learner import Learner, learner_of
from limbeck.training.ledger import Ledger
from limbeck.training.lesson import Lesson, Reader
from limbeck.training.loss import Term
from limbeck.training.order import Order
from limbeck.training.place import Place
from limbeck.training.settings import Fit
from limbeck.training.step import add_gradients, train_step
from limbeck.training.world import World


@dataclass(frozen=True)
class Rungs:
    """Steps of a fit after which its student is looked at on the way.

    Args:
        after: so many steps each.
        look: is given the step and the student, in evaluation mode; what it raises ends the fit.
    """

    after: frozenset[int]
    look: Callable[[int, nn.Module], None]


def fit(
    student: nn.Module,
    lesson: Lesson,
    settings: Fit,
    *,
    steps: int,
    seed: int,
    place: Place,
    rungs: Rungs | None = None,
) -> nn.Module:
    """Train `student` in place for `steps` optimizer steps, from its newest checkpoint if it has one.

    Args:
        student: begins as it is.
        lesson: what it learns from.
        settings: how.
        steps: the budget.
        seed: of order and randomness.
        place: where.
        rungs: where it is looked at on the way; those before the checkpoint are passed over.

    Returns:
        The student, in evaluation mode; the last step counts, no step is chosen.

    Raises:
        Interrupted: a stop was asked for; the state is saved.
        RecipeError: the loss or a weight is no longer finite, or a rank would get no example of a micro-batch.
        DataError: the ranks do not begin alike.
    """
    check_parts(student, lesson.terms, settings, place.world)
    with own_randomness(place.device), learner_of(student, lesson, seed=seed, device=place.device) as learner:
        _walk(learner, lesson, settings, steps=steps, seed=seed, place=place, rungs=rungs)
    return student.eval()


def _walk(
    learner: Learner,
    lesson: Lesson,
    settings: Fit,
    *,
    steps: int,
    seed: int,
    place: Place,
    rungs: Rungs | None,
) -> None:
    """The loop of `fit`."""
    world = place.world
    optimizer = settings.optimizer.build(learner.parameters())
    checkpoints = Checkpoints(place.directory / "checkpoints", _conditions(place))
    start = checkpoints.restore(learner, optimizer)
    if world.size > 1:
        world.check_alike(start, digest_tensors(learner.state_dict()))
    order = Order(len(lesson.examples), settings.batch_size, seed)
    counts = lesson.counts(settings.batch_size)
    reader = Reader(lesson, settings, seed, place, layout_of(learner.student))
    ledger = Ledger(place, [term.name for term in lesson.terms], reader.seconds, start, steps)
    bf16 = settings.precision == "bf16"
    saved = time.monotonic()
    learner.train()
    for step in range(start, steps):
        reseed(seed, step, world.rank, place.device)
        rate = settings.optimizer.lr * settings.schedule.factor(step, steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        values_K = train_step(
            learner, optimizer, reader.batches(*order.at(step)), lesson.terms_at(step, steps), counts,
            world=world, bf16=bf16, clip=settings.clip,
        )  # fmt: skip
        ledger.add(step + 1, values_K, rate)
        if rungs is not None and step + 1 in rungs.after:
            with learner.unheard():
                rungs.look(step + 1, learner.student)
        due = world.leads and time.monotonic() - saved >= settings.checkpoint_seconds
        stopped_by, saving = world.agree(place.stop.number or 0, due)
        if stopped_by or saving or step + 1 == steps:
            ledger.flush()
            ledger.check_weights(learner)
            if world.leads:
                checkpoints.save(step + 1, learner, optimizer)
            world.wait()
            saved = time.monotonic()
        if stopped_by and step + 1 < steps:
            raise interruption(stopped_by, "run the same command again with --resume")


def gradient_norms(student: nn.Module, lesson: Lesson, settings: Fit, *, seed: int, place: Place) -> dict[str, float]:
    """The norm of each term's weighted gradient on the first batch: how loudly each speaks; the student stays."""
    rows, epochs = Order(len(lesson.examples), settings.batch_size, seed).at(0)
    # The whole batch in this process, in parts no larger than those of the fit, which are known to have room.
    alone = replace(settings, accumulate=settings.accumulate * place.world.size)
    reader = Reader(lesson, alone, seed, replace(place, world=World()), layout_of(student))
    counts, bf16 = lesson.counts(settings.batch_size), settings.precision == "bf16"
    norms = {}
    for term in lesson.terms:
        pupil = copy.deepcopy(student)
        alone_with = replace(lesson, terms=(term,))
        with (
            own_randomness(place.device),
            learner_of(pupil, alone_with, seed=seed, device=place.device) as learner,
        ):
            learner.train()
            reseed(seed, 0, 0, place.device)
            for batch in reader.batches(rows, epochs):
                add_gradients(learner, batch, [term], counts, bf16=bf16)
        # Of the student alone: what a term learns beside it is no part of what is delivered.
        gradients = [p.grad.double() for p in pupil.parameters() if p.grad is not None]
        norms[term.name] = float(nn.utils.get_total_norm(gradients))
    return norms


def reseed(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Make what is random inside the student (dropout, stochastic depth) a function of (seed, step, rank)."""
    value = derive_seed(seed, step, rank, "step")
    torch.default_generator.manual_seed(value)  # torch.manual_seed visits every device: 80 us against 1
    random.seed(value)
    np.random.seed(value & 0xFFFFFFFF)
    if device.type == "cuda":
        torch.cuda.manual_seed(value)


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """The caller's generators are left as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def check_parts(student: nn.Module, terms: Sequence[Term], settings: Fit, world: World) -> None:
    """Whether the batch of a step can be parted among micro-batches and ranks.

    Raises:
        RecipeError: too few examples for each, or a term that is coupled to its batch.
    """
    parts = settings.accumulate * world.size
    came = f"fit.batch_size {settings.batch_size} for {settings.accumulate} micro-batches on {world.size} ranks"
    # The variance of one example is no variance: a batch norm cannot learn from a micro-batch of one.
    least = parts * (2 if any(isinstance(part, _BatchNorm) for part in student.modules()) else 1)
    if settings.batch_size < least:
        raise RecipeError(
            came,
            expected=f"a batch of at least {least} examples",
            do="raise fit.batch_size, lower fit.accumulate, or start fewer processes",
        )
    coupled = [term.name for term in terms if term.objective.traits.coupling == "batch"]
    if coupled and parts > 1:
        raise RecipeError(
            f"{came}, with {', '.join(coupled)}, whose value for one example depends on the others of its batch",
            expected="the whole batch in one piece: such terms do not add up over parts",
            do="set fit.accumulate: 1 and start one process",
        )


def _conditions(place: Place) -> dict[str, str | int]:
    """What the bits of a result depend on besides the recipe."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "ranks": place.world.size,
        "device": place.device.type,
    }


@contextmanager
def configured(settings: Fit) -> Iterator[None]:
    """Torch with the threads and the determinism of these settings; both are put back."""
    assert settings.threads != "auto", "a resolved recipe has a number"
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(settings.threads)
    if settings.deterministic:  # cuBLAS asks for it, and reads it when a GPU is first used
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    _be_deterministic(settings.deterministic)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _be_deterministic(strict)


def _be_deterministic(strict: bool) -> None:
    if strict != torch.are_deterministic_algorithms_enabled():  # the call imports torch's compiler: 2 s
        torch.use_deterministic_algorithms(strict)
