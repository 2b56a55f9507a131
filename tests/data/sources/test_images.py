import shutil
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from limbeck.data import Images
from limbeck.errors import DataError


@pytest.fixture
def folder(tmp_path, pictures):
    """A folder of class folders `a`, `b` and `c`, each with four different PNG files."""

    def make(path=tmp_path, start=0):
        for number, (image, label) in enumerate(zip(*pictures(12, start), strict=True)):
            (path / "abc"[label]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path / "abc"[label] / f"{number:02}.png")
        return path

    return make


def load(path, **fields):
    return Images(path=str(path), **fields).load()


def refusal(path):
    with pytest.raises(DataError) as caught:
        load(path)
    return str(caught.value)


@pytest.mark.parametrize("name", ["test", "val"])
def test_train_and_test_folders(tmp_path, folder, pictures, name):
    folder(tmp_path / "train")
    folder(tmp_path / name, start=12)
    splits = load(tmp_path, colour="grey")
    assert splits.official
    assert splits.preprocess.scale == 255.0
    assert splits.train.classes == ("a", "b", "c")
    images, labels = pictures(12)
    order = np.argsort(labels, kind="stable")
    np.testing.assert_array_equal(splits.train.inputs.numpy(), images[order][:, None])
    np.testing.assert_array_equal(splits.train.labels.numpy(), labels[order])


def test_class_folders_alone_are_parted_by_content(folder):
    splits = load(folder(), test_share=0.25)
    assert not splits.official
    assert (len(splits.train), len(splits.test)) == (9, 3)
    assert splits.train.inputs.shape[1:] == (3, 6, 5)


def test_the_key_is_that_of_the_pixels_not_of_the_file(folder):
    path = folder()
    with Image.open(path / "a" / "00.png") as image:
        image.save(path / "a" / "same.bmp")
    splits = load(path, test_share=0.25)
    assert splits.train.duplicates + splits.test.duplicates == 1


def test_litter_and_hidden_files_are_passed_over(folder):
    path = folder()
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (path / "a" / name).write_bytes(b"x")
    (path / ".git").mkdir()
    (path / "README.md").write_text("about these images")
    splits = load(path, test_share=0.25)
    assert len(splits.train) + len(splits.test) == 12


def test_images_are_stretched_to_a_size(folder):
    path = folder()
    Image.new("RGB", (40, 30), (10, 20, 30)).save(path / "b" / "big.jpg")
    assert load(path, size=4, test_share=0.25).train.inputs.shape[2:] == (4, 4)
    assert load(path, size=(3, 9), test_share=0.25).train.inputs.shape[2:] == (3, 9)
    message = refusal(path)
    assert "00.png is 6 x 5 pixels" in message
    assert "big.jpg is 30 x 40" in message
    assert "set `size`" in message


@pytest.fixture
def stored(tmp_path):
    """How an image comes out, saved by a function that takes its path: the first test image of class `a`."""

    def stored(save, suffix, colour="rgb"):
        for side in ("train", "test"):
            for name in ("a", "b"):
                (tmp_path / side / name).mkdir(parents=True)
                Image.new("L", (4, 4)).save(tmp_path / side / name / "z.png")
        save(tmp_path / "test" / "a" / f"it{suffix}")
        return load(tmp_path, colour=colour).test.inputs[0]

    return stored


def test_sixteen_bits_are_brought_to_eight(stored):
    values = np.linspace(0, 65535, 16).round().astype(np.uint16).reshape(4, 4)
    got = stored(Image.fromarray(values).save, ".png", colour="grey")
    assert got.flatten().tolist() == [17 * step for step in range(16)]


def test_printing_colours_become_screen_colours(stored):
    got = stored(Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save, ".tif")
    assert got[:, 0, 0].tolist() == [255, 0, 0]


def test_a_palette_with_transparency_is_read_without_a_warning(stored):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = stored(lambda path: image.save(path, transparency=bytes([0, 128])), ".png")
    assert got[:, 0, 0].tolist() == [200, 100, 50]


def test_a_picture_taken_sideways_is_set_upright(stored):
    pixels = np.zeros((4, 4), dtype=np.uint8)
    pixels[0] = 200  # the top row; orientation 6 says: turn by 90 degrees clockwise to see it upright
    exif = Image.Exif()
    exif[0x0112] = 6
    got = stored(lambda path: Image.fromarray(pixels).save(path, exif=exif), ".png", colour="grey")
    assert got[0, :, 3].tolist() == [200] * 4
    assert got[0, :, :3].sum() == 0


def png_that_claims(side):
    """A PNG of less than a hundred bytes whose header declares side x side pixels."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_bad_files_are_counted_and_named_never_left_out(folder):
    path = folder()
    frames = [Image.new("L", (5, 6), value) for value in (0, 9)]
    frames[0].save(path / "a" / "moving.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.zeros((6, 5), dtype=np.float32)).save(path / "a" / "float.tif")
    (path / "a" / "cut.png").write_bytes((path / "a" / "00.png").read_bytes()[:-30])
    (path / "a" / "empty.png").write_bytes(b"")
    (path / "b" / "text.jpg").write_text("<html>")
    (path / "c" / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 6\n")
    message = refusal(path)
    assert "6 of 18 images cannot be used" in message
    for words in ("cut.png (", "empty.png (", "float.tif (mode F", "moving.gif (2 frames", "text.jpg ("):
        assert words in message
    assert "and 1 more" in message


@pytest.mark.parametrize("side", [8_001, 10_000, 30_000])  # Pillow itself is silent, warns, refuses
def test_more_pixels_than_fit_are_refused_from_the_header(folder, side):
    path = folder()
    (path / "a" / "huge.png").write_bytes(png_that_claims(side))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = refusal(path)
    assert f"1 of 13 images cannot be used: {path / 'a' / 'huge.png'}" in message
    assert "pixels" in message


def test_a_file_cut_anywhere_is_refused(folder):
    path = folder()
    file = path / "a" / "00.png"
    sound = file.read_bytes()
    for length in range(0, len(sound) - 21, 9):  # all pixels come before the last checksums and the end mark
        file.write_bytes(sound[:length])
        assert str(file) in refusal(path)


def test_other_files_among_the_images_are_named(folder):
    path = folder()
    (path / "a" / "labels.csv").write_text("x")
    (path / "a" / "nested").mkdir()
    message = refusal(path)
    assert f"{path / 'a'} holds labels.csv, nested" in message
    assert ".png" in message


def test_images_outside_the_class_folders_are_named(folder):
    path = folder()
    shutil.copy(path / "a" / "00.png", path / "lost.png")
    assert "1 images in none of them: lost.png" in refusal(path)


def test_an_empty_class_is_refused(folder):
    path = folder()
    (path / "d").mkdir()
    assert f"{path / 'd'} is empty" in refusal(path)


def test_the_classes_of_train_and_test_must_be_the_same(tmp_path, folder):
    folder(tmp_path / "train")
    folder(tmp_path / "test", start=12)
    shutil.rmtree(tmp_path / "test" / "c")
    message = refusal(tmp_path)
    assert "1 class folders are in only one of" in message
    assert message.splitlines()[0].endswith(": c")


def test_folders_of_another_form_are_refused_with_the_layout(tmp_path, folder):
    assert f"{tmp_path / 'none'} is not there" in refusal(tmp_path / "none")
    message = refusal(tmp_path)
    assert "has 0 class folders" in message
    assert "FOLDER/train/CLASS" in message
    folder(tmp_path / "train")
    assert "neither test nor val" in refusal(tmp_path)


@pytest.mark.parametrize("size", [0, (3, -1)])
def test_a_size_without_pixels_is_refused(size):
    with pytest.raises(ValueError, match="at least 1 pixel"):
        Images(path="x", size=size)


def test_a_size_may_be_a_number_or_a_pair(folder):
    path = folder()
    number, pair = (load(path, size=size, test_share=0.25).train for size in (4, (4, 4)))
    assert torch.equal(number.keys, pair.keys)
