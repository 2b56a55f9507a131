"""Soft targets, hard targets and cross-entropy on any input at all, and what they refuse."""

import math

import pytest
import torch
from any_logits import any_temperature, assert_close, labels_for, logit_pairs, run, run_plain
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.functional import jsd, kd, logit_mse, reverse_kl, total_variation
from limbeck.objectives import CrossEntropy, HardTargets, SoftTargets
from limbeck.signal import Signal

any_divergence = st.sampled_from(
    [
        {"divergence": "forward-kl"},
        {"divergence": "reverse-kl"},
        {"divergence": "jsd", "beta": 0.1},
        {"divergence": "jsd", "beta": 0.5},
        {"divergence": "normalised-jsd", "beta": 0.1},
        {"divergence": "normalised-jsd", "beta": 0.9},
        {"divergence": "total-variation"},
    ]
)


@settings(deadline=None)
@given(logit_pairs(), any_temperature, any_divergence)
def test_a_temperature_is_a_scale_of_the_logits(pair, temperature, divergence):
    """Of both logits, and T^2 of the value: kd(T; s, t) = T^2 kd(1; s/T, t/T)."""
    student, teacher = pair
    softened = run(SoftTargets(temperature=temperature, **divergence), student, teacher)
    plain = run(SoftTargets(temperature=1.0, **divergence), student / temperature, teacher / temperature)
    assert_close(softened[0], temperature**2 * plain[0])
    assert_close(softened[1], temperature * plain[1])


@settings(deadline=None)
@given(logit_pairs(), any_temperature)
def test_its_gradient_is_the_difference_of_the_soft_probabilities(pair, temperature):
    student, teacher = pair
    _, gradient = run(SoftTargets(temperature=temperature), student, teacher)
    q, p = (logits / temperature for logits in pair)
    wanted = temperature * (q.softmax(dim=1) - p.softmax(dim=1))
    torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@given(logit_pairs(most=3.0), st.sampled_from([(kd, 1.0), (reverse_kl, 1.0), (jsd, 0.25)]))
def test_at_a_high_temperature_it_matches_centred_logits(pair, divergence):
    """T -> inf: half the mean over classes of the centred difference squared (Hinton 2015, section 2.1).

    Of the jsd beta (1 - beta) times that.
    """
    student, teacher = pair
    function, share = divergence
    values, gradient = run_plain(lambda leaf: function(leaf, teacher, temperature=1e4), student)
    # The next order is a share max|logit| / T of this one; the floor is T^2 times rounding.
    wanted, wanted_gradient = run_plain(lambda leaf: share * 0.5 * logit_mse(leaf, teacher, centred=True), student)
    torch.testing.assert_close(values, wanted, rtol=5e-3, atol=1e-6)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=5e-3, atol=float(5e-3 * wanted_gradient.abs().max()))


@settings(deadline=None)
@given(logit_pairs(), any_temperature, any_divergence)
def test_no_divergence_is_negative(pair, temperature, divergence):
    values, _ = run(SoftTargets(temperature=temperature, **divergence), *pair)
    assert (values >= -1e-13 * temperature**2).all()


@settings(deadline=None)
@given(
    logit_pairs(most=1e4, dtype=torch.float32),
    any_temperature,
    any_divergence,
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_low_precision_is_finite_and_negative_by_rounding_alone(pair, temperature, divergence, dtype):
    student, teacher = (logits.to(dtype) for logits in pair)
    objective = SoftTargets(temperature=temperature, **divergence)
    values, gradient = run(objective, student, teacher)
    wanted, _ = run(objective, student.double(), teacher.double())
    largest = max(student.abs().max(), teacher.abs().max()).double() / temperature
    # A logit's rounding, eps x largest, moves a probability by as much, and that weighs differences of `largest`.
    # A normalised jsd is divided by 0.09.
    rounding = 12 * torch.finfo(torch.float32).eps * temperature**2 * (1 + largest) ** 2
    assert values.dtype == torch.float32
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()
    assert (values.double() >= -rounding).all()
    assert ((values.double() - wanted).abs() <= rounding).all()


@settings(deadline=None)
@given(logit_pairs(most=8.0), st.floats(1.0, 100.0), any_divergence, st.sampled_from([torch.float32, torch.bfloat16]))
def test_from_temperature_1_to_100_values_and_gradients_have_their_digits(pair, temperature, divergence, dtype):
    """In float32, also from bfloat16 logits: a value to T^2, a gradient to T times a few roundings; never below 0."""
    student, teacher = (logits.to(dtype) for logits in pair)
    objective = SoftTargets(temperature=temperature, **divergence)
    values, gradient = run(objective, student.float(), teacher.float())
    wanted, wanted_gradient = run(objective, student.double(), teacher.double())
    ties = divergence["divergence"] == "total-variation" and bool((wanted_gradient == 0).any())
    share = 12 if divergence["divergence"] == "normalised-jsd" else 1  # divided by 0.09
    assert ((values.double() - wanted).abs() <= share * 5e-7 * temperature**2 + 1e-5 * wanted).all()
    assert (values >= 0).all()
    near_ties = student.double().softmax(dim=1) - teacher.double().softmax(dim=1)
    if not ties and near_ties.abs().min() > 1e-5:
        assert ((gradient.double() - wanted_gradient).abs() <= 5e-6 * temperature).all()
    raised, _ = run(objective, student, teacher)
    torch.testing.assert_close(raised, values, rtol=0.0, atol=0.0)


@settings(deadline=None)
@given(logit_pairs(), any_temperature, st.floats(0.01, 0.99))
def test_a_jsd_seen_from_the_other_side_has_the_other_share(pair, temperature, beta):
    student, teacher = pair
    ours = jsd(student, teacher, temperature=temperature, beta=beta)
    assert_close(ours, jsd(teacher, student, temperature=temperature, beta=1 - beta), 1e-9 * max(1, temperature) ** 2)
    entropy = -beta * math.log(beta) - (1 - beta) * math.log(1 - beta)
    assert (ours <= temperature**2 * entropy * (1 + 1e-12)).all()


@settings(deadline=None)
@given(logit_pairs(most=5.0), st.floats(1.0, 20.0))
def test_a_normalised_jsd_goes_from_one_kl_to_the_other(pair, temperature):
    student, teacher = pair
    for beta, end in ((1e-6, kd), (1 - 1e-6, reverse_kl)):
        wanted = end(student, teacher, temperature=temperature)
        near = jsd(student, teacher, temperature=temperature, beta=beta, normalised=True)
        torch.testing.assert_close(near, wanted, rtol=1e-2, atol=1e-6)
        plain = jsd(student, teacher, temperature=temperature, beta=beta)
        torch.testing.assert_close(plain, beta * (1 - beta) * near)
        assert_close(jsd(student, teacher, temperature=temperature, beta=round(beta), normalised=True), wanted)
        assert_close(jsd(student, teacher, temperature=temperature, beta=round(beta)), wanted)


@settings(deadline=None)
@given(logit_pairs(), any_temperature)
def test_a_total_variation_is_a_distance_of_at_most_one(pair, temperature):
    student, teacher = pair
    values = total_variation(student, teacher, temperature=temperature) / temperature**2
    assert ((values >= 0) & (values <= 1 + 1e-12)).all()
    assert_close(values, total_variation(teacher, student, temperature=temperature) / temperature**2)
    # Pinsker's inequality.
    assert (values**2 <= kd(student, teacher, temperature=temperature) / temperature**2 / 2 + 1e-12).all()


@settings(deadline=None)
@given(logit_pairs(), st.floats(0.0, 0.99))
def test_smoothing_moves_cross_entropy_towards_the_uniform(pair, smoothing):
    student, _ = pair
    labels = labels_for(student)
    plain = CrossEntropy()(Signal(student), None, labels)
    smooth = CrossEntropy(smoothing=smoothing)(Signal(student), None, labels)
    uniform = -student.log_softmax(dim=1).mean(dim=1)
    torch.testing.assert_close(smooth, (1 - smoothing) * plain + smoothing * uniform)


@settings(deadline=None)
@given(logit_pairs())
def test_hard_targets_are_cross_entropy_with_the_teachers_first_choice(pair):
    student, teacher = pair
    values, gradient = run(HardTargets(), student, teacher)
    wanted = run_plain(lambda leaf: CrossEntropy()(Signal(leaf), None, teacher.argmax(dim=1)), student)
    torch.testing.assert_close((values, gradient), wanted)


# -------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, math.nan])
def test_a_smoothing_that_is_none_is_refused(smoothing):
    with pytest.raises(ValueError, match=f"smoothing must be at least 0 and below 1, not {smoothing}"):
        CrossEntropy(smoothing=smoothing)


def test_a_beta_belongs_to_the_jsd():
    assert SoftTargets(divergence="jsd") == SoftTargets(divergence="jsd", beta=0.5)
    for divergence in ("forward-kl", "reverse-kl", "total-variation"):
        assert SoftTargets(divergence=divergence).beta is None
        with pytest.raises(ValueError, match=f"beta belongs to jsd and normalised-jsd, not to {divergence}"):
            SoftTargets(divergence=divergence, beta=0.5)
    for beta in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=f"beta must be 0 to 1, not {beta}"):
            SoftTargets(divergence="jsd", beta=beta)


@pytest.mark.parametrize("function", [kd, reverse_kl, jsd, total_variation])
@pytest.mark.parametrize("temperature", [0.0, -1.0, 1e200, math.nan])
def test_a_plain_function_refuses_a_temperature_that_is_none(function, temperature):
    logits = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="temperature must be a positive number"):
        function(logits, logits, temperature=temperature)
