import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from limbeck.data import UNLABELLED, from_arrays
from limbeck.errors import DataError, RecipeError


class Items(Dataset):
    """A map-style dataset of what a function says of each number."""

    def __init__(self, count, item):
        self.count, self.item = count, item

    def __len__(self):
        return self.count

    def __getitem__(self, place):
        return self.item(place)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


def rows(count=12):
    return torch.arange(count * 2.0).reshape(count, 2), torch.arange(count) % 3


def refusal(train):
    with pytest.raises(DataError) as caught:
        from_arrays(train)
    return str(caught.value)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8])
def test_tensors_of_any_type(kind):
    inputs, labels = rows()
    splits = from_arrays((inputs.to(kind), labels), (inputs.to(kind), labels))
    assert splits.official
    assert splits.preprocess.scale == 1.0
    assert splits.train.inputs.dtype == (torch.uint8 if kind == torch.uint8 else torch.float32)
    assert torch.equal(splits.train.inputs.float(), inputs)
    assert torch.equal(splits.test.labels, labels)
    assert splits.train.classes == ("0", "1", "2")


def test_arrays_and_lists_are_as_good_as_tensors():
    inputs, labels = rows()
    splits = from_arrays((inputs.double().numpy(), labels.numpy()), (inputs.tolist(), labels.tolist()))
    assert torch.equal(splits.train.inputs, inputs)
    assert torch.equal(splits.test.inputs, inputs)
    assert torch.equal(splits.train.labels, splits.test.labels)


def test_a_share_is_held_out_when_there_is_no_test():
    splits = from_arrays(rows(20), test_share=0.3)
    assert not splits.official
    assert (len(splits.train), len(splits.test)) == (14, 6)


def test_eight_bit_images_declare_their_scale():
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 9, 3), dtype=np.uint8)
    splits = from_arrays((images, rows(20)[1]))
    assert splits.preprocess.scale == 255.0
    assert splits.train.inputs.shape[1:] == (3, 8, 9)


def test_tensors_are_channels_first_where_arrays_would_be_ambiguous():
    images, labels = torch.rand(20, 3, 9, 3), rows(20)[1]
    assert from_arrays((images, labels)).train.inputs.shape[1:] == (3, 9, 3)
    assert from_arrays((torch.rand(20, 16, 9, 9), labels)).train.inputs.shape[1:] == (16, 9, 9)
    assert "in Python a torch tensor" in refusal((images.numpy(), labels))


def test_what_the_caller_does_later_changes_nothing():
    inputs, labels = rows()
    given = inputs.clone()
    splits = from_arrays((given, labels), (given, labels))
    given.zero_()
    assert torch.equal(splits.train.inputs, inputs)


def test_labels_may_be_unknown_in_part():
    inputs, labels = rows()
    partly = labels.clone()
    partly[::2] = UNLABELLED
    assert torch.equal(from_arrays((inputs, partly), (inputs, labels)).train.labels, partly)


@pytest.mark.parametrize(
    ("test_labels", "classes"), [([0, 1, 2] * 4, ("0", "1", "2")), (["dog", "cat"] * 6, ("cat", "dog"))]
)
def test_training_labels_may_all_be_unknown(test_labels, classes):
    inputs, _ = rows()
    splits = from_arrays((inputs, None), (inputs, test_labels))
    assert splits.train.labels.tolist() == [UNLABELLED] * 12
    assert splits.train.classes == classes


def test_without_any_label_the_classes_must_be_named():
    inputs, _ = rows()
    assert from_arrays((inputs, None), classes=("no", "yes")).train.classes == ("no", "yes")
    assert "or their names if no label is known" in refusal((inputs, None))


def test_a_dataset_of_tensors():
    inputs, labels = rows()
    splits = from_arrays(TensorDataset(inputs, labels), TensorDataset(inputs, labels))
    assert torch.equal(splits.train.inputs, inputs)
    assert torch.equal(splits.train.labels, labels)


def test_a_dataset_of_arrays():
    splits = from_arrays(Items(12, lambda place: (np.full((7, 5, 3), place, dtype=np.uint8), place % 2)))
    assert splits.train.inputs.shape[1:] == (3, 7, 5)
    assert splits.preprocess.scale == 255.0


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("P", 3)])
def test_a_dataset_of_pictures(mode, channels):
    splits = from_arrays(Items(12, lambda place: (Image.new(mode, (3, 7), place), f"name-{place % 2}")))
    assert splits.train.inputs.shape[1:] == (channels, 7, 3)
    assert splits.train.classes == ("name-0", "name-1")


def test_a_dataset_without_some_labels():
    data = Items(12, lambda place: (torch.tensor([float(place)]), place % 2 if place > 3 else None))
    assert from_arrays(data, data).train.labels.tolist() == [UNLABELLED] * 4 + [0, 1] * 4
    named = Items(12, lambda place: (torch.tensor([float(place)]), "cat" if place > 3 else None))
    assert "names for some items and None for others" in refusal(named)


def test_a_random_transform_is_refused_with_the_way_out():
    noise = torch.Generator().manual_seed(0)
    message = refusal(Items(20, lambda place: (torch.rand(3, generator=noise), place % 2)))
    assert "train gave other values for item 0 when it was read again" in message
    assert "fit.augment" in message


def test_a_transform_that_is_random_now_and_then_is_found_among_eight():
    noise = torch.Generator().manual_seed(0)

    def item(place):
        x = torch.tensor([float(place), -1.0])
        return (x.flip(0) if torch.rand(1, generator=noise) < 0.5 else x), place % 2

    assert "its transform is random" in refusal(Items(20, item))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (Stream(), "train is a Stream"),
        ("digits", "train is a str"),
        (Items(0, lambda place: None), "length 0"),
        (Items(4, lambda place: torch.zeros(2)), "item 0 of train is a Tensor"),
        (Items(9, lambda place: (torch.zeros(2 + place // 5), 0)), "item 5 of train has shape (3,), item 0 (2,)"),
        ((torch.zeros(3, 2), [0, 1]), "3 inputs came with labels of shape (2,)"),
    ],
)
def test_what_cannot_be_used_is_named(data, words):
    assert words in refusal(data)


def test_too_few_examples_for_a_test_set_of_their_own():
    with pytest.raises(RecipeError, match="2 examples are to be held out"):
        from_arrays(rows(12), test_share=0.2)
