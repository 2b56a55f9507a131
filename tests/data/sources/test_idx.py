import gzip
import re

import numpy as np
import pytest
import torch

from limbeck.data import Idx
from limbeck.errors import DataError

COMPRESSED = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
PLAIN = tuple(name.removesuffix(".gz") for name in COMPRESSED)


@pytest.fixture
def folder(tmp_path, write_idx, pictures):
    """A folder of 12 training and 6 test images under the given names."""

    def make(names=COMPRESSED):
        arrays = (*pictures(12), *pictures(6, start=12))
        for name, array in zip(names, arrays, strict=True):
            write_idx(tmp_path / name, array)
        return tmp_path

    return make


def refusal(path):
    with pytest.raises(DataError) as caught:
        Idx(path=str(path)).load()
    return str(caught.value)


@pytest.mark.parametrize(
    "names",
    [
        COMPRESSED,
        PLAIN,
        tuple(name.replace("-idx", ".idx") for name in PLAIN),
        tuple(name.replace("t10k", "test") for name in COMPRESSED),
    ],
)
def test_every_usual_name_is_understood(folder, names, pictures):
    splits = Idx(path=str(folder(names))).load()
    assert splits.official
    assert splits.preprocess.scale == 255.0
    assert splits.train.classes == ("0", "1", "2")
    for examples, (images, labels) in ((splits.train, pictures(12)), (splits.test, pictures(6, start=12))):
        assert examples.inputs.dtype == torch.uint8
        np.testing.assert_array_equal(examples.inputs.numpy(), images[:, None])
        np.testing.assert_array_equal(examples.labels.numpy(), labels)


def test_rows_may_be_stored_flat(folder, write_idx, pictures):
    path = folder()
    for side, count in (("train", 12), ("t10k", 6)):
        (path / f"{side}-images-idx3-ubyte.gz").unlink()
        write_idx(path / f"{side}-images-idx2-ubyte.gz", pictures(count)[0].reshape(count, 30))
    assert Idx(path=str(path)).load().train.inputs.shape == (12, 30)


def test_a_missing_folder_or_file_is_named_with_the_layout(tmp_path, folder):
    assert f"{tmp_path / 'nowhere'} is not there" in refusal(tmp_path / "nowhere")
    path = folder()
    (path / COMPRESSED[3]).unlink()
    message = refusal(path)
    assert f"{path} has no file t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz" in message
    assert "a folder with train-images-idx3-ubyte" in message


@pytest.mark.parametrize("cut", [1, 100, 360])
def test_a_plain_file_cut_short_names_both_counts(folder, cut):
    path = folder(PLAIN)
    file = path / PLAIN[0]
    file.write_bytes(file.read_bytes()[:-cut])
    message = refusal(path)
    assert f"{file} has {360 - cut} bytes for an array of shape (12, 6, 5)" in message
    assert "exactly 360 bytes" in message


def test_a_gzip_file_cut_short_names_both_counts(folder):
    path = folder()
    file = path / COMPRESSED[0]
    file.write_bytes(file.read_bytes()[:-60])
    message = refusal(path)
    assert re.search(rf"{file} cannot be decompressed after 3\d\d bytes", message)
    assert "with 360 bytes here" in message


def test_a_gzip_file_cut_anywhere_is_refused(folder):
    path = folder()
    file = path / COMPRESSED[0]
    sound = file.read_bytes()
    for length in (*range(0, len(sound), 7), len(sound) - 1):
        file.write_bytes(sound[:length])
        assert str(file) in refusal(path)


def test_flipped_bits_of_a_gzip_file_are_found(folder):
    path = folder()
    file = path / COMPRESSED[0]
    sound = file.read_bytes()
    # The first ten bytes hold a time and a system too, and the next has bits of padding: nothing depends on them.
    for place in range(11, len(sound), 11):
        file.write_bytes(sound[:place] + bytes([sound[place] ^ 0x10]) + sound[place + 1 :])
        assert str(file) in refusal(path)


def test_a_file_longer_than_its_header_says_is_refused_without_reading_it_all(folder, write_idx):
    path = folder()
    file = path / COMPRESSED[0]
    write_idx(file, np.zeros(50_000_000, dtype=np.uint8), shape=(12, 6, 5))
    assert file.stat().st_size < 100_000
    assert f"{file} has at least 361 bytes" in refusal(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "(none)"),
        (b"<html>", "3c 68 74 6d"),
        (b"\0\0\x0d\x03", "00 00 0d 03"),
        (b"\0\0\x08\0", "00 00 08 00"),
        (b"\0\0\x08\x03\0\0", "has 2 bytes for the header"),
    ],
)
def test_what_is_no_idx_file_of_bytes_is_refused(folder, content, words):
    path = folder()
    file = path / COMPRESSED[0]
    file.write_bytes(gzip.compress(content))
    message = refusal(path)
    assert str(file) in message
    assert words in message


def test_a_file_that_is_not_gzip_is_refused(folder):
    path = folder()
    (path / COMPRESSED[0]).write_bytes(b"<html>404</html>")
    assert f"{path / COMPRESSED[0]} cannot be decompressed after 0 bytes" in refusal(path)


def test_images_and_labels_must_be_as_many(folder, write_idx):
    path = folder()
    write_idx(path / COMPRESSED[1], np.zeros(11, dtype=np.uint8))
    message = refusal(path)
    assert "has 12 images" in message
    assert "has 11 labels" in message


def test_swapped_files_are_refused(folder, write_idx, pictures):
    path = folder()
    images, labels = pictures(12)
    write_idx(path / COMPRESSED[0], labels)
    write_idx(path / COMPRESSED[1], images)
    assert "has 1 dimensions" in refusal(path)
