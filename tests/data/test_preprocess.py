import numpy as np
import pytest
import torch
from PIL import Image

from limbeck.data import Preprocess
from limbeck.errors import DataError


def test_images_are_scaled_and_normalised_by_channel():
    inputs = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8)
    mean, std = (0.5, 0.25, 0.0), (1.0, 2.0, 4.0)
    got = Preprocess(scale=255.0, mean=mean, std=std)(inputs)
    assert got.dtype == torch.float32
    for channel in range(3):
        expected = (inputs[:, channel].numpy() / np.float32(255) - mean[channel]) / std[channel]
        np.testing.assert_allclose(got[:, channel].numpy(), expected, rtol=1e-6)


def test_rows_are_normalised_by_feature():
    got = Preprocess(mean=(1.0, 2.0), std=(2.0, 4.0))(torch.tensor([[3.0, 6.0], [1.0, 2.0]]))
    assert got.tolist() == [[1.0, 1.0], [0.0, 0.0]]


def test_the_quotient_is_the_nearest_float32():
    stored = torch.arange(256, dtype=torch.uint8)[:, None]
    exact = (np.arange(256, dtype=np.float64) / 255).astype(np.float32)
    assert Preprocess(scale=255.0)(stored)[:, 0].tolist() == exact.tolist()


def test_the_inputs_are_never_changed_in_place():
    inputs = torch.full((2, 2), 4.0)
    Preprocess(scale=2.0, mean=(1.0, 1.0), std=(2.0, 2.0))(inputs)
    assert torch.equal(inputs, torch.full((2, 2), 4.0))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scale": 0.0}, "not 0.0"),
        ({"scale": float("nan")}, "not nan"),
        ({"scale": float("inf")}, "not inf"),
        ({"std": (1.0, -1.0)}, "not -1.0"),
        ({"mean": (float("inf"),)}, "not inf"),
        ({"size": (0, 4)}, "not 0"),
        ({"channels": 0}, "not 0"),
        ({"mean": (0.0, 0.0), "std": (1.0,)}, "mean has 2 values and std 1"),
    ],
)
def test_settings_without_meaning_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        Preprocess(**fields)


def test_a_mean_for_other_channels_is_refused():
    with pytest.raises(DataError, match=r"3 values of mean or std, the inputs \(2, 1, 4, 4\)"):
        Preprocess(mean=(0.0, 0.0, 0.0))(torch.zeros(2, 1, 4, 4))


def test_a_grey_image_is_shown_as_three_channels_of_another_size():
    inputs = torch.randint(0, 256, (2, 1, 8, 12), dtype=torch.uint8)
    preprocess = Preprocess(scale=255.0, size=(4, 3), channels=3, mean=(0.5, 0.25, 0.0), std=(1.0, 2.0, 4.0))
    got = preprocess(inputs)
    assert preprocess.output_shape((1, 8, 12)) == tuple(got.shape[1:]) == (3, 4, 3)
    grey = got[:, 2] * 4
    torch.testing.assert_close(got[:, 0] + 0.5, grey)
    torch.testing.assert_close(got[:, 1] * 2 + 0.25, grey)


def test_a_smaller_image_is_what_pillow_makes_of_it():
    pixels = np.random.default_rng(0).random((20, 30), dtype=np.float32)
    resized = Image.fromarray(pixels).resize((9, 7), Image.Resampling.BILINEAR)  # width first; antialiased
    got = Preprocess(size=(7, 9))(torch.from_numpy(pixels)[None, None])
    np.testing.assert_allclose(got[0, 0].numpy(), np.asarray(resized), atol=1e-5)


def test_an_image_of_the_size_and_channels_asked_for_is_left_alone():
    inputs = torch.randn(2, 3, 5, 6)
    assert torch.equal(Preprocess(size=(5, 6), channels=3)(inputs), inputs)
    assert Preprocess().output_shape((7,)) == (7,)


@pytest.mark.parametrize(
    ("fields", "shape"), [({"size": (4, 4)}, (7,)), ({"channels": 3}, (4, 8, 8)), ({"channels": 3}, (8, 8))]
)
def test_what_is_no_such_image_is_refused(fields, shape):
    with pytest.raises(DataError, match=f"preprocess has {next(iter(fields))}"):
        Preprocess(**fields)(torch.zeros(2, *shape))
