"""What a bundle says of itself, and the seal of a file that travels alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.bundle import SEAL, Description, check_seal, described, described_in, sealed_file
from limbeck.errors import DataError

DESCRIPTION = Description(
    classes=("чай", "tea"),
    inputs={"kind": "numbers"},
    input_shape=(3,),
    input_dtype="float32",
    preprocess={"scale": 1.0, "size": None, "channels": None, "mean": None, "std": None},
    network_shape=(3,),
    teacher="a bigger one",
    licence=None,
    student="0" * 64,
    limbeck="0.1.0",
)


def test_a_description_comes_back_from_the_metadata_of_a_file():
    metadata = DESCRIPTION.metadata()
    assert metadata["seal"] == SEAL.decode()
    assert described_in({**metadata, "made by": "somebody who adds no JSON"}) == DESCRIPTION
    with pytest.raises(ValueError, match="without end"):
        described_in({**metadata, "inputs": "[" * 200_000})
    with pytest.raises(KeyError, match="classes"):
        described_in({})


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["a", 1]},
        {"classes": []},
        {"input_shape": [0]},
        {"input_shape": 3},
        {"network_shape": [True]},
        {"input_dtype": "object"},
        {"inputs": {"kind": "sounds"}},
        {"inputs": None},
        {"inputs": {"kind": "images"}, "input_shape": [3, 4, 4]},
        {"format": 2},
        {"classes": {"a": 0, "b": 1}},
        {"input_shape": [10**7, 10**7, 3]},
        {"network_shape": [2**13, 2**14]},
        {"network_shape": [1] * 9},
        {"preprocess": None},
        {"teacher": 1},
        {"licence": ["MIT"]},
        {"inputs": {"kind": "images", "levels": "255"}, "input_shape": [3, 4, 4]},
        {"inputs": {"kind": "images", "levels": float("nan")}, "input_shape": [3, 4, 4]},
        {"inputs": {"kind": "rows", "delimiter": [","]}, "preprocess": {"columns": [{}, {}, {}]}},
        {"inputs": {"kind": "rows", "delimiter": ","}, "preprocess": {"columns": [1, 2, 3]}},
        {"inputs": {"kind": "texts", "column": 1}},
        {"inputs": {"kind": "texts", "delimiter": ",", "missing": [1]}},
    ],
)
def test_a_description_of_other_types_is_refused(change):
    with pytest.raises((KeyError, TypeError, ValueError)):
        described({**DESCRIPTION.tree(), **change})


@given(st.binary(max_size=200), st.binary(max_size=200), st.data())
def test_a_sealed_file_has_its_length_and_no_bit_of_it_can_change(before, after, data):
    file = b"\x08" + before + SEAL + after
    once = sealed_file(file)
    assert len(once) == len(file)
    check_seal(once, Path("model.onnx"))
    place = data.draw(st.integers(0, 8 * len(once) - 1))
    other = bytearray(once)
    other[place // 8] ^= 1 << place % 8
    for damaged in (bytes(other), once[:-1], once + b"\0"):
        with pytest.raises(DataError, match=r"does not match|has no seal"):
            check_seal(damaged, Path("model.onnx"))


def test_only_a_file_with_one_place_for_a_seal_is_sealed():
    with pytest.raises(ValueError, match="no place"):
        sealed_file(b"nothing")
    with pytest.raises(ValueError, match="more than one"):
        sealed_file(SEAL + SEAL)
    assert sealed_file(b"PK" + SEAL) == b"PK" + SEAL


def test_what_was_never_sealed_is_told_from_what_is_damaged():
    with pytest.raises(DataError, match="no seal"):
        check_seal(b"a model of somebody else", Path("model.onnx"))
    with pytest.raises(DataError, match="does not match"):
        check_seal(b"\x08" + SEAL, Path("model.onnx"))
    with pytest.raises(DataError, match="does not match"):
        check_seal(b"PK" + SEAL, Path("model.pt2"))


def test_a_description_is_plain_json():
    licensed = replace(DESCRIPTION, licence="MIT")
    assert described(json.loads(json.dumps(licensed.tree()))) == licensed
