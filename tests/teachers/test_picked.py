"""A teacher that names its own outputs, asked for the classes of the data."""

import pytest
import torch
from asking import CLASSES, examples_of, net, preflight, teacher

from limbeck.data import Preprocess
from limbeck.errors import DataError
from limbeck.teachers import CallableTeacher, Logits, Picked, Probabilities, ask_all
from limbeck.teachers.picked import answering

EXAMPLES = examples_of(30)


def test_the_columns_of_the_data_are_picked_in_its_order():
    inner = teacher(net(classes=5))
    picked = answering(inner, ("c", "x", "a", "y", "b"), CLASSES, "T")
    assert torch.equal(ask_all(picked, EXAMPLES), ask_all(inner, EXAMPLES)[:, [2, 4, 0]])
    assert picked.size == inner.size
    assert picked.within == (inner,)
    assert picked.knows(EXAMPLES)


def test_a_teacher_of_the_same_classes_or_of_unnamed_ones_stays():
    inner = teacher()
    assert answering(inner, CLASSES, CLASSES, "T") is inner
    assert answering(inner, None, CLASSES, "T") is inner


def test_a_class_that_it_does_not_know_is_named():
    with pytest.raises(DataError, match="T knows the classes a, b, and lacks c"):
        answering(teacher(), ("a", "b"), CLASSES, "T")


def test_probabilities_are_found_out_before_classes_are_picked():
    answers = torch.randn(30, 5, generator=torch.Generator().manual_seed(0)).softmax(1)
    inner = CallableTeacher(lambda x: answers[: len(x)], Preprocess())
    picked = Picked(inner, (0, 3, 1))
    preflight(picked, EXAMPLES, allow_weak=True)
    assert inner.gives == Probabilities()
    assert picked.gives == Logits()
    said = ask_all(picked, EXAMPLES).softmax(1)
    torch.testing.assert_close(said, answers[:, [0, 3, 1]] / answers[:, [0, 3, 1]].sum(1, keepdim=True))


def test_the_identity_tells_columns_and_what_the_inner_teacher_gives():
    inner = teacher(net(classes=5))
    first = Picked(inner, (0, 1, 2)).identity()
    assert Picked(inner, (0, 2, 1)).identity() != first
    inner.gives = Probabilities()
    assert Picked(inner, (0, 1, 2)).identity() != first
