"""Every objective of the catalogue keeps every promise that its traits imply."""

import dataclasses
import math

import pytest
import torch
from definitions import cross_entropy, forward_kl, hard_targets, reverse_kl
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.objectives import CATALOGUE, UNLABELLED, CrossEntropy, HardTargets, SoftTargets
from limbeck.signal import Signal
from limbeck.testing import PROMISES, check_definition, check_objective

DEFINED = [
    (CrossEntropy(), cross_entropy(0.0)),
    (CrossEntropy(smoothing=0.1), cross_entropy(0.1)),
    (SoftTargets(), forward_kl(4.0)),
    (SoftTargets(temperature=1.0), forward_kl(1.0)),
    (SoftTargets(temperature=20.0), forward_kl(20.0)),
    (SoftTargets(divergence="reverse-kl"), reverse_kl(4.0)),
    (SoftTargets(divergence="reverse-kl", temperature=1.0), reverse_kl(1.0)),
    (SoftTargets(divergence="reverse-kl", temperature=20.0), reverse_kl(20.0)),
    (HardTargets(), hard_targets),
]


def described(objective):
    settings = [str(value) for value in dataclasses.asdict(objective).values()]
    return "-".join(settings)


OBJECTIVES = [pytest.param(objective, id=described(objective)) for objective, _ in DEFINED]


def test_the_whole_catalogue_is_held_to_the_contract():
    assert {type(objective) for objective, _ in DEFINED} == set(CATALOGUE.values())
    for name, kind in CATALOGUE.items():
        assert kind().name == name


@pytest.mark.parametrize(
    ("promise", "objective"),
    [
        pytest.param(promise, objective, id=f"{promise.name}-{described(objective)}")
        for promise in PROMISES
        for objective, _ in DEFINED
        if promise.applies(objective)
    ],
)
def test_it_keeps_its_promises(promise, objective):
    promise(objective)


@pytest.mark.parametrize(("objective", "definition"), [pytest.param(*pair, id=described(pair[0])) for pair in DEFINED])
def test_it_is_what_its_paper_defines(objective, definition):
    check_definition(objective, definition)
    check_objective(objective, definition)


def test_every_promise_is_asked_of_some_objective():
    for promise in PROMISES:
        assert any(promise.applies(objective) for objective, _ in DEFINED), promise.name


# ------------------------------------------------------------------------------- any input at all

any_temperature = st.floats(0.05, 100.0)
any_divergence = st.sampled_from(["forward-kl", "reverse-kl"])


@st.composite
def logit_pairs(draw, most=30.0, dtype=torch.float64):
    shape = (draw(st.integers(1, 9)), draw(st.integers(2, 12)))
    scale = draw(st.floats(1e-3, most))
    noise = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    student, teacher = scale * (2 * torch.rand(2, *shape, generator=noise, dtype=torch.float64) - 1)
    return student.to(dtype), teacher.to(dtype)


def run(objective, student, teacher):
    leaf = student.detach().clone().requires_grad_()
    labels = torch.full((len(student),), UNLABELLED)
    values = objective(Signal(leaf), Signal(teacher), labels)
    values.sum().backward()
    return values.detach(), leaf.grad


@settings(deadline=None)
@given(logit_pairs(), any_temperature, any_divergence)
def test_a_temperature_is_a_scale_of_the_logits(pair, temperature, divergence):
    """Of both logits, and T^2 of the value: kd(T; s, t) = T^2 kd(1; s/T, t/T)."""
    student, teacher = pair
    softened = run(SoftTargets(temperature=temperature, divergence=divergence), student, teacher)
    plain = run(SoftTargets(temperature=1.0, divergence=divergence), student / temperature, teacher / temperature)
    torch.testing.assert_close(softened[0], temperature**2 * plain[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(softened[1], temperature * plain[1], rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(logit_pairs(), any_temperature)
def test_its_gradient_is_the_difference_of_the_soft_probabilities(pair, temperature):
    student, teacher = pair
    _, gradient = run(SoftTargets(temperature=temperature), student, teacher)
    q, p = (logits / temperature for logits in pair)
    wanted = temperature * (q.softmax(dim=1) - p.softmax(dim=1))
    torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@given(logit_pairs(most=3.0), any_divergence)
def test_at_a_high_temperature_it_matches_centred_logits(pair, divergence):
    """T -> inf: half the mean over classes of the centred difference squared (Hinton 2015, section 2.1)."""
    student, teacher = pair
    temperature = 1e4
    values, gradient = run(SoftTargets(temperature=temperature, divergence=divergence), student, teacher)
    centred = (student - teacher) - (student - teacher).mean(dim=1, keepdim=True)
    # The next order is a share max|logit| / T of this one; the floor is T^2 times rounding.
    torch.testing.assert_close(values, 0.5 * centred.square().mean(dim=1), rtol=5e-3, atol=1e-6)
    torch.testing.assert_close(gradient, centred / student.shape[1], rtol=5e-3, atol=5e-3 * gradient.abs().max())


@settings(deadline=None)
@given(logit_pairs(), any_temperature)
def test_both_divergences_are_never_negative(pair, temperature):
    for divergence in ("forward-kl", "reverse-kl"):
        values, _ = run(SoftTargets(temperature=temperature, divergence=divergence), *pair)
        assert (values >= -1e-14 * temperature**2).all()


@settings(deadline=None)
@given(
    logit_pairs(most=1e4, dtype=torch.float32),
    any_temperature,
    any_divergence,
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_low_precision_is_finite_and_negative_by_rounding_alone(pair, temperature, divergence, dtype):
    student, teacher = (logits.to(dtype) for logits in pair)
    objective = SoftTargets(temperature=temperature, divergence=divergence)
    values, gradient = run(objective, student, teacher)
    wanted, _ = run(objective, student.double(), teacher.double())
    largest = max(student.abs().max(), teacher.abs().max()).double() / temperature
    # A logit's rounding, eps x largest, moves a probability by as much, and that weighs differences of `largest`.
    rounding = 4 * torch.finfo(torch.float32).eps * temperature**2 * (1 + largest) ** 2
    assert values.dtype == torch.float32
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()
    assert (values.double() >= -rounding).all()
    assert ((values.double() - wanted).abs() <= rounding).all()


@settings(deadline=None)
@given(logit_pairs(), st.floats(0.0, 0.99))
def test_smoothing_moves_cross_entropy_towards_the_uniform(pair, smoothing):
    student, _ = pair
    labels = torch.arange(len(student)) % student.shape[1]
    plain = CrossEntropy()(Signal(student), None, labels)
    smooth = CrossEntropy(smoothing=smoothing)(Signal(student), None, labels)
    uniform = -student.log_softmax(dim=1).mean(dim=1)
    torch.testing.assert_close(smooth, (1 - smoothing) * plain + smoothing * uniform)


@settings(deadline=None)
@given(logit_pairs())
def test_hard_targets_are_cross_entropy_with_the_teachers_first_choice(pair):
    student, teacher = pair
    values, gradient = run(HardTargets(), student, teacher)
    leaf = student.clone().requires_grad_()
    wanted = CrossEntropy()(Signal(leaf), None, teacher.argmax(dim=1))
    wanted.sum().backward()
    torch.testing.assert_close(values, wanted.detach())
    torch.testing.assert_close(gradient, leaf.grad)


# -------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, -math.inf, math.nan])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ValueError, match=f"temperature must be a positive number, not {temperature}"):
        SoftTargets(temperature=temperature)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, math.nan])
def test_a_smoothing_that_is_none_is_refused(smoothing):
    with pytest.raises(ValueError, match=f"smoothing must be at least 0 and below 1, not {smoothing}"):
        CrossEntropy(smoothing=smoothing)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_is_frozen_and_keyword_only(objective):
    with pytest.raises(dataclasses.FrozenInstanceError):
        objective.name = "other"
    with pytest.raises(TypeError):
        type(objective)(objective.name)


@pytest.mark.parametrize("objective", [SoftTargets(), HardTargets()], ids=described)
def test_a_refusal_names_both_shapes(objective):
    logits = torch.zeros(4, 3)
    labels = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"\(4, 3\) from the student and \(4, 1\) from the teacher"):
        objective(Signal(logits), Signal(logits[:, :1]), labels)
    with pytest.raises(ValueError, match=f"{objective.name} expected the teacher's signal, got None"):
        objective(Signal(logits), None, labels)
