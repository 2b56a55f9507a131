"""Top-k signals: the largest logits, the exact mass of the rest, and the temperatures at which that is known."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import DTYPES, assert_near, assert_same_values, cases, leaf, read

from limbeck.objectives import DKD, LogitMSE, SoftTargets
from limbeck.objectives.buckets import bucketed
from limbeck.objectives.logits.hard_targets import HardTargets
from limbeck.signal import Signal, Top

NONE = torch.tensor(0)
DIVERGENCES = ("forward-kl", "reverse-kl", "jsd", "total-variation")


def top_of(teacher, k, temperatures=(1.0,)):
    """The k largest of dense logits and the tails, in NumPy, sharing nothing with the product."""
    rows = teacher.double().numpy()
    ids = np.argsort(-rows, axis=1, kind="stable")[:, :k]
    tails = {}
    for t in temperatures:
        rest = np.exp(rows / t)
        np.put_along_axis(rest, ids, 0.0, axis=1)
        with np.errstate(divide="ignore"):
            tails[t] = torch.from_numpy(np.log(rest.sum(axis=1))).to(teacher.dtype)
    ids = torch.from_numpy(ids)
    return Signal(teacher.gather(1, ids), top=Top(ids, tails, rows.shape[1]))


def draw(seed, examples=5, classes=9, size=3.0):
    generator = torch.Generator().manual_seed(seed)
    return (size * torch.randn(2, examples, classes, generator=generator, dtype=torch.float64)).unbind(0)


def value_and_gradient(objective, student, signal):
    student = student.clone().requires_grad_()
    values = objective(Signal(student), signal, NONE)
    values.sum().backward()
    return values.detach(), student.grad


@pytest.mark.parametrize(("name", "case", "dtype"), cases("topk_tail_kl"))
def test_it_is_the_published_divergence_with_one_tail_bucket(name, case, dtype):
    tensors, facts = read(name, case)
    student, kind = leaf(tensors["student"], dtype), DTYPES[dtype]
    ids, teacher = tensors["topk_ids"], tensors["teacher"].double()
    tails = {1.0: teacher.scatter(1, ids, -math.inf).logsumexp(1).to(kind)}
    signal = Signal(teacher.gather(1, ids).to(kind), top=Top(ids, tails, student.shape[1]))
    values = SoftTargets(temperature=1.0)(Signal(student), signal, NONE)
    (values.sum() / len(values)).backward()
    assert_near(values.sum() / len(values), {"student": student.grad}, tensors, facts, dtype)
    assert_same_values(values, tensors["per_example"], dtype)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_all_classes_kept_is_the_dense_signal(divergence, temperature):
    student, teacher = draw(0)
    objective = SoftTargets(temperature=temperature, divergence=divergence)
    found = value_and_gradient(objective, student, top_of(teacher, 9, (1.0, temperature)))
    for one, other in zip(found, value_and_gradient(objective, student, Signal(teacher)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@given(seed=st.integers(0, 2**16), temperature=st.sampled_from([0.5, 1.0, 4.0, 20.0]))
@settings(max_examples=40, deadline=None)
def test_a_bucket_never_adds_and_more_classes_never_take_away(seed, temperature):
    student, teacher = draw(seed)
    for divergence in DIVERGENCES:
        objective = SoftTargets(temperature=temperature, divergence=divergence)
        dense = objective(Signal(student), Signal(teacher), NONE)
        values = [objective(Signal(student), top_of(teacher, k, (temperature,)), NONE) for k in range(1, 10)]
        for fewer, more in itertools.pairwise(values):
            assert (fewer <= more + 1e-9 * (1 + dense)).all()
        assert (values[0] >= -1e-12).all()
        assert (values[-1] <= dense * (1 + 1e-9) + 1e-12).all()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_its_gradient_is_that_of_the_masses(temperature):
    """d/ds_v = T (q_v - p_v) on the kept, T q_v (1 - p_tail / q_tail) off them (LOSSES, topk_tail_kl, times T)."""
    student, teacher = draw(3)
    signal = top_of(teacher, 4, (temperature,))
    _, gradient = value_and_gradient(SoftTargets(temperature=temperature), student, signal)
    q, p = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
    kept = torch.zeros_like(q, dtype=torch.bool).scatter(1, signal.top.ids, True)
    q_tail, p_tail = ((x * ~kept).sum(1, keepdim=True) for x in (q, p))
    expected = temperature * torch.where(kept, q - p, q * (1 - p_tail / q_tail))
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


def test_at_the_teacher_there_is_nothing_to_learn():
    _, teacher = draw(1)
    values, gradient = value_and_gradient(SoftTargets(temperature=4.0), teacher, top_of(teacher, 3, (4.0,)))
    torch.testing.assert_close(values, torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [80.0, 400.0])
def test_extreme_logits_stay_finite_in_single_precision(size):
    student, teacher = (x.float() for x in draw(2, size=size / 3))
    values, gradient = value_and_gradient(SoftTargets(temperature=1.0), student, top_of(teacher, 2))
    assert values.isfinite().all()
    assert gradient.isfinite().all()


def test_a_temperature_whose_tail_is_not_known_is_refused():
    student, teacher = draw(0)
    with pytest.raises(ValueError, match="known at the temperatures 1, 4, not at 3"):
        SoftTargets(temperature=3.0)(Signal(student), top_of(teacher, 3, (1.0, 4.0)), NONE)


@pytest.mark.parametrize("objective", [DKD(), LogitMSE(), SoftTargets(temperature=1.0, standardise=True)])
def test_an_objective_that_needs_every_class_says_so(objective):
    student, teacher = draw(0)
    with pytest.raises(ValueError, match="expected the teacher's logits of all 9 classes, got the 3 largest"):
        objective(Signal(student), top_of(teacher, 3), torch.zeros(5, dtype=torch.int64))


def test_hard_targets_take_the_largest_whatever_the_tail():
    student, _ = draw(0)
    teacher = torch.zeros_like(student)
    teacher[:, 6] = 0.01  # the tail of seven classes outweighs it
    dense = HardTargets()(Signal(student), Signal(teacher), NONE)
    torch.testing.assert_close(HardTargets()(Signal(student), top_of(teacher, 2), NONE), dense)


def test_a_student_of_other_classes_is_refused():
    student, teacher = draw(0)
    with pytest.raises(ValueError, match="expected a student of 9 classes for 5 examples"):
        bucketed(student[:, :8], top_of(teacher, 3), 1.0)
