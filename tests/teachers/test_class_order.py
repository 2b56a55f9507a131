"""Does a teacher count its classes as the data do?"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limbeck.teachers.class_order import exchanged, never_said

NAMES = tuple("abcdefghij")


def said(labels, order):
    """First choices of a teacher whose output k stands in the place `order[k]`."""
    return torch.tensor(order)[labels]


LABELS = torch.arange(500) % 10


def test_two_swapped_classes_of_ten_are_named():
    predicted = said(LABELS, [0, 1, 3, 2, 4, 5, 6, 7, 8, 9])
    found = exchanged(predicted, LABELS, 10)
    assert set(found.pairs) == {(2, 3), (3, 2)}
    assert found.accuracy == 1.0
    assert found.words(NAMES) == "2 (c) -> 3 (d), 3 (d) -> 2 (c)"


def test_a_number_for_a_name_is_said_once():
    found = exchanged(said(LABELS, [1, 0, *range(2, 10)]), LABELS, 10)
    assert found.words(tuple(map(str, range(10)))) == "0 -> 1, 1 -> 0"


@given(st.permutations(range(10)))
def test_any_order_is_undone(order):
    found = exchanged(said(LABELS, order), LABELS, 10)
    moved = {(output, label) for label, output in enumerate(order) if output != label}
    assert (set(found.pairs) if found else set()) == moved


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_order(seed):
    generator = torch.Generator().manual_seed(seed)
    assert exchanged(torch.randint(0, 10, (500,), generator=generator), LABELS, 10) is None


def test_a_class_lost_to_another_is_no_exchange():
    predicted = LABELS.clone()
    predicted[LABELS == 4] = 9
    assert exchanged(predicted, LABELS, 10) is None


def test_two_classes_that_cannot_be_told_apart_are_no_exchange():
    predicted, rows = LABELS.clone(), ((LABELS == 4) | (LABELS == 9)).nonzero()[:, 0]
    predicted[rows[::2]] = 4
    predicted[rows[1::2]] = 9
    assert exchanged(predicted, LABELS, 10) is None


def test_two_mistakes_are_no_exchange():
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 2])
    assert exchanged(torch.tensor([1, 1, 0, 0, 2, 2, 2]), labels, 3) is None


def test_a_class_that_is_never_named_although_there_is_enough_of_it():
    labels = torch.tensor([0] * 10 + [1] * 10 + [2] * 9)
    predicted = torch.zeros_like(labels)
    assert never_said(predicted, labels, 3) == (1,)
    assert never_said(labels, labels, 3) == ()
