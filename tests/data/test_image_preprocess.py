"""Images become what networks of the vision libraries were trained on, as Pillow makes them."""

import numpy as np
import pytest
import torch
from PIL import Image

from limbeck.data import ImagePreprocess
from limbeck.errors import DataError

PILLOW = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def images(height, width, channels=3, count=3):
    generator = torch.Generator().manual_seed(height * width)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("interpolation", PILLOW)
@pytest.mark.parametrize("size", [(40, 37), (9, 11), (30, 8)])
def test_stored_bytes_are_resized_as_by_pillow(interpolation, size):
    rough = images(24, 17).float()
    stored = torch.nn.functional.avg_pool2d(rough, 3, stride=1, padding=1).to(torch.uint8)  # smooth, as photographs are
    got = ImagePreprocess(channels=3, resize=size, interpolation=interpolation)(stored)
    for image, mine in zip(stored, got, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        expected = np.asarray(picture.resize((size[1], size[0]), PILLOW[interpolation]), dtype=np.float32)
        assert np.abs(mine.permute(1, 2, 0).numpy() - expected).max() <= 1
        assert torch.equal(mine, mine.round())


@pytest.mark.parametrize(("shape", "expected"), [((10, 25), (4, 10)), ((25, 10), (10, 4)), ((4, 4), (4, 4))])
def test_one_number_is_what_the_shorter_side_becomes(shape, expected):
    assert ImagePreprocess(channels=3, resize=4)(images(*shape)).shape[2:] == expected


def test_the_middle_is_kept_and_then_normalised():
    stored = images(7, 8)
    got = ImagePreprocess(channels=3, crop=(4, 5), scale=255.0, mean=(0.5,) * 3, std=(0.25, 0.5, 1.0))(stored)
    middle = stored[:, :, 1:5, 1:6].float() / 255
    torch.testing.assert_close(got, (middle - 0.5) / torch.tensor([0.25, 0.5, 1.0])[:, None, None])


def test_grey_is_repeated_to_the_channels_of_the_network():
    stored = images(5, 5, channels=1)
    assert torch.equal(ImagePreprocess(channels=3)(stored), stored.repeat(1, 3, 1, 1).float())


def test_images_of_numbers_are_not_rounded_and_not_changed():
    stored = images(6, 6).float() / 255
    before = stored.clone()
    got = ImagePreprocess(channels=3, resize=(9, 9), interpolation="bicubic")(stored)
    assert torch.equal(stored, before)
    assert not torch.equal(got, got.round())
    assert got.dtype == torch.float32


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (images(5, 5, channels=4), "shape .4, 5, 5."),
        (images(5, 5, channels=2), "of 3 channels, or of one"),
        (torch.zeros(3, 25), "shape .25,"),
        (images(3, 5), "the middle 4 x 4 of images of 3 x 5"),
    ],
)
def test_what_is_no_such_image_is_refused_in_words(stored, words):
    with pytest.raises(DataError, match=words):
        ImagePreprocess(channels=3, crop=(4, 4))(stored)


@pytest.mark.parametrize("shape", [(1, 20, 30), (3, 16, 16)])
def test_the_shape_is_known_beforehand(shape):
    preprocess = ImagePreprocess(channels=3, resize=12, crop=(8, 10))
    assert preprocess.output_shape(shape) == (3, 8, 10)
