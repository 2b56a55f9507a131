import pytest
import torch

from limbeck.data import derive_seed, random_bits
from limbeck.data.randomness import GAMMA, split_mix


def test_split_mix_matches_the_published_sequence():
    # The first outputs of the reference implementation (prng.di.unimi.it/splitmix64.c) for the seed 1234567.
    states = 1234567 + GAMMA * torch.arange(5)
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [value % 2**64 for value in split_mix(states).tolist()] == expected


def test_random_bits_do_not_depend_on_the_batch():
    ids = torch.arange(100)
    whole = random_bits(ids, 3, seed=7)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(random_bits(ids[order], 3, seed=7), whole[order])
    assert torch.equal(random_bits(ids[5:6], 3, seed=7), whole[5:6])


def test_random_bits_take_one_view_number_for_all_or_one_each():
    ids = torch.arange(10)
    views = torch.arange(10) % 2
    mixed = random_bits(ids, views, seed=1)
    for view in (0, 1):
        assert torch.equal(mixed[views == view], random_bits(ids, view, seed=1)[views == view])


def test_random_bits_differ_by_id_view_and_seed():
    ids = split_mix(torch.arange(50))
    every = torch.cat([random_bits(ids, view, seed=seed) for view in range(20) for seed in range(20)])
    assert len(set(every.tolist())) == len(every)


def test_each_bit_is_set_half_of_the_time():
    bits = random_bits(torch.arange(20_000), 0, seed=0)
    shares = torch.stack([(bits >> place & 1).double().mean() for place in range(64)])
    assert (shares - 0.5).abs().max() < 5 * 0.5 / 20_000**0.5


def test_derive_seed_keeps_its_parts_apart():
    parts = [("ab", "c"), ("a", "bc"), (1,), ("1",), (1, 2), (2, 1), (12,), ()]
    seeds = [derive_seed(*each) for each in parts]
    assert len(set(seeds)) == len(parts)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_derive_seed_stays_the_same_from_release_to_release():
    # Resumed runs and old records rest on it.
    assert derive_seed(0, "order", 3) == 8307221573466005009


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_random_bits_take_the_seeds_that_derive_seed_gives(seed):
    assert random_bits(torch.tensor([-1, 0, 1]), 0, seed=seed).shape == (3,)
