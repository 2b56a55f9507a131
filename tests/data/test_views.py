import pytest
import torch

from limbeck.data import Augment
from limbeck.errors import DataError


def images(count=12, channels=3, height=9, width=7):
    """Images whose pixels are all different and not 0, so that a view tells how it was made."""
    pixels = torch.arange(1, channels * height * width + 1).reshape(1, channels, height, width)
    return pixels.expand(count, -1, -1, -1).float()


def moved(image, down, right, mirrored):
    """One view by definition, with plain loops over pixels."""
    view = torch.zeros_like(image)
    height, width = image.shape[1:]
    for row in range(height):
        for column in range(width):
            y, x = row - down, (width - 1 - column if mirrored else column) - right
            if 0 <= y < height and 0 <= x < width:
                view[:, row, column] = image[:, y, x]
    return view


def recover(image, view, shift):
    """The one (down, right, mirrored) that makes the view from the image."""
    ways = [
        (down, right, mirrored)
        for down in range(-shift, shift + 1)
        for right in range(-shift, shift + 1)
        for mirrored in (False, True)
        if torch.equal(moved(image, down, right, mirrored), view)
    ]
    assert len(ways) == 1
    return ways[0]


def test_a_view_is_a_shift_with_zeros_and_perhaps_a_mirror():
    inputs = images()
    views = Augment(shift=2, flip=True)(inputs, torch.arange(12), seed=3, view=0)
    ways = {recover(image, view, 2) for image, view in zip(inputs, views, strict=True)}
    assert len(ways) > 6


def test_a_view_does_not_depend_on_the_batch():
    inputs, ids = torch.rand(40, 1, 8, 8), torch.arange(40) * 7919
    augment = Augment(shift=3, flip=True)
    whole = augment(inputs, ids, seed=1, view=5)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(augment(inputs[order], ids[order], seed=1, view=5), whole[order])
    for row in (0, 17, 39):
        alone = augment(inputs[row : row + 1], ids[row : row + 1], seed=1, view=5)
        assert torch.equal(alone[0], whole[row])


def test_view_numbers_may_be_mixed_in_a_batch():
    inputs, ids = images(6), torch.arange(6)
    augment = Augment(shift=2)
    mixed = augment(inputs, ids, seed=1, view=torch.tensor([0, 1, 2, 0, 1, 2]))
    for row in range(6):
        assert torch.equal(mixed[row], augment(inputs, ids, seed=1, view=row % 3)[row])


@pytest.mark.parametrize("change", [{"seed": 2}, {"view": 1}])
def test_seed_and_view_number_make_other_views(change):
    inputs, ids = images(50), torch.arange(50)
    augment = Augment(shift=2)
    first = augment(inputs, ids, seed=1, view=0)
    other = augment(inputs, ids, **{"seed": 1, "view": 0, **change})
    same = (first == other).flatten(1).all(dim=1).double().mean()
    assert same < 0.2  # 1 in 25 by chance


def test_all_shifts_are_equally_likely_and_do_not_depend_on_the_mirror():
    count = 18_000
    # One bright pixel in the middle of 5x5; a mirror does not move its column, so a second in the corner
    # tells it.
    image = torch.zeros(1, 1, 7, 7, dtype=torch.uint8)
    image[0, 0, 3, 3], image[0, 0, 3, 4] = 2, 1
    views = Augment(shift=1, flip=True)(image.expand(count, -1, -1, -1), torch.arange(count), seed=0, view=0)
    middle = (views == 2).flatten(1).float().argmax(dim=1)
    corner = (views == 1).flatten(1).float().argmax(dim=1)
    outcomes = torch.stack([middle, corner]).unique(dim=1, return_counts=True)[1]
    assert len(outcomes) == 18
    # Chi-squared with 17 degrees of freedom exceeds 40.8 once in a thousand.
    assert ((outcomes - count / 18) ** 2 / (count / 18)).sum() < 40.8


def test_the_stored_type_is_kept():
    inputs = torch.randint(0, 256, (4, 1, 6, 6), dtype=torch.uint8)
    assert Augment(shift=1, flip=True)(inputs, torch.arange(4), seed=0, view=0).dtype == torch.uint8


def test_a_mirror_alone_keeps_every_pixel():
    inputs = images(30)
    views = Augment(flip=True)(inputs, torch.arange(30), seed=0, view=0)
    mirrored = [recover(image, view, 0)[2] for image, view in zip(inputs, views, strict=True)]
    assert 5 < sum(mirrored) < 25


def test_nothing_asked_for_is_nothing_done():
    rows = torch.rand(3, 2)
    assert Augment()(rows, torch.arange(3), seed=0, view=0) is rows
    assert [Augment().active, Augment(shift=1).active, Augment(flip=True).active] == [False, True, True]


def test_settings_and_inputs_without_meaning_are_refused():
    with pytest.raises(ValueError, match="not -1"):
        Augment(shift=-1)
    with pytest.raises(DataError, match=r"inputs of shape \(3, 2\)"):
        Augment(flip=True)(torch.rand(3, 2), torch.arange(3), seed=0, view=0)
    with pytest.raises(DataError, match=r"up to 8 pixels in images of shape \(3, 1, 8, 9\)"):
        Augment(shift=8)(torch.rand(3, 1, 8, 9), torch.arange(3), seed=0, view=0)
