"""Randomness as a function of names, never of a generator's state: one question, one answer.

Dimension key: N examples.
"""

import hashlib
import json

from torch import Tensor

GAMMA = 0x9E3779B97F4A7C15 - 2**64
"""2^64 over the golden ratio, as a signed 64-bit integer: the step of SplitMix64."""


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2^63) from a list of names and numbers: `derive_seed(seed, "order", epoch)`.

    The parts are kept apart (`("ab", "c")` is not `("a", "bc")`, `1` is not `"1"`) and hashed by sha256, so
    a seed is the same on every machine and in every version of torch.
    """
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def random_bits(stream_ids: Tensor, view: int | Tensor, *, seed: int) -> Tensor:
    """64 random bits an example, a function of (seed, stream id, view number) alone.

    Each part goes through one step of SplitMix64 (Steele, Lea and Flood 2014, doi 10.1145/2660193.2660195),
    which maps the 64-bit integers one to one: two ids never share their bits for a given seed and view.

    Args:
        stream_ids: [N] int64, one an example, spread over all 64 bits as `Examples.stream_ids` are: small
            numbers would meet under neighbouring seeds.
        view: the view number, one for all or [N] int64.
        seed: in [0, 2^63), best from `derive_seed` with a word for what the bits are used for.

    Returns:
        [N] int64.
    """
    return split_mix(split_mix(stream_ids ^ seed) ^ view)


def split_mix(state: Tensor) -> Tensor:
    """The output of SplitMix64 in a given state, for int64 of any shape; products and sums wrap around."""
    bits = state + GAMMA
    bits = (bits ^ _shifted_right(bits, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    bits = (bits ^ _shifted_right(bits, 27)) * (0x94D049BB133111EB - 2**64)
    return bits ^ _shifted_right(bits, 31)


def _shifted_right(bits: Tensor, by: int) -> Tensor:
    # A right shift of int64 copies the sign bit; SplitMix64 is defined on unsigned words, where zeros come
    # in.
    return bits.bitwise_right_shift(by).bitwise_and(2 ** (64 - by) - 1)
