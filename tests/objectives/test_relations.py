"""Relation objectives on any input at all: closed forms, invariances, digits and memory; and what they refuse."""

import math
import re
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.functional import (
    in_batch_contrastive,
    pkt,
    rkd_angle,
    rkd_distance,
    similarity_preserving,
)
from limbeck.objectives import InBatchContrastive
from limbeck.objectives.directions import unit
from limbeck.objectives.relations import common
from limbeck.objectives.relations import rkd_angle as rkd_angle_file
from limbeck.objectives.relations.common import distances, gram, product

RELATIONS = (rkd_distance, rkd_angle, pkt, similarity_preserving)
any_relation = st.sampled_from(RELATIONS)
seeds = st.integers(0, 2**32)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@st.composite
def feature_pairs(draw, least=1):
    count = draw(st.integers(least, 9))
    seed, scale = draw(seeds), draw(st.floats(0.1, 10.0))
    student = scale * normal(count, draw(st.integers(2, 12)), seed=seed)
    return student, normal(count, draw(st.integers(2, 12)), seed=seed + 1)


def run(relation, student, teacher):
    """Values, and the gradient of their sum at the student's features."""
    leaf = student.detach().clone().requires_grad_()
    values = relation(leaf, teacher)
    values.sum().backward()
    return values.detach(), leaf.grad


def contrast(student, teacher, temperature=0.07):
    """In-batch contrast of features as they are."""
    return in_batch_contrastive(student, teacher, torch.nn.Identity(), torch.nn.Identity(), temperature=temperature)


def assert_close(got, wanted, tolerance=1e-9):
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)


# ----------------------------------------------------------------------------- what changes nothing


@settings(deadline=None)
@given(feature_pairs(), any_relation, seeds)
def test_a_turn_of_the_features_of_one_side_is_nothing(pair, relation, seed):
    student, teacher = pair
    values, gradient = run(relation, student, teacher)
    turn, _ = torch.linalg.qr(normal(student.shape[1], student.shape[1], seed=seed))
    turned_values, turned_gradient = run(relation, student @ turn, teacher)
    assert_close(turned_values, values)
    assert_close(turned_gradient @ turn.T, gradient)
    turn, _ = torch.linalg.qr(normal(teacher.shape[1], teacher.shape[1], seed=seed))
    assert_close(relation(student, teacher @ turn), values)


@settings(deadline=None)
@given(feature_pairs(), st.sampled_from([rkd_distance, rkd_angle, similarity_preserving]), st.floats(0.01, 1e3))
def test_the_size_of_the_features_is_nothing(pair, relation, scale):
    student, teacher = pair
    values, gradient = run(relation, student, teacher)
    scaled_values, scaled_gradient = run(relation, scale * student, teacher)
    assert_close(scaled_values, values)
    assert_close(scale * scaled_gradient, gradient)
    assert_close(relation(student, scale * teacher), values)


@settings(deadline=None)
@given(feature_pairs(), seeds)
def test_the_length_of_each_example_is_nothing_to_cosines(pair, seed):
    """To PKT up to its epsilon, and of features above 0: of nearly opposite ones the epsilon is no small share."""
    student, teacher = pair
    lengths = 0.5 + normal(len(student), 1, seed=seed).abs()
    assert_close(pkt(lengths * student.abs(), teacher), pkt(student.abs(), teacher), 1e-4)
    width = min(student.shape[1], teacher.shape[1])
    student, teacher = student[:, :width], teacher[:, :width]
    assert_close(contrast(lengths * student, teacher), contrast(student, teacher))


@settings(deadline=None)
@given(feature_pairs(), st.sampled_from([rkd_distance, rkd_angle]), seeds)
def test_a_shift_of_all_features_is_nothing(pair, relation, seed):
    student, teacher = pair
    wanted = run(relation, student, teacher)
    got = run(relation, student + 10 * normal(student.shape[1], seed=seed), teacher)
    for one, other in zip(got, wanted, strict=True):
        assert_close(one, other)
    assert_close(wanted[1].sum(dim=0), torch.zeros(student.shape[1], dtype=torch.float64))


@settings(deadline=None)
@given(feature_pairs(), any_relation, seeds)
def test_examples_in_another_order_are_the_same_values_in_that_order(pair, relation, seed):
    student, teacher = pair
    values, gradient = run(relation, student, teacher)
    order = torch.randperm(len(student), generator=torch.Generator().manual_seed(seed))
    got_values, got_gradient = run(relation, student[order], teacher[order])
    assert_close(got_values, values[order])
    assert_close(got_gradient, gradient[order])


@settings(deadline=None)
@given(feature_pairs(least=2), any_relation)
def test_a_student_that_relates_as_the_teacher_does_is_done(pair, relation):
    _, teacher = pair
    turn, _ = torch.linalg.qr(normal(teacher.shape[1], teacher.shape[1]))
    values, gradient = run(relation, teacher @ turn, teacher)
    assert_close(values, torch.zeros_like(values))
    assert_close(gradient, torch.zeros_like(gradient), 1e-3 if relation is pkt else 1e-6)


@pytest.mark.parametrize("relation", RELATIONS)
def test_maps_are_vectors(relation):
    student, teacher = normal(6, 3, 4, 4), normal(6, 5, 2, 2, seed=1)
    values, gradient = run(relation, student, teacher)
    flat_values, flat_gradient = run(relation, student.flatten(1), teacher.flatten(1))
    assert torch.equal(values, flat_values)
    assert torch.equal(gradient.flatten(1), flat_gradient)


# -------------------------------------------------------------------------------------- few examples


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("relation", [*RELATIONS, contrast])
def test_one_example_has_no_relations(relation, dtype):
    values, gradient = run(relation, normal(1, 5, dtype=dtype), normal(1, 5, seed=1, dtype=dtype))
    assert_close(values, torch.zeros(1, dtype=dtype), 1e-6)
    assert_close(gradient, torch.zeros(1, 5, dtype=dtype), 1e-6)


@settings(deadline=None)
@given(feature_pairs(least=2), st.sampled_from([rkd_distance, rkd_angle]))
def test_two_examples_are_always_at_their_mean_distance(pair, relation):
    values, gradient = run(relation, pair[0][:2], pair[1][:2])
    assert_close(values, torch.zeros(2, dtype=torch.float64))
    assert_close(gradient, torch.zeros_like(gradient))


@settings(deadline=None)
@given(feature_pairs(least=3))
def test_no_value_is_negative(pair):
    for relation in (rkd_distance, rkd_angle, similarity_preserving):
        assert (relation(*pair) >= 0).all()
    assert (pkt(*pair) >= -2e-6).all()


@settings(deadline=None)
@given(st.integers(2, 9), st.floats(0.05, 10.0))
def test_a_contrast_of_examples_at_right_angles_is_known(count, temperature):
    """Cosine 1 with itself and 0 with the others: log(1 + (N - 1) e^(-1/T)); ln N where all are one."""
    examples = torch.eye(count, dtype=torch.float64)
    values = contrast(examples, 3 * examples, temperature)
    wanted = math.log1p((count - 1) * math.exp(-1 / temperature))
    assert_close(values, torch.full((count,), wanted, dtype=torch.float64))
    alike = torch.ones(count, 4, dtype=torch.float64)
    assert_close(contrast(alike, alike, temperature), torch.full((count,), math.log(count), dtype=torch.float64))


# ----------------------------------------------------------------------------------------- precision


def exact_distances(x):
    return (x.double()[:, None] - x.double()[None]).square().sum(dim=2).sqrt()


@settings(deadline=None)
@given(st.integers(2, 9), st.integers(1, 12), st.floats(-12.0, 0.0), seeds)
def test_distances_keep_their_digits_in_tight_clusters_far_from_the_origin(count, width, power, seed):
    """Two clusters, from as wide as they are apart to 1e-12 of that, where the Gram identity has no digit left."""
    offset = 300.0 * (torch.arange(count) % 2)[:, None] - 7.0
    x = (offset + 10.0**power * normal(count, width, seed=seed)).requires_grad_()
    got = distances(x)
    wanted = exact_distances(x.detach())
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=0.0)
    weights = normal(count, count, seed=seed + 1)
    (gradient,) = torch.autograd.grad((weights * got).sum(), x)
    both = (weights + weights.T) / wanted.masked_fill(wanted == 0, math.inf)
    directions = x.detach()[:, None] - x.detach()[None]
    # The gradient is a difference of sums as large as a coordinate by a distance.
    rounding = 300 / float(wanted[wanted > 0].min())
    wanted_gradient = (both[:, :, None] * directions).sum(dim=1)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=0.0, atol=1e-13 * rounding)


@pytest.mark.parametrize("at_once", [1, 2**22])
def test_distances_of_float32_are_those_of_float64(monkeypatch, at_once):
    monkeypatch.setattr(common, "NEAR_AT_ONCE", at_once)
    x = (normal(20, 8) * 1e-3).float() + 300.0
    x[3], x[11] = x[4], x[4]
    got = distances(x)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, exact_distances(x).float(), rtol=1e-6, atol=0.0)
    assert got[3, 4] == got[11, 3] == got[5, 5] == 0
    assert torch.equal(got, got.T)


def test_equal_examples_are_not_measured_pair_by_pair(monkeypatch):
    """Of 40 with half of them equal, and two more near each other, one pair is measured."""
    measured = []
    mend = common._mend
    monkeypatch.setattr(common, "_mend", lambda *given: (measured.append(given[1]), mend(*given)))
    x = normal(40, 8)
    x[:20] = x[0]
    x[30] = x[31] + 1e-6
    got = distances(x)
    assert [pairs.tolist() for pairs in measured] == [[[30, 31]]]
    torch.testing.assert_close(got, exact_distances(x), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("relation", [*RELATIONS, contrast])
def test_dead_and_equal_examples_do_not_rule_the_step(relation, dtype):
    """An example that is 0 everywhere gets no gradient of order 1e12; nor do two equal ones."""
    student, teacher = normal(8, 6, dtype=dtype), normal(8, 6, seed=1, dtype=dtype)
    student[2] = student[5] = teacher[3] = 0
    student[6] = student[7]
    values, gradient = run(relation, student, teacher)
    assert values.isfinite().all()
    assert gradient.abs().max() < 100
    values, gradient = run(relation, torch.zeros_like(student), teacher)
    assert values.isfinite().all()
    assert not gradient.any()


def exact_angles(student, teacher):
    """The formula as it is printed, in float64."""

    def cosines(x):
        units = unit(x.double() - x.double()[:, None])
        return units @ units.mT

    apart = torch.nn.functional.smooth_l1_loss(cosines(student), cosines(teacher), reduction="none")
    return apart.mean(dim=(1, 2))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [9, 33])
def test_angles_of_equal_examples_of_many_dimensions_are_those_of_the_formula(monkeypatch, count, dtype, whole):
    """Dead and repeated rows of either network: a turn into fewer dimensions must leave them equal."""
    if not whole:
        monkeypatch.setattr(rkd_angle_file, "WHOLE", 0)
        monkeypatch.setattr(rkd_angle_file, "PART", 3000)
    student = normal(count, 64, dtype=dtype).relu()
    teacher = normal(count, 70, seed=1, dtype=dtype)
    student[[0, count - 1]] = 0
    student[3] = student[5]
    teacher[[1, 4, 7]] = teacher[2].clone()
    teacher[6] = teacher[8]
    values, gradient = run(rkd_angle, student, teacher)
    wanted, wanted_gradient = run(exact_angles, student.double(), teacher)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    assert_close(values.double(), wanted, tolerance)
    assert_close(gradient.double(), wanted_gradient, tolerance)


@pytest.mark.parametrize("gap", [1e-3, 1e-5, 1e-7])
def test_angles_of_nearly_equal_examples_of_many_dimensions_keep_their_digits(gap):
    """The smallest gap is the last bit of a number beside sides of length 10."""
    student, teacher = normal(17, 64, dtype=torch.float32), normal(17, 64, seed=1, dtype=torch.float32)
    for features, one, other in ((student, 3, 9), (teacher, 4, 11)):
        features[one] = features[other]
        features[one, 5] += gap * (1 + features[one, 5].abs())
        assert not torch.equal(features[one], features[other])
    values, gradient = run(rkd_angle, student, teacher)
    wanted, wanted_gradient = run(exact_angles, student.double(), teacher)
    assert_close(values.double(), wanted, 1e-6)
    largest = wanted_gradient.abs().max()
    assert_close(gradient.double() / largest, wanted_gradient / largest, 1e-6)


def test_opposite_features_are_no_nan():
    """In float32 their cosine may be below -1."""
    student, teacher = normal(64, 513, dtype=torch.float32), normal(64, 513, seed=1, dtype=torch.float32)
    student[32:] = -student[:32]
    for value in run(pkt, student, teacher):
        assert value.isfinite().all()


@pytest.mark.parametrize("count", [16, 40])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("relation", [*RELATIONS, contrast])
def test_autocast_halves_no_digit(monkeypatch, relation, whole, count):
    """Of more examples than dimensions and of fewer; with the backward pass in the block and after it."""
    if not whole:
        monkeypatch.setattr(rkd_angle_file, "WHOLE", 0)
        monkeypatch.setattr(rkd_angle_file, "PART", 5000)
    student, teacher = normal(count, 32, dtype=torch.float32), normal(count, 32, seed=1, dtype=torch.float32)
    student.requires_grad_()
    wanted = run(relation, student, teacher)
    with torch.autocast("cpu", torch.bfloat16):
        values = relation(student, teacher)
        within = torch.autograd.grad(values.sum(), student, retain_graph=True)
    for gradient in (*within, *torch.autograd.grad(values.sum(), student)):
        torch.testing.assert_close((values, gradient), wanted, rtol=1e-6, atol=1e-6)


@settings(deadline=None)
@given(seeds)
def test_a_product_and_a_gram_matrix_have_the_gradients_of_their_values(seed):
    a, b = normal(4, 3, seed=seed).requires_grad_(), normal(3, 5, seed=seed + 2).requires_grad_()
    assert torch.autograd.gradcheck(product, (a, b))
    assert torch.autograd.gradcheck(gram, (a,))


def test_what_has_no_direction_stays_nothing():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    assert unit(x).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]
    (gradient,) = torch.autograd.grad(unit(x).sum(), x)
    assert gradient[1].tolist() == [0.0, 0.0]


# ------------------------------------------------------------------------------------ large batches


@pytest.mark.parametrize("part", [1, 300, 1000])
def test_angles_in_parts_are_the_angles(monkeypatch, part):
    student, teacher = normal(11, 6), normal(11, 4, seed=1)
    student[3] = student[4]
    wanted = run(rkd_angle, student, teacher)
    monkeypatch.setattr(rkd_angle_file, "WHOLE", 0)
    monkeypatch.setattr(rkd_angle_file, "PART", part)
    for got, one in zip(run(rkd_angle, student, teacher), wanted, strict=True):
        assert_close(got, one, 1e-12)
    with torch.no_grad():
        assert_close(rkd_angle(student, teacher), wanted[0], 1e-12)


PEAK = """
import resource, torch
from limbeck import functional
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
relation = getattr(functional, {name!r})
small = torch.randn(8, {width}, requires_grad=True)
relation(small, small.detach()).sum().backward()
student, teacher = torch.randn({count}, {width}, requires_grad=True), torch.randn({count}, {width})
before = peak()
relation(student, teacher).sum().backward()
print(peak() - before)
"""


@pytest.mark.parametrize("name", ["rkd_distance", "rkd_angle", "pkt", "similarity_preserving"])
def test_a_large_batch_needs_no_cube_of_numbers(name):
    """One N x N x D alone is 512 MiB here; angles published as one tensor keep several."""
    count, width = 512, 512
    code = PEAK.format(name=name, count=count, width=width)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(done.stdout) < count * count * width * 4 / 2


# ------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("relation", [*RELATIONS, contrast])
def test_other_examples_are_refused(relation):
    with pytest.raises(ValueError, match=r"expected features \[N, ...\] of the same examples, got \(4, 3\)"):
        relation(torch.zeros(4, 3), torch.zeros(5, 3))


@pytest.mark.parametrize("temperature", [0.0, -1.0, 1e200, math.inf, math.nan])
def test_a_temperature_that_is_none_is_refused(temperature):
    said = re.escape(f"temperature must be a positive number, 0.001 to 1e+06, not {temperature}")
    with pytest.raises(ValueError, match=said):
        InBatchContrastive(student="early", teacher="late", temperature=temperature)
    with pytest.raises(ValueError, match=said):
        contrast(normal(4, 3), normal(4, 3), temperature)


@pytest.mark.parametrize("width", [0, -1, 2.5, 8.0, True])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(ValueError, match=f"width must be a whole number of at least 1, not {width}"):
        InBatchContrastive(student="early", teacher="late", width=width)


def test_features_without_what_is_learnt_are_refused():
    contrast = InBatchContrastive(student="early", teacher="late")
    with pytest.raises(ValueError, match="expected what its build makes, got NoneType: build it first"):
        contrast.values(torch.zeros(4, 3), torch.zeros(4, 3), None)
