"""How long a step takes, measured on a few that are thrown away."""

import copy
import statistics
import time
from dataclasses import dataclass

import torch
from torch import nn

from limbeck.models import layout_of
from limbeck.training.fit import own_randomness, reseed
from limbeck.training.learner import learner_of
from limbeck.training.lesson import Lesson, Reader
from limbeck.training.order import Order
from limbeck.training.place import Place
from limbeck.training.settings import Fit
from limbeck.training.step import train_step

COLD, FEWEST = 2, 3
"""Steps that are not counted, and those that are measured whatever they take."""


@dataclass(frozen=True)
class StepCost:
    """What one step of a fit costs.

    Args:
        seconds: it takes once warm: the mean, for what disturbs a step now and then disturbs the fit.
        bytes: of a checkpoint: weights, what is learnt beside them, and the optimizer's state.
    """

    seconds: float
    bytes: int


def step_cost_of(
    student: nn.Module, lesson: Lesson, settings: Fit, *, seed: int, place: Place, seconds: float
) -> StepCost:
    """Take steps of a fit on a copy of the student for about so many seconds; nothing is written, the student stays.

    Raises:
        RecipeError: as `fit` does before its first step.
    """
    pupil, steps = copy.deepcopy(student), settings.steps(len(lesson.examples))
    with own_randomness(place.device), learner_of(pupil, lesson, seed=seed, device=place.device) as learner:
        optimizer = settings.optimizer.build(learner.parameters())
        order, counts = Order(len(lesson.examples), settings.batch_size, seed), lesson.counts(settings.batch_size)
        reader = Reader(lesson, settings, seed, place, layout_of(pupil))
        learner.train()
        took: list[float] = []
        began = time.perf_counter()
        while len(took) < COLD + FEWEST or time.perf_counter() - began < seconds:
            step, at = len(took), time.perf_counter()
            reseed(seed, step, place.world.rank, place.device)
            train_step(
                learner, optimizer, reader.batches(*order.at(step)), lesson.terms_at(step % steps, steps), counts,
                world=place.world, bf16=settings.precision == "bf16", clip=settings.clip,
            )  # fmt: skip
            if place.device.type == "cuda":
                torch.cuda.synchronize(place.device)
            took.append(time.perf_counter() - at)
        state = [value for values in optimizer.state.values() for value in values.values()]
        kept = [*learner.state_dict().values(), *(value for value in state if isinstance(value, torch.Tensor))]
        return StepCost(statistics.fmean(took[COLD:]), sum(tensor.nbytes for tensor in kept))
