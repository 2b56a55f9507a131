"""What every source of a recipe promises."""

import dataclasses
from functools import reduce
from operator import or_
from typing import Annotated

import pytest
import torch
from pydantic import Field, TypeAdapter, ValidationError

from limbeck.data import SOURCES, Digits, Images, Preprocess, Splits, key_examples, overlap
from limbeck.errors import DataError

adapter = TypeAdapter(Annotated[reduce(or_, SOURCES.values()), Field(discriminator="source")])


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_is_a_setting_that_a_recipe_can_name(name):
    source = SOURCES[name](**({} if name == "digits" else {"path": "somewhere"}))
    assert source.source == name
    assert adapter.validate_json(adapter.dump_json(source), strict=True) == source
    with pytest.raises(dataclasses.FrozenInstanceError):
        source.source = "other"


@pytest.mark.parametrize(("size", "text"), [(32, "32"), ((32, 48), "[32, 48]"), (None, "null")])
def test_a_recipe_may_give_a_size_as_a_number_or_a_pair(size, text):
    json = f'{{"source": "images", "path": "p", "size": {text}}}'
    assert adapter.validate_json(json, strict=True) == Images(path="p", size=size)


@pytest.mark.parametrize(
    "json", ['{"source": "mnist"}', '{"source": "digits", "test_share": 2.0}', '{"source": "idx"}']
)
def test_a_recipe_that_means_nothing_is_refused(json):
    with pytest.raises(ValidationError):
        adapter.validate_json(json, strict=True)


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in ("idx", "npy")])
@pytest.mark.parametrize("share", [0.0, 1.0, 1.5, float("nan")])
def test_a_share_that_leaves_one_side_empty_is_refused(name, share):
    with pytest.raises(ValueError, match=f"between 0 and 1, not {share}"):
        SOURCES[name](**({} if name == "digits" else {"path": "p"}), test_share=share)


def test_digits_are_real_and_parted_by_content():
    splits = Digits().load()
    assert (len(splits.train), len(splits.test)) == (988, 809)
    assert splits.train.inputs.shape[1:] == (1, 8, 8)
    assert splits.train.inputs.dtype == torch.uint8
    assert splits.preprocess.scale == splits.train.inputs.max() == 16
    assert splits.train.classes == tuple("0123456789")
    assert len(overlap(splits.train, splits.test)) == 0
    for examples in (splits.train, splits.test):
        counts = torch.bincount(examples.labels).float()
        assert counts.max() / counts.min() < 1.1


def test_digits_load_the_same_every_time():
    assert torch.equal(Digits().load().test.keys, Digits().load().test.keys)


def test_splits_of_two_kinds_are_refused():
    labels = torch.tensor([0, 1])
    plain = key_examples(torch.zeros(2, 3), labels, ("a", "b"))
    for other in (
        key_examples(torch.zeros(2, 4), labels, ("a", "b")),
        key_examples(torch.zeros(2, 3, dtype=torch.uint8), labels, ("a", "b")),
        key_examples(torch.zeros(2, 3), labels, ("b", "a")),
    ):
        with pytest.raises(DataError, match="of a training example"):
            Splits(plain, other, Preprocess(), official=True)
