"""Settings of a fit: schedules by their formulas, and nonsense refused."""

import math

import pytest
import torch

from limbeck.training import SGD, AdamW, Constant, Cosine, Fit, OneCycle


def torch_factors(make, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    schedule = make(optimizer)
    factors = []
    for _ in range(steps):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step() if len(factors) < steps else None
    return factors


@pytest.mark.parametrize("steps", [1, 2, 7, 100, 1001])
def test_cosine_is_that_of_torch(steps):
    expected = torch_factors(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps), steps)
    assert [Cosine(warmup=0.0).factor(k, steps) for k in range(steps)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("steps", [5, 10, 100, 1001])
@pytest.mark.parametrize("warmup", [0.25, 0.3, 0.5, 0.9])
def test_one_cycle_is_that_of_torch(steps, warmup):
    def make(optimizer):
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=1.0, total_steps=steps, pct_start=warmup, cycle_momentum=False
        )

    factors = [OneCycle(warmup=warmup).factor(k, steps) for k in range(steps)]
    assert factors == pytest.approx(torch_factors(make, steps), abs=1e-12)
    assert factors[-1] == pytest.approx(1 / 250_000)


def test_one_cycle_without_warm_up_begins_near_the_top():
    assert OneCycle(warmup=0.0).factor(0, 1000) == pytest.approx(1.0, abs=1e-5)


def test_the_warm_up_is_a_line_to_the_full_rate():
    for schedule in (Cosine(warmup=0.1), Constant(warmup=0.1)):
        assert [schedule.factor(k, 100) for k in range(10)] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert [Constant(warmup=0.1).factor(k, 100) for k in (10, 50, 99)] == [1.0, 1.0, 1.0]
    assert Cosine(warmup=0.1).factor(55, 100) == pytest.approx(0.5)
    assert Cosine(warmup=0.1).factor(99, 100) == pytest.approx((1 + math.cos(math.pi * 89 / 90)) / 2)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 97])
@pytest.mark.parametrize("warmup", [0.0, 0.01, 0.05, 0.3, 0.333, 0.5, 0.99])
@pytest.mark.parametrize("kind", [Constant, Cosine, OneCycle])
def test_every_factor_is_a_share_and_none_is_zero(kind, warmup, steps):
    factors = [kind(warmup=warmup).factor(k, steps) for k in range(steps)]
    assert all(0.0 < factor <= 1.0 for factor in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


@pytest.mark.parametrize("kind", [Constant, Cosine, OneCycle])
@pytest.mark.parametrize("warmup", [-0.1, 1.0, 1.5, math.nan])
def test_a_warm_up_that_is_no_share_is_refused(kind, warmup):
    with pytest.raises(ValueError, match="warmup"):
        kind(warmup=warmup)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (AdamW, {"lr": 0.0}),
        (AdamW, {"lr": -1.0}),
        (AdamW, {"lr": math.inf}),
        (AdamW, {"lr": math.nan}),
        (AdamW, {"weight_decay": -0.1}),
        (AdamW, {"weight_decay": math.nan}),
        (AdamW, {"betas": (0.9, 1.0)}),
        (AdamW, {"betas": (-0.1, 0.9)}),
        (SGD, {"lr": math.nan}),
        (SGD, {"weight_decay": -1.0}),
        (SGD, {"momentum": 1.0}),
        (SGD, {"momentum": -0.5}),
        (SGD, {"momentum": math.nan}),
        (SGD, {"momentum": 0.0, "nesterov": True}),
        (Fit, {"epochs": 0}),
        (Fit, {"batch_size": 0}),
        (Fit, {"accumulate": 0}),
        (Fit, {"threads": 0}),
        (Fit, {"batch_size": 3, "accumulate": 4}),
        (Fit, {"clip": 0.0}),
        (Fit, {"clip": math.nan}),
        (Fit, {"checkpoint_seconds": -1.0}),
        (Fit, {"checkpoint_seconds": math.nan}),
    ],
)
def test_nonsense_is_refused_by_name(kind, values):
    with pytest.raises(ValueError, match=next(iter(values))):
        kind(**values)


def test_optimizers_are_those_of_torch_with_these_settings():
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    adam = AdamW(lr=0.01, weight_decay=0.2, betas=(0.8, 0.99)).build(parameters).param_groups[0]
    assert (adam["lr"], adam["weight_decay"], adam["betas"], adam["fused"]) == (0.01, 0.2, (0.8, 0.99), True)
    sgd = SGD(lr=0.1, weight_decay=0.0, momentum=0.5, nesterov=True).build(parameters).param_groups[0]
    assert (sgd["lr"], sgd["momentum"], sgd["nesterov"], sgd["fused"]) == (0.1, 0.5, True, True)


def test_steps_make_the_epochs_full():
    assert Fit(epochs=3, batch_size=16).steps(48) == 9
    assert Fit(epochs=3, batch_size=16).steps(49) == 10
    assert Fit(epochs=1, batch_size=128).steps(1) == 1
