"""Logit objectives beyond soft targets on any input at all: closed forms and invariances; and what they refuse."""

import math
import re

import pytest
import torch
from any_logits import any_temperature, assert_close, labels_for, logit_pairs, run, run_plain
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.functional import (
    bernoulli_kd,
    binary_cross_entropy,
    dist,
    dkd,
    jsd,
    kd,
    logit_mse,
    nkd,
    reverse_kl,
    standardised,
    total_variation,
    ttm,
)
from limbeck.objectives import (
    DIST,
    DKD,
    NKD,
    TTM,
    UNLABELLED,
    BernoulliTargets,
    HardTargets,
    LogitMSE,
    SoftTargets,
)
from limbeck.signal import Signal

# ------------------------------------------------------------------- the target class and the others


@settings(deadline=None)
@given(logit_pairs(), st.floats(0.5, 50.0))
def test_kd_is_its_two_parts_with_the_weight_that_hides_the_second(pair, temperature):
    """KD = TCKD + (1 - b_t) NCKD (Zhao 2022, equation 6)."""
    student, teacher = pair
    labels = labels_for(student)
    target, others = (
        dkd(student, teacher, labels, temperature=temperature, target_weight=w, non_target_weight=1 - w) for w in (1, 0)
    )
    doubt = 1 - (teacher / temperature).softmax(dim=1).gather(1, labels[:, None])[:, 0]
    wanted = kd(student, teacher, temperature=temperature)
    assert_close(target + doubt * others, wanted, 1e-9 * max(1, temperature) ** 2)


@settings(deadline=None)
@given(logit_pairs(), any_temperature)
def test_of_two_classes_only_the_target_is_left(pair, temperature):
    student, teacher = (logits[:, :2] for logits in pair)
    labels = labels_for(student)
    values = dkd(student, teacher, labels, temperature=temperature, non_target_weight=7.0)
    assert_close(values, kd(student, teacher, temperature=temperature), 1e-9 * max(1, temperature) ** 2)
    without = nkd(student, teacher, labels, temperature=temperature, non_target_weight=0.0)
    assert_close(nkd(student, teacher, labels, temperature=temperature, non_target_weight=7.0), without)


@settings(deadline=None)
@given(logit_pairs(), st.floats(0.5, 20.0), st.floats(0.0, 4.0))
def test_the_gradient_of_nkd_is_that_of_a_weighed_cross_entropy_and_of_dkd(pair, temperature, weight):
    """p_y (q - onehot(y)) + gamma times the gradient of NCKD: the entropy of the others is a constant."""
    student, teacher = pair
    labels = labels_for(student)
    _, gradient = run_plain(
        lambda leaf: nkd(leaf, teacher, labels, temperature=temperature, non_target_weight=weight), student
    )
    others = {"temperature": temperature, "target_weight": 0.0, "non_target_weight": 1.0}
    _, of_others = run_plain(lambda leaf: dkd(leaf, teacher, labels, **others), student)
    confidence = teacher.softmax(dim=1).gather(1, labels[:, None])
    onehot = torch.nn.functional.one_hot(labels, student.shape[1])
    assert_close(gradient, confidence * (student.softmax(dim=1) - onehot) + weight * of_others, 1e-8)


@pytest.mark.parametrize("function", [dkd, nkd])
def test_a_label_that_is_no_class_is_refused_and_an_absent_one_is_not_nan(function):
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    for label in (-1, 5):
        with pytest.raises((RuntimeError, IndexError)):
            function(student, teacher, torch.tensor([0, label, 1, 2]))
    student[:, 0] = teacher[:, 0] = -math.inf
    values, gradient = run_plain(lambda leaf: function(leaf, teacher, torch.tensor([0, UNLABELLED, 1, 2])), student)
    assert values.isfinite().all()
    assert gradient.isfinite().all()
    assert values[1] == 0
    assert not gradient[1].any()


ABSENT = -math.inf
GONE = [
    ([1.0, 2.0, 0.0], [1.0, 2.0, ABSENT], 2),  # The target, at the teacher alone.
    ([1.0, 2.0, 0.0], [1.0, ABSENT, 0.5], 2),  # Another class, at the teacher alone.
    ([1.0, 2.0, 0.0], [ABSENT, ABSENT, 0.5], 2),  # All others, at the teacher alone.
    ([1.0, ABSENT, ABSENT], [2.0, ABSENT, ABSENT], 0),  # All others, at both.
    ([1.0, ABSENT, ABSENT], [2.0, ABSENT, ABSENT], 2),  # All but another class than the target.
    ([1.0, 0.5, ABSENT], [2.0, -1.0, ABSENT], 2),  # The target, at both.
]
"""Student's and teacher's logits and the label."""


@pytest.mark.parametrize(("student", "teacher", "label"), GONE)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_class_that_one_says_is_impossible_is_not_absent(student, teacher, label, temperature):
    """b_t = 0 is a claim: the identity of KD and its parts holds, and softplus(s) is the price of a wrong yes."""
    student, teacher = torch.tensor([[student], [teacher]], dtype=torch.float64)
    labels, confidence = torch.tensor([label]), (teacher / temperature).softmax(dim=1)[:, label]

    def part(leaf, target_weight):
        weights = {"target_weight": target_weight, "non_target_weight": 1 - target_weight}
        return dkd(leaf, teacher, labels, temperature=temperature, **weights)

    values, gradient = run_plain(lambda leaf: part(leaf, 1) + (1 - confidence) * part(leaf, 0), student)
    wanted, wanted_gradient = run_plain(lambda leaf: kd(leaf, teacher, temperature=temperature), student)
    assert_close(values, wanted)
    assert_close(gradient, wanted_gradient)
    values, gradient = run_plain(lambda leaf: nkd(leaf, teacher, labels), student)
    p_N, q_N = (x.softmax(dim=1)[0] for x in (teacher, student))
    others = [c for c in range(3) if c != label and p_N[c] > 0]
    soft = [x[others] / x[[c for c in range(3) if c != label]].sum() for x in (p_N, q_N)]
    target = -p_N[label] * q_N[label].log() if p_N[label] > 0 else 0.0
    assert_close(values[0], torch.as_tensor(target - 1.5 * (soft[0] * soft[1].log()).sum(), dtype=torch.float64))
    assert gradient.isfinite().all()
    values, gradient = run_plain(lambda leaf: bernoulli_kd(leaf, teacher, temperature=1.0), student)
    yes, believed = teacher.sigmoid(), student.sigmoid()
    wanted = torch.special.xlogy(yes, yes / believed.clamp(min=1e-300)) + torch.special.xlogy(
        1 - yes, (1 - yes) / (1 - believed)
    )
    assert_close(values, wanted.sum(dim=1))
    assert_close(gradient, believed - yes)


@pytest.mark.parametrize("function", [dkd, nkd])
def test_what_the_student_says_is_impossible_costs_everything(function):
    """An infinite value and not NaN: the target, another class, and all other classes."""
    teacher, labels = torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([2])
    for student in ([1.0, 2.0, ABSENT], [1.0, ABSENT, 0.0], [ABSENT, ABSENT, 0.0]):
        assert function(torch.tensor([student]), teacher, labels).tolist() == [math.inf]
    assert bernoulli_kd(torch.tensor([[1.0, ABSENT]]), torch.tensor([[1.0, 0.0]])).tolist() == [math.inf]


def test_dist_hears_that_the_teacher_finds_a_class_impossible():
    student = torch.tensor([[1.0, 2.0, 0.0], [0.3, 0.1, 0.9]], dtype=torch.float64)
    teacher = torch.tensor([[1.0, 2.0, ABSENT], [0.5, 0.7, ABSENT]], dtype=torch.float64)
    assert_close(dist(student, teacher), dist(student, teacher.clamp(min=-700)))


# --------------------------------------------------------------------------------- the other ones


@settings(deadline=None)
@given(logit_pairs(), st.floats(0.02, 1.0))
def test_ttm_softens_the_teacher_alone(pair, exponent):
    student, teacher = pair
    assert_close(ttm(student, teacher, exponent=1.0), kd(student, teacher, temperature=1.0))
    values, gradient = run_plain(lambda leaf: ttm(leaf, teacher, exponent=exponent), student)
    assert_close(values, kd(student, exponent * teacher, temperature=1.0))
    assert_close(gradient, student.softmax(dim=1) - (exponent * teacher).softmax(dim=1))
    power_sum = teacher.softmax(dim=1).pow(exponent).sum(dim=1)
    assert_close(ttm(student, teacher, exponent=exponent, weighted=True), power_sum * values)


@settings(deadline=None)
@given(logit_pairs(most=5.0, least_classes=3), st.floats(1.0, 4.0), st.floats(0.0, 3.0), st.floats(0.1, 3.0))
def test_dist_lies_between_agreement_and_its_opposite(pair, temperature, inter_weight, intra_weight):
    student, teacher = pair
    weights = {"temperature": temperature, "inter_weight": inter_weight, "intra_weight": intra_weight}
    values = dist(student, teacher, **weights)
    assert (values >= -1e-9).all()
    assert (values <= 2 * temperature**2 * (inter_weight + intra_weight) + 1e-9).all()


@settings(deadline=None)
@given(st.integers(2, 9), st.integers(3, 12), st.integers(0, 2**32), st.floats(1.0, 4.0))
def test_dist_at_the_teacher_is_what_its_epsilon_leaves_and_of_one_example_a_constant(
    count, classes, seed, temperature
):
    teacher = torch.randn(count, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = dist(teacher, teacher, temperature=temperature)
    p = (teacher / temperature).softmax(dim=1)
    inter, intra = (1e-8 / ((p - p.mean(dim, keepdim=True)).square().sum(dim) + 1e-8) for dim in (1, 0))
    assert_close(values, temperature**2 * (inter + intra.mean()))
    values, gradient = run_plain(
        lambda leaf: dist(leaf, teacher[:1], inter_weight=0.0, intra_weight=3.0), teacher[:1].flip(1)
    )
    assert values.tolist() == [3.0]
    assert not gradient.any()


@settings(deadline=None)
@given(logit_pairs(least_classes=3), st.floats(0.1, 10.0), st.floats(-50.0, 50.0))
def test_standardised_logits_do_not_know_their_size_or_offset(pair, size, offset):
    student, _ = pair
    scores = standardised(student)
    if student.std(dim=1).min() > 0.1:
        torch.testing.assert_close(standardised(size * student + offset), scores, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(scores.std(dim=1), torch.ones(len(student), dtype=torch.float64), rtol=1e-5, atol=0)
    torch.testing.assert_close(scores.sum(dim=1), torch.zeros(len(student), dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("jitter", [0.0, 1e-12, 1e-7])
def test_a_constant_row_is_standardised_to_zeros_with_a_bounded_gradient(dtype, jitter):
    constant = 7 + jitter * torch.randn(3, 6, dtype=dtype)
    teacher = torch.randn(3, 6, dtype=dtype)
    values, gradient = run(SoftTargets(standardise=True, temperature=2.0), constant, teacher)
    assert values.isfinite().all()
    assert gradient.isfinite().all()
    assert gradient.abs().max() <= 2e3


def test_absent_classes_have_no_part_in_a_standard_deviation():
    logits = torch.randn(4, 6, dtype=torch.float64)
    absent = torch.full((4, 2), -math.inf, dtype=torch.float64)
    scores = standardised(torch.cat((absent, logits), dim=1))
    assert (scores[:, :2] == -math.inf).all()
    torch.testing.assert_close(scores[:, 2:], standardised(logits))


@settings(deadline=None)
@given(logit_pairs(), any_temperature)
def test_one_yes_or_no_is_kd_of_two_classes(pair, temperature):
    """sigmoid(s) = softmax([s, 0]), so that several are the sum of several."""
    student, teacher = pair
    values, gradient = run_plain(lambda leaf: bernoulli_kd(leaf, teacher, temperature=temperature), student)
    padded = [torch.stack((logits, torch.zeros_like(logits)), dim=-1) for logits in pair]
    assert_close(values, kd(*padded, temperature=temperature).sum(dim=1), 1e-9 * max(1, temperature) ** 2)
    assert_close(gradient, temperature * ((student / temperature).sigmoid() - (teacher / temperature).sigmoid()))
    alone = bernoulli_kd(student[:, :1], teacher[:, :1], temperature=temperature)
    assert_close(alone, kd(padded[0][:, 0], padded[1][:, 0], temperature=temperature), 1e-9 * max(1, temperature) ** 2)


@settings(deadline=None)
@given(logit_pairs())
def test_answers_may_be_given_as_a_class_or_one_by_one(pair):
    student, _ = pair
    labels = labels_for(student)
    hot = torch.nn.functional.one_hot(labels, student.shape[1])
    values, gradient = run_plain(lambda leaf: binary_cross_entropy(leaf, labels), student)
    assert_close(binary_cross_entropy(student, hot), values)
    assert_close(gradient, student.sigmoid() - hot)
    unknown = hot.masked_fill(torch.rand_like(student) < 0.5, UNLABELLED)
    values, gradient = run_plain(lambda leaf: binary_cross_entropy(leaf, unknown), student)
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(student, hot.double(), reduction="none")
    assert_close(values, torch.where(unknown == UNLABELLED, 0.0, wanted).sum(dim=1))
    assert not gradient[unknown == UNLABELLED].any()
    single = binary_cross_entropy(student[:, :1], torch.ones_like(labels))
    assert_close(single, -torch.nn.functional.logsigmoid(student[:, 0]))


@pytest.mark.parametrize("function", [kd, reverse_kl, jsd, total_variation, ttm, logit_mse, bernoulli_kd, dkd, nkd])
def test_a_plain_function_takes_tokens_as_it_takes_examples(function):
    student, teacher = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    labels = [torch.randint(5, (3, 4))] if function in (dkd, nkd) else []
    values = function(student, teacher, *labels)
    assert values.shape == (3, 4)
    flat = function(student.flatten(0, 1), teacher.flatten(0, 1), *(given.flatten() for given in labels))
    torch.testing.assert_close(values.flatten(), flat)


def test_traits_are_those_of_the_setting():
    assert SoftTargets().traits is SoftTargets.traits
    assert not SoftTargets(divergence="total-variation").traits.smooth
    assert "total" not in SoftTargets.traits.formula
    assert DIST().traits.coupling == "batch"
    assert DIST(intra_weight=0.0).traits.coupling == "example"
    assert TTM(exponent=1.0).traits.zero_at_teacher
    assert not TTM().traits.zero_at_teacher
    assert [
        objective.traits.shift_invariant
        for objective in (LogitMSE(), LogitMSE(centred=True), LogitMSE(standardise=True), BernoulliTargets())
    ] == [False, True, True, False]


# -------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("temperature", [0.0, -1.0, 1e-4, 1e7, 1e200, math.inf, -math.inf, math.nan])
def test_a_temperature_that_is_none_is_refused(temperature):
    """T^2 overflows at 1e200, and at 1e20 float32 has only NaN."""
    said = re.escape(f"temperature must be a positive number, 0.001 to 1e+06, not {temperature}")
    for kind in (SoftTargets, BernoulliTargets, DKD, DIST, NKD):
        with pytest.raises(ValueError, match=said):
            kind(temperature=temperature)
    logits, labels = torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)
    for function, more in ((bernoulli_kd, ()), (dkd, (labels,)), (dist, ()), (nkd, (labels,))):
        with pytest.raises(ValueError, match=said):
            function(logits, logits, *more, temperature=temperature)


@pytest.mark.parametrize("exponent", [0.0, -1.0, 1e-7, 1e4, math.inf, math.nan])
def test_an_exponent_that_is_none_is_refused(exponent):
    said = re.escape(f"exponent must be a positive number, 1e-06 to 1000, not {exponent}")
    with pytest.raises(ValueError, match=said):
        TTM(exponent=exponent)
    with pytest.raises(ValueError, match=said):
        ttm(torch.zeros(4, 3), torch.zeros(4, 3), exponent=exponent)


@pytest.mark.parametrize("temperature", [1e-3, 1e6])
@pytest.mark.parametrize("kind", [BernoulliTargets, DKD, DIST, NKD])
def test_the_last_temperatures_that_are_taken_give_numbers(kind, temperature):
    student, teacher = 30 * torch.randn(2, 9, 5)
    for value in run(kind(temperature=temperature), student, teacher, labels_for(student)):
        assert value.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (DKD, ("target_weight", "non_target_weight")),
        (DIST, ("inter_weight", "intra_weight")),
        (NKD, ("non_target_weight",)),
    ],
)
def test_weights_are_not_negative(kind, names):
    for name in names:
        for weight in (-1.0, math.inf, math.nan):
            with pytest.raises(ValueError, match=f"{name} must be 0 or a positive number, not {weight}"):
                kind(**{name: weight})
    if len(names) > 1:
        with pytest.raises(ValueError, match=f"{names[0]} and {names[1]} must not both be 0: leave the objective out"):
            kind(**dict.fromkeys(names, 0.0))


def test_what_would_be_ignored_is_refused():
    with pytest.raises(ValueError, match="centred expected logits that still have a mean, got standardise"):
        LogitMSE(centred=True, standardise=True)
    with pytest.raises(ValueError, match="standardise expected three classes or more, got 2"):
        standardised(torch.zeros(3, 2))


@pytest.mark.parametrize("function", [dkd, nkd])
def test_one_class_has_no_others(function):
    logits = torch.zeros(3, 1)
    with pytest.raises(ValueError, match=f"{function.__name__} expected two classes or more, got 1: for one logit"):
        function(logits, logits, torch.zeros(3, dtype=torch.int64))


def test_answers_that_are_none_are_refused():
    logits = torch.zeros(4, 3)
    with pytest.raises(ValueError, match=r"labels \[N\] or \[N, C\], got \(4, 1\) beside logits \(4, 3\)"):
        binary_cross_entropy(logits, torch.zeros(4, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected answers of 1, 0 or -100, got 2: 1 is yes, 0 is no"):
        binary_cross_entropy(logits, torch.full((4, 3), 2))
    with pytest.raises(RuntimeError):
        binary_cross_entropy(logits, torch.full((4,), 3))


@pytest.mark.parametrize("objective", [SoftTargets(), HardTargets(), DKD(), LogitMSE()], ids=lambda given: given.name)
def test_a_refusal_names_both_shapes(objective):
    logits = torch.zeros(4, 3)
    labels = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"\(4, 3\) from the student and \(4, 1\) from the teacher"):
        objective(Signal(logits), Signal(logits[:, :1]), labels)
    with pytest.raises(ValueError, match=f"{objective.name} expected the teacher's signal, got None"):
        objective(Signal(logits), None, labels)


@pytest.mark.parametrize("function", [kd, reverse_kl, jsd, total_variation, dist, ttm])
def test_one_logit_is_no_softmax(function):
    one = torch.zeros(3, 1)
    with pytest.raises(ValueError, match="expected 2 classes or more, got 1: for one logit take bernoulli_kd"):
        function(one, one)


@pytest.mark.parametrize("function", [kd, bernoulli_kd, logit_mse])
def test_logits_without_a_row_for_each_example_are_refused(function):
    flat = torch.zeros(3)
    with pytest.raises(ValueError, match=r"expected a row for each example, \[N, C\], got \(3,\)"):
        function(flat, flat)


def test_binary_answers_in_the_wrong_form_are_refused_in_words():
    with pytest.raises(ValueError, match=r"give logits\[:, None\]"):
        binary_cross_entropy(torch.zeros(6), torch.ones(6, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"labels\.long\(\)"):
        binary_cross_entropy(torch.zeros(6, 2), torch.ones(6))
