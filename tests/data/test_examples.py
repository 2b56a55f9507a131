import hashlib
import time

import pytest
import torch

from limbeck.data import UNLABELLED, key_examples, overlap
from limbeck.errors import DataError

TWO = ("cat", "dog")


def test_the_key_is_the_sha256_of_the_stored_bytes():
    inputs = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 2, 2)
    examples = key_examples(inputs, torch.tensor([0, 1]), TWO)
    for row, key in zip(inputs, examples.keys, strict=True):
        assert bytes(key.tolist()) == hashlib.sha256(bytes(row.flatten().tolist())).digest()


def test_the_key_does_not_depend_on_memory_format():
    inputs = torch.rand(4, 3, 5, 5)
    labels = torch.tensor([0, 1, 0, 1])
    plain = key_examples(inputs, labels, TWO)
    strided = key_examples(inputs.to(memory_format=torch.channels_last), labels, TWO)
    assert torch.equal(plain.keys, strided.keys)


def test_duplicates_are_told_apart_by_their_occurrence(make_examples):
    examples = make_examples(4, copies=(1, 3, 1))
    assert examples.occurrences.tolist() == [0, 0, 0, 0, 1, 1, 2]
    assert examples.duplicates == 3
    assert len(set(examples.stream_ids.tolist())) == 7
    assert torch.equal(examples.stream_ids[:4], make_examples(4).stream_ids)


def test_groups_do_not_depend_on_the_order_of_rows(make_examples):
    examples = make_examples(6, copies=(2, 2, 5))
    order = torch.tensor([8, 3, 1, 0, 7, 2, 4, 6, 5])
    assert torch.equal(examples.select(order).groups, examples.groups[order])


def test_select_takes_an_index_or_a_mask(make_examples):
    examples = make_examples(5)
    by_index = examples.select(torch.tensor([1, 4]))
    by_mask = examples.select(examples.inputs[:, 0] % 3 == 1)
    for part in (by_index, by_mask):
        assert len(part) == 2
        assert part.inputs[:, 0].tolist() == [1.0, 4.0]
        assert part.labels.tolist() == [1, 1]
        assert torch.equal(part.keys, examples.keys[[1, 4]])


def test_hidden_labels_are_unlabelled_and_the_rest_is_untouched(make_examples):
    examples = make_examples(4)
    hidden = examples.hide_labels(torch.tensor([True, False, False, True]))
    assert hidden.labels.tolist() == [0, UNLABELLED, UNLABELLED, 0]
    assert examples.labels.tolist() == [0, 1, 2, 0]
    assert hidden.inputs is examples.inputs


def test_overlap_names_the_rows_of_the_second_set(make_examples):
    first, both = make_examples(6), make_examples(9)
    second = both.select(torch.tensor([8, 2, 7, 5]))
    assert overlap(first, second).tolist() == [1, 3]
    assert overlap(second, first).tolist() == [2, 5]


def test_keys_that_differ_in_their_last_zero_bytes_are_different():
    from limbeck.data import Examples

    keys = torch.zeros(3, 32, dtype=torch.uint8)
    keys[0, 0], keys[1, 0], keys[1, 31] = 1, 1, 1
    examples = Examples(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64), keys, TWO)
    assert len(examples.groups.unique()) == 3


def test_keys_of_mnist_take_a_fraction_of_a_second():
    inputs = torch.zeros(60_000, 1, 28, 28, dtype=torch.uint8)
    labels = torch.zeros(60_000, dtype=torch.int64)
    start = time.process_time()
    key_examples(inputs, labels, TWO)
    assert time.process_time() - start < 1.0  # 0.09 s on a quiet core


@pytest.mark.parametrize(
    ("inputs", "labels", "classes", "words"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), TWO, ["(0, 3)", "at least one example"]),
        (torch.zeros(2, 0), torch.tensor([0, 1]), TWO, ["(2, 0)"]),
        (torch.zeros(2), torch.tensor([0, 1]), TWO, ["(2,)"]),
        (torch.zeros(2, 3, dtype=torch.float64), torch.tensor([0, 1]), TWO, ["float64", "float32"]),
        (torch.zeros(3, 1), torch.tensor([0, 1]), TWO, ["3 inputs", "(2,)", "[3] int64"]),
        (torch.zeros(2, 1), torch.tensor([0.0, 1.0]), TWO, ["float32", "int64"]),
        (torch.zeros(2, 1), torch.tensor([0, 2]), TWO, ["example 1", "label 2", "0 to 1", "-100"]),
        (torch.zeros(2, 1), torch.tensor([0, -1]), TWO, ["example 1", "label -1"]),
        (torch.zeros(2, 1), torch.tensor([0, 0]), ("cat",), ["cat", "at least two classes"]),
        (torch.zeros(2, 1), torch.tensor([0, 1]), ("cat", "cat"), ["cat, cat", "a name of its own"]),
        (torch.zeros(2, 1), torch.tensor([0, 1]), ("a", "b", "c"), ["2 examples", "3 classes"]),
    ],
)
def test_what_no_later_stage_could_bear_is_refused(inputs, labels, classes, words):
    with pytest.raises(DataError) as caught:
        key_examples(inputs, labels, classes)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_named(bad):
    inputs = torch.zeros(20, 3)
    inputs[[2, 5, 7, 11, 13, 17, 19], 1] = bad
    with pytest.raises(DataError, match="7 of 20 examples hold NaN or infinity: 2, 5, 7, 11, 13 and 2 more"):
        key_examples(inputs, torch.arange(20) % 2, TWO)


def test_infinities_that_cancel_are_found():
    inputs = torch.tensor([[float("inf"), 0.0], [-float("inf"), 0.0]])
    with pytest.raises(DataError, match="2 of 2 examples"):
        key_examples(inputs, torch.tensor([0, 1]), TWO)


def test_large_finite_values_pass():
    key_examples(torch.full((2, 1000), 3e38), torch.tensor([0, 1]), TWO)


def test_unlabelled_examples_may_be_fewer_than_classes():
    examples = key_examples(torch.zeros(1, 1), torch.tensor([UNLABELLED]), TWO)
    assert len(examples) == 1
