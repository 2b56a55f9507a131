import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data import Augment, Views, key_examples

MIXING = Augment(shift=1, flip=True, mixup=0.5, cutmix=1.0)


def drawn(count=12, copies=0, seed=0):
    """Images [N, 1, 6, 5] of noise, the first ones repeated at the end, labelled by number."""
    pixels = torch.randint(0, 256, (count, 1, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    inputs = torch.cat([pixels, pixels[:copies]])
    return key_examples(inputs, torch.arange(len(inputs)) % 3, ("a", "b", "c"))


def rows_of(examples):
    return torch.arange(len(examples))


def test_without_augment_the_examples_themselves_are_seen():
    examples = drawn()
    views = Views(examples, Augment(), seed=0)
    seen = views.seen(torch.tensor([3, 1]), torch.tensor([0, 7]))
    assert torch.equal(seen.inputs, examples.inputs[[3, 1]])
    assert (seen.partners, seen.shares, views.facts()) == (None, None, "plain")


def test_an_unmixed_view_is_that_of_the_augment():
    examples, augment = drawn(copies=3), Augment(shift=2, flip=True)
    numbers = torch.arange(len(examples)) % 4
    seen = Views(examples, augment, seed=3).seen(rows_of(examples), numbers)
    assert torch.equal(seen.inputs, augment(examples.inputs, examples.stream_ids, seed=3, view=numbers))
    assert seen.partners is seen.shares is None


def test_a_mix_is_that_of_the_two_views_and_says_with_whom():
    examples = drawn(40)
    seen = Views(examples, MIXING, seed=3).seen(rows_of(examples), torch.tensor(2))
    alone = Augment(shift=1, flip=True)(examples.inputs, examples.stream_ids, seed=3, view=2)
    inputs, shares = MIXING.mixed(alone, alone[seen.partners], examples.stream_ids, seed=3, view=2)
    assert torch.equal(seen.inputs, inputs)
    assert torch.equal(seen.shares, shares)
    assert seen.shares.dtype == torch.float32
    assert len(seen.partners.unique()) > 15


@given(count=st.integers(1, 9), copies=st.integers(0, 5), seed=st.integers(0, 1000), cycle=st.sampled_from([None, 3]))
@settings(max_examples=40, deadline=None)
def test_views_do_not_depend_on_the_order_of_rows_or_on_the_batch(count, copies, seed, cycle):
    examples = drawn(count + 2, min(copies, count), seed)
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))
    moved = examples.select(order)
    number = torch.full((len(examples),), 5)
    seen = Views(examples, MIXING, seed=seed, cycle=cycle).seen(rows_of(examples), number)
    again = Views(moved, MIXING, seed=seed, cycle=cycle).seen(rows_of(moved), number)
    # Duplicates change places in another order; a key and its occurrence do not.
    home = {
        (bytes(key.tolist()), int(occurrence)): row
        for row, (key, occurrence) in enumerate(zip(examples.keys, examples.occurrences, strict=True))
    }
    for row, (key, occurrence) in enumerate(zip(moved.keys, moved.occurrences, strict=True)):
        at = home[bytes(key.tolist()), int(occurrence)]
        assert torch.equal(again.inputs[row], seen.inputs[at])
        assert again.shares[row] == seen.shares[at]
        assert torch.equal(moved.keys[again.partners[row]], examples.keys[seen.partners[at]])
        alone = Views(examples, MIXING, seed=seed, cycle=cycle).seen(torch.tensor([at]), number[:1])
        assert torch.equal(alone.inputs[0], seen.inputs[at])


def test_all_partners_are_equally_likely_and_duplicates_count_once():
    examples = drawn(8, copies=4)
    views = Views(examples, Augment(mixup=1.0), seed=0)
    rows, numbers = torch.arange(12).repeat(500), torch.arange(500).repeat_interleave(12)
    partners = views.seen(rows, numbers).partners
    counts = torch.bincount(partners, minlength=12).double()
    assert (counts[8:] == 0).all()
    # Chi-squared with 7 degrees of freedom exceeds 24.3 once in a thousand.
    assert ((counts[:8] - 750) ** 2 / 750).sum() < 24.3


def test_a_cycle_comes_round_and_gives_duplicates_one_view():
    examples = drawn(6, copies=6)
    rows, numbers = rows_of(examples), torch.arange(12)
    cycled, endless = Views(examples, MIXING, seed=0, cycle=4), Views(examples, MIXING, seed=0)
    seen, round_later = cycled.seen(rows, numbers), cycled.seen(rows, numbers + 8)
    assert torch.equal(seen.inputs, round_later.inputs)
    assert torch.equal(seen.partners, round_later.partners)
    first = torch.full((12,), 1)
    assert torch.equal(cycled.seen(rows[:6], first[:6]).inputs, cycled.seen(rows[6:], first[:6]).inputs)
    assert not torch.equal(endless.seen(rows[:6], first[:6]).inputs, endless.seen(rows[6:], first[:6]).inputs)
    assert torch.equal(endless.seen(rows[:6], first[:6]).inputs, cycled.seen(rows[:6], first[:6]).inputs)


@pytest.mark.parametrize("change", [{"seed": 1}, {"numbers": 1}])
def test_seed_and_number_change_partners_and_shares(change):
    examples = drawn(40)

    def seen(seed=0, numbers=0):
        return Views(examples, MIXING, seed=seed).seen(rows_of(examples), torch.tensor(numbers))

    first, other = seen(), seen(**change)
    assert (first.partners == other.partners).double().mean() < 0.3
    assert (first.shares == other.shares).double().mean() < 0.3


def test_facts_hold_what_decides_a_view():
    examples = drawn(5, copies=2)
    plain = Views(examples, Augment(shift=2, flip=True), seed=7, cycle=4).facts()
    assert plain == {"augment": {"shift": 2, "flip": True}, "seed": 7, "cycle": 4}
    facts = [
        Views(of, augment, seed=seed, cycle=cycle).facts()
        for of, augment, seed, cycle in (
            (examples, MIXING, 7, 4),
            (drawn(4), MIXING, 7, 4),
            (examples, Augment(mixup=0.5), 7, 4),
            (examples, MIXING, 8, 4),
            (examples, MIXING, 7, 3),
            (examples, Augment(), 7, 1),
        )
    ]
    assert len({str(each) for each in facts}) == len(facts)
    moved = examples.select(torch.tensor([6, 2, 0, 4, 1, 3]))  # the same keys: a duplicate less, another order
    assert Views(moved, MIXING, seed=7, cycle=4).facts() == facts[0]


def test_labels_of_a_mix_are_right_on_average():
    # The share of pixels that are the example's own is the share that is said.
    examples = key_examples(
        torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)]), torch.tensor([0, 1]), ("dark", "light")
    )
    numbers = torch.arange(300)
    seen = Views(examples, Augment(cutmix=1.0), seed=0).seen(torch.zeros_like(numbers), numbers)
    light = np.asarray(seen.inputs.mean(dim=(1, 2, 3)))
    expected = np.where(seen.partners.numpy() == 1, 1 - seen.shares.numpy(), 0)
    np.testing.assert_allclose(light, expected, atol=1e-6)


def test_a_cycle_of_none_is_refused():
    with pytest.raises(ValueError, match="cycle must be 1 or more views, not 0"):
        Views(drawn(), MIXING, seed=0, cycle=0)
