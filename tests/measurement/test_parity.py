"""Parity against sums done by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import rel_entr, softmax

from limbeck.measurement import parity
from limbeck.objectives import UNLABELLED

ORIGINAL = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0], [1.0, 1.0, 4.0], [5.0, 0.0, 0.0]])
NETWORK = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 3.0], [1.0, 1.0, 4.5], [5.0, 0.0, 0.0]])
LABELS = torch.tensor([0, 1, 2, UNLABELLED])


def test_a_network_is_at_parity_with_itself():
    found = parity(ORIGINAL, ORIGINAL, LABELS)
    assert (found.agreement, found.divergence, found.largest_error, found.drop) == (1.0, 0.0, 0.0, 0.0)
    assert (found.accuracy, found.original_accuracy) == (1.0, 1.0)
    assert found.drop_interval == pytest.approx((-0.5615, 0.5615), abs=1e-3)  # three of three: Wilson's 0.4385
    assert found.range == 5.0


def test_what_differs_is_counted():
    found = parity(ORIGINAL, NETWORK, LABELS)
    assert found.agreement == 0.75
    assert found.largest_error == 3.0
    assert found.mean_error == pytest.approx(6.5 / 12)
    assert (found.examples, found.labelled) == (4, 3)
    assert (found.original_accuracy, found.accuracy) == (1.0, pytest.approx(2 / 3))
    assert found.drop == pytest.approx(1 / 3)
    low, high = found.drop_interval
    assert -0.5615 < low < 1 / 3 < high < 1
    assert [row["class"] for row in found.per_class] == [0, 1, 2]
    assert found.per_class[1] == {"class": 1, "examples": 1, "accuracy": 0.0, "original_accuracy": 1.0}


def test_the_worst_come_first_and_another_choice_is_worse_than_any_doubt():
    sure = torch.tensor([[30.0, 0.0], [0.1, 0.0]])
    other = torch.tensor([[0.1, 0.0], [0.0, 0.1]])
    found = parity(sure, other, torch.tensor([0, UNLABELLED]))
    assert [one["row"] for one in found.worst] == [1, 0]
    assert found.worst[0]["divergence"] < found.worst[1]["divergence"]
    assert found.worst[0] | {"divergence": 0} == {"row": 1, "original": 0, "network": 1, "label": None, "divergence": 0}


def test_answers_that_are_no_numbers_are_never_in_agreement():
    broken = ORIGINAL.clone()
    broken[0, 1] = math.nan
    broken[3, 0] = math.inf
    found = parity(ORIGINAL, broken, LABELS)
    assert found.not_finite == 2
    assert found.agreement == 0.5
    assert found.accuracy == pytest.approx(2 / 3)
    assert math.isfinite(found.divergence + found.largest_error)


def test_without_labels_there_is_no_accuracy():
    found = parity(ORIGINAL, NETWORK, torch.full((4,), UNLABELLED))
    assert (found.accuracy, found.drop, found.drop_interval, found.per_class) == (None, None, None, ())


@given(arrays(np.float32, (2, 5, 4), elements=st.floats(-20, 20, width=32)))
def test_the_divergence_is_that_of_the_definition(logits: np.ndarray):
    original, network = logits.astype(np.float64)
    found = parity(torch.from_numpy(logits[0]), torch.from_numpy(logits[1]), torch.zeros(5, dtype=torch.long))
    each = rel_entr(softmax(original, axis=1), softmax(network, axis=1)).sum(axis=1)
    assert found.divergence == pytest.approx(each.mean(), rel=1e-6, abs=1e-9)
    assert found.largest_divergence == pytest.approx(each.max(), rel=1e-6, abs=1e-9)


def test_the_interval_of_the_drop_is_newcombes():
    """Newcombe 1998, table II, case 7: of 50 pairs 36 both, 12 the first alone, 2 the second alone, none neither."""
    original = torch.tensor([0] * 48 + [1] * 2)
    network = torch.tensor([0] * 36 + [1] * 12 + [0] * 2)
    found = parity(*(torch.eye(2)[each] for each in (original, network)), torch.zeros(50, dtype=torch.long))
    assert found.drop == pytest.approx(0.2)
    assert found.drop_interval == pytest.approx((0.0569, 0.3404), abs=1e-4)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="expected logits"):
        parity(ORIGINAL, NETWORK[:, :2], LABELS)
