import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from limbeck.data import Augment, random_bits
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


def ids(count):
    return random_bits(torch.arange(count), 0, seed=9)


def test_crops_show_windows_of_the_shares_and_aspects_that_inception_draws():
    # A ramp along each axis tells from its extremes which rows and columns a window holds.
    size, count = 64, 2000
    ramps = torch.arange(size, dtype=torch.float32)
    image = torch.stack([ramps[:, None].expand(size, size), ramps.expand(size, size)])
    views = Augment(crop=0.25)(image.expand(count, -1, -1, -1), ids(count), seed=1, view=0)
    low, high = views.flatten(2).min(dim=2).values, views.flatten(2).max(dim=2).values
    tall, wide = (high - low + 1).double().unbind(1)
    assert torch.equal(views, views.clamp(0, size - 1))
    area, aspect = tall * wide / size**2, wide / tall
    assert 0.23 < area.min() < 0.27
    assert area.max() > 0.95
    assert 0.72 < aspect.min() < 0.78
    assert 1.29 < aspect.max() < 1.38
    tops = low[:, 0]
    assert tops.min() == 0
    assert (tops + tall.float()).max() == size
    # Torchvision's RandomResizedCrop by its own rule, in plain loops.
    rng, expected = np.random.default_rng(0), []
    while len(expected) < count:
        share, ratio = rng.uniform(0.25, 1), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        wide_one, tall_one = round((share * size**2 * ratio) ** 0.5), round((share * size**2 / ratio) ** 0.5)
        if wide_one <= size and tall_one <= size:
            expected.append(wide_one * tall_one / size**2)
    assert stats.ks_2samp(area.numpy(), expected).pvalue > 0.01


def test_an_image_that_holds_no_window_is_cropped_to_its_shorter_side():
    column = torch.arange(30, dtype=torch.float32).view(1, 1, 30, 1).expand(50, 1, 30, 3)
    views = Augment(crop=0.99)(column, ids(50), seed=1, view=0)
    assert ((views.amax(dim=(1, 2, 3)) - views.amin(dim=(1, 2, 3))) == 3).all()  # four rows, 4/3 of the width


def test_a_square_is_cut_out_anywhere():
    size, count = 8, 4000
    views = Augment(cutout=3)(torch.ones(1, 1, size, size).expand(count, -1, -1, -1), ids(count), seed=1, view=0)
    cut = (views == 0).double().mean(dim=0)[0]
    # Each pixel is within the square whenever its middle is one of at most nine pixels.
    inside = np.minimum(np.arange(size) + 1, size - 1) - np.maximum(np.arange(size) - 1, 0) + 1
    expected = np.outer(inside, inside) / size**2
    assert np.abs(cut.numpy() - expected).max() < 4 * (expected.max() / count) ** 0.5
    assert set((views == 0).flatten(1).sum(dim=1).tolist()) == {4, 6, 9}


def test_colour_changes_brightness_contrast_and_saturation_within_their_bounds():
    count = 3000
    flat = torch.full((count, 1, 2, 2), 100, dtype=torch.uint8)
    brightness = Augment(colour=0.4)(flat, ids(count), seed=1, view=0).double().mean(dim=(1, 2, 3)) / 100
    assert stats.kstest(brightness.numpy(), stats.uniform(0.595, 0.81).cdf).pvalue > 0.001
    assert brightness.min() >= 0.6
    assert brightness.max() <= 1.4
    white = torch.full((count, 1, 2, 2), 255, dtype=torch.uint8)
    assert Augment(colour=0.4)(white, ids(count), seed=1, view=0).max() == 255


def test_a_mix_has_the_shares_it_says():
    views, partners = torch.zeros(500, 1, 10, 10), torch.ones(500, 1, 10, 10)
    blends, shares = Augment(mixup=0.4).mixed(views, partners, ids(500), seed=1, view=0)
    assert torch.equal(blends, (1 - shares).view(-1, 1, 1, 1).expand_as(blends))
    pasted, areas = Augment(cutmix=1.0).mixed(views, partners, ids(500), seed=1, view=0)
    assert set(pasted.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(areas, (1 - pasted.double().mean(dim=(1, 2, 3))).float())
    assert areas.min() < 0.3
    both, either = Augment(mixup=0.4, cutmix=1.0).mixed(views, partners, ids(500), seed=1, view=0)
    is_pasted = torch.tensor([torch.equal(*pair) for pair in zip(both, pasted, strict=True)])
    is_blend = torch.tensor([torch.equal(*pair) for pair in zip(both, blends, strict=True)])
    assert (is_pasted | is_blend).all()
    assert 180 < (is_pasted & ~is_blend).sum() < 320
    assert torch.equal(either, torch.where(is_pasted, areas, shares))


def test_rows_can_be_blended_and_not_pasted():
    rows = torch.rand(4, 3)
    blends, shares = Augment(mixup=1.0).mixed(rows, rows.flip(0), ids(4), seed=0, view=0)
    torch.testing.assert_close(blends, shares[:, None] * rows + (1 - shares[:, None]) * rows.flip(0))
    with pytest.raises(DataError, match=r"inputs of shape \(4, 3\)"):
        Augment(cutmix=1.0).mixed(rows, rows, ids(4), seed=0, view=0)


def test_each_part_of_a_view_has_randomness_of_its_own():
    # What one setting draws tells nothing of what another draws.
    count = 4000
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 4] = 1
    shifted = Augment(shift=2)(image.expand(count, -1, -1, -1), ids(count), seed=1, view=0).flatten(1).argmax(dim=1)
    ones = torch.ones(count, 1, 9, 9)
    cut = Augment(cutout=1)(ones, ids(count), seed=1, view=0).flatten(1).argmin(dim=1)
    bright = Augment(colour=0.5)(ones, ids(count), seed=1, view=0)[:, 0, 0, 0]
    shares = Augment(mixup=1.0).mixed(ones, ones, ids(count), seed=1, view=0)[1]
    drawn = torch.stack([(shifted // 9).float(), (cut // 9).float(), bright, shares]).numpy()
    assert np.abs(np.corrcoef(drawn) - np.eye(4)).max() < 4 / count**0.5


AUGMENTS = st.builds(
    Augment,
    crop=st.sampled_from([None, 0.1, 0.6]),
    shift=st.integers(0, 2),
    flip=st.booleans(),
    colour=st.sampled_from([0.0, 0.3, 1.0]),
    cutout=st.integers(0, 3),
    mixup=st.sampled_from([0.0, 0.4]),
    cutmix=st.sampled_from([0.0, 1.0]),
)


@given(
    augment=AUGMENTS,
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(4, 17), st.integers(4, 17)),
    count=st.integers(1, 40),
    stored=st.sampled_from([torch.uint8, torch.float32]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_a_view_alone_is_the_view_in_a_batch_bit_for_bit(augment, shape, count, stored, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(count, *shape, generator=generator)
    inputs = (inputs * 256).to(stored) if stored == torch.uint8 else inputs
    numbers = torch.randint(0, 5, (count,), generator=generator)

    def seen(rows):
        views = augment(inputs[rows], ids(count)[rows], seed=seed, view=numbers[rows])
        if not augment.mixes:
            return views, torch.ones(len(views))
        return augment.mixed(views, views.flip(0), ids(count)[rows], seed=seed, view=numbers[rows])

    everything = torch.arange(count)
    (views, shares), before = seen(everything), torch.get_rng_state()
    assert views.dtype == stored
    assert views.shape == inputs.shape
    for row in (0, count // 2, count - 1):
        pair = torch.tensor([row, count - 1 - row])  # the partner is the same in both batches
        again, shares_again = seen(pair)
        assert torch.equal(again[0], views[row])
        assert shares_again[0] == shares[row]
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_asked_for_is_nothing_done():
    rows = torch.rand(3, 2)
    assert Augment()(rows, torch.arange(3), seed=0, view=0) is rows
    settings = [{}, {"shift": 1}, {"flip": True}, {"crop": 0.5}, {"colour": 0.1}, {"cutout": 1}, {"cutmix": 1.0}]
    assert [Augment(**each).active for each in settings] == [False] + 6 * [True]
    assert Augment(mixup=0.2)(rows, torch.arange(3), seed=0, view=0) is rows


def test_settings_and_inputs_without_meaning_are_refused():
    for setting, value in (
        ("crop", 0.0), ("crop", 1.0), ("shift", -1), ("colour", -0.1), ("colour", 1.5), ("cutout", -2),
        ("mixup", -1.0), ("mixup", 1e-9), ("cutmix", float("nan")), ("crop", float("nan")),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"{setting} .*not {value}"):
            Augment(**{setting: value})
    with pytest.raises(DataError, match=r"inputs of shape \(3, 2\)"):
        Augment(flip=True)(torch.rand(3, 2), torch.arange(3), seed=0, view=0)
    with pytest.raises(DataError, match=r"up to 8 pixels in images of shape \(3, 1, 8, 9\)"):
        Augment(shift=8)(torch.rand(3, 1, 8, 9), torch.arange(3), seed=0, view=0)
    with pytest.raises(DataError, match=r"(?s)cuts out up to 9 pixels .* a cutout below 8"):
        Augment(cutout=9)(torch.rand(3, 1, 8, 9), torch.arange(3), seed=0, view=0)
