"""Files of all kinds become the inputs that the student's data are stored as."""

import gzip
import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limbeck.bundle import Description
from limbeck.data import Images
from limbeck.data.text import text_bytes
from limbeck.errors import DataError, MissingError
from limbeck.prediction import Reader

PLAIN = {"scale": 1.0, "size": None, "channels": None, "mean": None, "std": None}
NUMBERS = Description(
    classes=("a", "b"),
    inputs={"kind": "numbers"},
    input_shape=(3,),
    input_dtype="float32",
    preprocess=PLAIN,
    network_shape=(3,),
    teacher="",
    licence=None,
    student="",
    limbeck="",
)
IMAGES = replace(NUMBERS, inputs={"kind": "images", "levels": 255.0}, input_shape=(3, 6, 5), input_dtype="uint8")
TEXTS = replace(NUMBERS, inputs={"kind": "texts", "column": None}, input_shape=(8,), input_dtype="uint8")
COLUMNS = [
    {"name": "hours", "vocabulary": None, "mean": 0.0, "std": 1.0, "indicated": False},
    {"name": "work", "vocabulary": ["field", "office"], "mean": 0.0, "std": 1.0, "indicated": False},
]
ROWS = replace(
    NUMBERS,
    inputs={"kind": "rows", "delimiter": ";", "missing": ["", "?"], "columns": None},
    input_shape=(2,),
    preprocess={"kind": "encode", "columns": COLUMNS},
)


def read(description, *paths):
    """The inputs of all parts, and where each comes from."""
    parts = list(Reader(description).parts([Path(path) for path in paths]))
    return np.concatenate([part.inputs for part in parts]), [place for part in parts for place in part.places]


@pytest.fixture
def photos(tmp_path):
    """Image files of several sizes, colours and kinds, in a folder that the source of images reads as well."""
    rng = np.random.default_rng(0)
    shapes = {"a.png": (9, 7, 3), "b.jpg": (6, 5, 3), "c.png": (4, 4), "d.webp": (20, 31, 4), "e.bmp": (6, 5)}
    for number, (name, shape) in enumerate(shapes.items()):
        folder = tmp_path / "photos" / "xy"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / name)
    return sorted((tmp_path / "photos").rglob("*.*"))


@pytest.mark.parametrize("colour", ["rgb", "grey"])
def test_image_files_are_stored_as_by_the_source(photos, colour):
    description = replace(IMAGES, input_shape=(3 if colour == "rgb" else 1, 6, 5))
    source = Images(path=str(photos[0].parent.parent), size=(6, 5), colour=colour, test_share=0.5).load()
    inputs, places = read(description, *photos)
    assert inputs.dtype == np.uint8
    assert places == [(path, None) for path in photos]
    stored = np.concatenate([side.inputs.numpy() for side in (source.train, source.test)])
    assert sorted(map(bytes, inputs)) == sorted(map(bytes, stored))


def test_image_files_take_the_levels_of_the_data(photos):
    inputs, _ = read(IMAGES, *photos)
    scaled, _ = read(replace(IMAGES, inputs={"kind": "images", "levels": 16.0}, input_dtype="float32"), *photos)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, inputs * (16 / 255), rtol=1e-6)
    full, _ = read(replace(IMAGES, inputs={"kind": "images", "levels": 256.0}), *photos)
    np.testing.assert_array_equal(full, np.minimum((inputs * (256 / 255)).round(), 255))


def test_image_files_are_refused_where_the_data_have_other_pixels(photos, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 6, 5), np.uint8))
    description = replace(IMAGES, inputs={"kind": "images", "levels": None})
    with pytest.raises(DataError, match="the stored values of this student's data are no pixels"):
        read(description, photos[0])
    read(description, tmp_path / "x.npy")


def test_without_pillow_image_files_name_the_command(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "limbeck.decoding", None)
    with pytest.raises(MissingError, match="pip install pillow"):
        read(IMAGES, *photos)


def test_what_is_no_image_is_named(tmp_path, photos):
    (tmp_path / "not.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"1 of 2 images cannot be used: .*not\.png"):
        read(IMAGES, photos[0], tmp_path / "not.png")
    with pytest.raises(DataError, match="does not exist"):
        read(IMAGES, tmp_path / "nothing.png")


def test_files_keep_their_order(photos, tmp_path):
    np.savez(tmp_path / "x.npz", inputs=np.zeros((2, 3, 6, 5), np.uint8), labels=np.zeros(2))
    _, places = read(IMAGES, photos[2], tmp_path / "x.npz", photos[0])
    assert places == [(photos[2], None), (tmp_path / "x.npz", 1), (tmp_path / "x.npz", 2), (photos[0], None)]


@pytest.mark.parametrize("name", ["inputs", "images", "x", "x_test", "alone"])
def test_an_array_goes_by_these_names(tmp_path, name):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    others = {} if name == "alone" else {"seen": np.zeros((2, 9))}
    np.savez(tmp_path / "x.npz", **others, **{name: array})
    np.testing.assert_array_equal(read(NUMBERS, tmp_path / "x.npz")[0], array)


def test_arrays_that_are_something_else_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros((2, 3)), b=np.zeros(2))
    with pytest.raises(DataError, match=r"x\.npz holds a, b"):
        read(NUMBERS, tmp_path / "x.npz")
    np.save(tmp_path / "x.npy", np.zeros((2, 4)))
    with pytest.raises(DataError, match=r"\[2, 4\]\n  expected: \[N, 3\]"):
        read(NUMBERS, tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.zeros((2, 3), np.uint8))
    with pytest.raises(DataError, match="has the type uint8"):
        read(NUMBERS, tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.array(["a"]))
    with pytest.raises(DataError, match="has the type <U1"):
        read(NUMBERS, tmp_path / "x.npy")


def test_an_array_larger_than_a_batch_is_read_in_parts(tmp_path):
    array = np.random.default_rng(0).normal(size=(600, 3))
    np.save(tmp_path / "x.npy", array)
    inputs, places = read(NUMBERS, tmp_path / "x.npy")
    np.testing.assert_array_equal(inputs, array.astype(np.float32))
    assert places[-1] == (tmp_path / "x.npy", 600)
    assert len(list(Reader(NUMBERS).parts([tmp_path / "x.npy"]))) == 3


def test_a_number_beyond_float32_is_named(tmp_path):
    array = np.ones((4, 3))
    array[2, 1] = 1e60
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(DataError, match=r"row 3 of .*x\.npy holds 1e\+60"):
        read(NUMBERS, tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.where(array > 1, np.nan, array))
    assert np.isnan(read(NUMBERS, tmp_path / "x.npy")[0][2, 1])


def test_of_large_examples_fewer_are_read_together(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((5, 3)))
    for seen, count in (((3, 4096, 4096), 1), ((3, 2000, 5000), 2), ((3,), 5)):
        (first, *_) = Reader(replace(NUMBERS, network_shape=seen)).parts([tmp_path / "x.npy"])
        assert len(first.inputs) == count


@pytest.mark.parametrize("head", ["", "a,b,c\n"])
def test_numbers_may_have_names_above_them(tmp_path, head):
    (tmp_path / "x.csv").write_text(head + "1,2.5,-3\n" + "4,5,6e1\n" * 300)
    inputs, places = read(NUMBERS, tmp_path / "x.csv")
    np.testing.assert_array_equal(inputs, [[1, 2.5, -3], *[[4, 5, 60]] * 300])
    assert places[-1][1] == 301


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2\n", "row 1 of .* has 2 cells\n  expected: 3 numbers"),
        ("1,2,3\n1,x,3\n", "cell 2 in row 2 of .* is no number: 'x'"),
        ("1,,3\n1,,3\n", "cell 2 in row 1 of .* is no number: ''"),
        ("1,2O,3\n4,5,6\n", "cell 2 in row 1 of .* is no number: '2O'"),
        ("1,,3\n4,5,6\n", "cell 2 in row 1 of .* is no number: ''"),
        (",,\n4,5,6\n", "cell 1 in row 1 of .* is no number: ''"),
        ("nan,nan,nan\n4,5,6\n", "cell 1 in row 1 of .* is no number: 'nan'"),
        ("a,b,c\n", "holds no examples"),
    ],
)
def test_numbers_that_are_none_are_named(tmp_path, text, said):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read(NUMBERS, tmp_path / "x.csv")


def test_rows_are_read_and_what_is_unknown_is_told(tmp_path, caplog):
    (tmp_path / "x.data").write_text("label;work;hours\nyes;office;1\nno;moon;?\nno;;3\n")
    reader = Reader(ROWS)
    (part,) = reader.parts([tmp_path / "x.data"])
    np.testing.assert_array_equal(part.inputs, np.array([[1, 2], [np.nan, 0], [3, 0]], np.float32))
    with caplog.at_level(logging.WARNING):
        reader.tell()
    assert "read as missing: work (1)" in caplog.text


def test_texts_are_stored_as_by_the_source(tmp_path, caplog):
    said = ["short", "", "a longer text", "äöüß€ and so on", " x "]
    (tmp_path / "x.txt").write_text("\n".join(said), encoding="utf-8")
    reader = Reader(TEXTS)
    (part,) = reader.parts([tmp_path / "x.txt"])
    expected, cut = text_bytes(said, 8)
    np.testing.assert_array_equal(part.inputs, expected.numpy())
    assert [row for _, row in part.places] == [1, 2, 3, 4, 5]
    with caplog.at_level(logging.WARNING):
        reader.tell()
    assert cut == 2
    assert "2 texts of more than 8 bytes have lost their end" in caplog.text


@pytest.mark.parametrize("column", [None, "text"])
def test_a_table_of_texts_has_them_in_a_column(tmp_path, column):
    description = replace(TEXTS, inputs={"kind": "texts", "column": column, "delimiter": ",", "missing": ["?"]})
    (tmp_path / "x.csv").write_text("label,text\na, hello \nb,?\n")
    inputs, _ = read(description, tmp_path / "x.csv")
    np.testing.assert_array_equal(inputs, np.pad(text_bytes(["hello", ""], 8)[0].numpy(), ((0, 0), (0, 3))))
    if column is None:
        (tmp_path / "one.csv").write_text("said\nhello\n")
        np.testing.assert_array_equal(read(description, tmp_path / "one.csv")[0], inputs[:1])


def test_texts_that_are_none_are_named(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"fine\na\0b\n")
    with pytest.raises(DataError, match=r"row 2 of .* holds a NUL"):
        read(TEXTS, tmp_path / "x.txt")
    (tmp_path / "x.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"x\.txt cannot be read: .*\n  expected: a text file in UTF-8"):
        read(TEXTS, tmp_path / "x.txt")


def test_a_damaged_compressed_text_is_named(tmp_path):
    whole, path = gzip.compress(b"hello\n" * 500), tmp_path / "x.txt.gz"
    for data in (whole[:-20], whole[:-4] + b"1234", whole[:12] + b"\xff" * 9 + whole[21:], whole + b"more"):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"x\.txt\.gz cannot be read"):
            read(TEXTS, path)
