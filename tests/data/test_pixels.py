import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from limbeck.data.pixels import as_stored, blended, jittered, rectangles, stretched

RNG = np.random.default_rng(0)


def noise(*shape):
    return torch.from_numpy(RNG.random(shape, dtype=np.float32))


@pytest.mark.parametrize("window", [(0, 0, 9, 7), (2, 1, 4, 5), (8, 6, 1, 1), (3, 0, 1, 7), (1, 2, 7, 3)])
def test_a_window_is_stretched_as_torch_and_scipy_stretch_it(window):
    top, left, tall, wide = window
    images = noise(1, 3, 9, 7)
    starts, sides = (torch.tensor([top]), torch.tensor([left])), (torch.tensor([tall]), torch.tensor([wide]))
    views = stretched(images, starts, sides)
    cut = images[:, :, top : top + tall, left : left + wide]
    torch.testing.assert_close(views, F.interpolate(cut, (9, 7), mode="bilinear", align_corners=False))
    places = np.meshgrid((np.arange(9) + 0.5) * tall / 9 - 0.5, (np.arange(7) + 0.5) * wide / 7 - 0.5, indexing="ij")
    expected = ndimage.map_coordinates(cut[0, 1].numpy(), places, order=1, mode="nearest")
    np.testing.assert_allclose(views[0, 1].numpy(), expected, atol=1e-6)


def test_the_whole_window_is_the_image_bit_for_bit():
    images = noise(2, 1, 5, 6)
    zeros = torch.zeros(2, dtype=torch.int64)
    assert torch.equal(stretched(images, (zeros, zeros), (zeros + 5, zeros + 6)), images)


def test_colours_by_definition():
    images = noise(2, 3, 5, 4)
    factors = np.array([[0.5, 1.4, 0.3], [1.2, 0.7, 1.9]])
    views = jittered(images, *torch.from_numpy(factors.T.astype(np.float32)))
    for image, view, (brightness, contrast, saturation) in zip(images.double().numpy(), views, factors, strict=True):
        bright = image * brightness
        mean = np.tensordot([0.299, 0.587, 0.114], bright, 1).mean()
        contrasted = (bright - mean) * contrast + mean
        grey = np.tensordot([0.299, 0.587, 0.114], contrasted, 1)
        np.testing.assert_allclose(view.numpy(), (contrasted - grey) * saturation + grey, atol=2e-6)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_saturation_is_of_three_channels_alone(channels):
    images = noise(1, channels, 3, 5)
    one, other = torch.ones(1), torch.full((1,), 0.2)
    assert torch.equal(jittered(images, one, other, other), jittered(images, one, other, one))
    expected = (images - images.mean()) * 0.2 + images.mean()
    torch.testing.assert_close(jittered(images, one, other, one), expected)


def test_grey_pixels_have_no_saturation_to_change():
    images = noise(1, 1, 4, 4).expand(1, 3, 4, 4)
    one = torch.ones(1)
    torch.testing.assert_close(jittered(images, one, one, torch.zeros(1)), images)


def test_rectangles_lie_around_their_middle_and_end_at_the_border():
    masks = rectangles(
        (torch.tensor([0, 2, 4]), torch.tensor([0, 3, 5])), (torch.tensor([3, 2, 4]), torch.tensor([3, 1, 0])), 5, 6
    )
    first, second = torch.zeros(5, 6, dtype=torch.bool), torch.zeros(5, 6, dtype=torch.bool)
    first[:2, :2], second[1:3, 3] = True, True
    assert torch.equal(masks, torch.stack([first, second, torch.zeros_like(first)]))


def test_bytes_are_blended_to_the_nearest():
    first, second = torch.tensor([[0, 255, 10]], dtype=torch.uint8), torch.tensor([[255, 255, 13]], dtype=torch.uint8)
    mixed = blended(first, second, torch.tensor([0.25]))
    assert mixed.tolist() == [[191, 255, 12]]  # 191.25, 255, 12.25
    assert mixed.dtype == torch.uint8


def test_bytes_stay_within_their_range_and_floats_are_left_alone():
    values = torch.tensor([-3.0, 0.6, 254.4, 300.0])
    assert as_stored(values, torch.uint8).tolist() == [0, 1, 254, 255]
    assert as_stored(values, torch.float32) is values
