"""How sure a teacher is, how sure it may be, and when its doubts are heard."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.teachers import calibrate, doubts, halves, suggested_temperatures
from limbeck.teachers.calibration import FAINT, FEWEST, LOUD


def honest(count=4000, classes=5, seed=0, spread=2.0):
    """Logits, and labels drawn from the very probabilities that these give."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(count, classes, generator=generator)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_was_planted_is_found(temperature):
    logits, labels = honest()
    found = calibrate(logits * temperature, labels)
    assert found.temperature == pytest.approx(temperature, rel=0.08)
    assert found.examples == 2000
    assert found.nll_at_temperature <= found.nll + 1e-3


def test_nll_is_that_of_the_half_that_was_not_fitted():
    logits, labels = honest(count=101)
    _, measured = halves(101)
    expected = -logits.double().log_softmax(1)[measured, labels[measured]].mean()
    assert calibrate(logits, labels).nll == pytest.approx(float(expected))


def test_the_halves_part_all_rows_and_follow_no_pattern():
    fitted, measured = halves(101)
    assert sorted([*fitted.tolist(), *measured.tolist()]) == list(range(101))
    assert 10 < int((fitted % 2).sum()) < 40


def test_no_temperature_fits_one_who_is_always_right():
    _, labels = honest()
    found = calibrate(5.0 * torch.eye(5)[labels], labels)
    assert found.temperature is None
    assert found.nll_at_temperature is None


def test_no_temperature_fits_one_who_is_sure_and_knows_nothing():
    logits, labels = honest()
    assert calibrate(10 * logits, labels.roll(1)).temperature is None


def test_a_handful_of_labels_tells_nothing():
    logits, labels = honest(count=FEWEST)
    assert calibrate(logits, labels) is not None
    assert calibrate(logits[1:], labels[1:]) is None


@pytest.mark.parametrize(("classes", "temperature"), [(2, 1.0), (5, 3.0), (100, 0.7)])
def test_doubts_of_one_row_by_hand(classes, temperature):
    logits = torch.zeros(1, classes)
    logits[0, 0] = 2.0
    first = math.exp(2 / temperature) / (math.exp(2 / temperature) + classes - 1)
    assert doubts(logits, temperature) == pytest.approx((1 - first) / (1 - 1 / classes))


def test_an_absent_class_has_no_doubts():
    logits = torch.tensor([[1.0, 0.0, float("-inf")]])
    assert doubts(logits, 2.0) == pytest.approx(doubts(logits[:, :2], 2.0))


def test_the_range_of_one_gap_by_hand():
    """Of two classes with the gap g, the doubts are 2 / (1 + exp(g / T)): FAINT and LOUD have a T each."""
    low, high = suggested_temperatures(torch.tensor([[6.0, 0.0], [0.0, 6.0]]))
    assert low == pytest.approx(6 / math.log(2 / FAINT - 1))
    assert high == pytest.approx(6 / math.log(2 / LOUD - 1))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 20), st.floats(0.5, 20.0), st.floats(0.1, 10.0), st.integers(0, 99))
def test_the_range_has_the_doubts_it_promises_and_scales_with_the_logits(classes, spread, factor, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(50, classes, generator=generator)
    low, high = suggested_temperatures(logits)
    assert low < high
    assert doubts(logits, low) == pytest.approx(FAINT, abs=1e-3)
    assert doubts(logits, high) == pytest.approx(LOUD, abs=1e-3)
    scaled = suggested_temperatures(factor * logits + 3.0)
    assert scaled == pytest.approx((factor * low, factor * high), rel=1e-3)


def test_no_temperature_makes_an_even_answer_whisper():
    assert suggested_temperatures(torch.zeros(4, 3)) is None
