"""The views of a set of examples: each with its number, and with its partner where it is a mix.

Dimension key: N examples, B examples of a batch, G distinct keys.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limbeck.data.draws import draw_one_of
from limbeck.data.examples import Examples
from limbeck.data.randomness import derive_seed, random_bits
from limbeck.data.views import Augment

STORED_VIEWS = derive_seed("stored views")
"""The seed of the views that a store holds the answers to: one for all students, whatever their seeds."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a network is shown of some examples.

    Args:
        inputs: [B, ...], in the stored type.
        partners: [B] rows of the examples that were mixed in; None where nothing is mixed.
        shares: [B] float32, what of each view is its own example; None likewise.
    """

    inputs: Tensor
    partners: Tensor | None
    shares: Tensor | None


class Views:
    """The numbered views of a set of examples.

    A view is a function of (seed, stream id, view number), and of its partner's stream id where it is a mix. Partners
    are drawn among the distinct keys in their order, so they depend on what is in the set and on no order of rows.

    Args:
        examples: the set.
        augment: how a view is made.
        seed: of the views.
        cycle: how many views there are of a key: numbers are taken modulo it, and duplicates have the same views.
            Without it each number is another view, and each duplicate has views of its own.
        device: where the views are made; the examples' own unless given.

    Raises:
        ValueError: a cycle of none.
    """

    def __init__(
        self,
        examples: Examples,
        augment: Augment,
        *,
        seed: int,
        cycle: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        if cycle is not None and cycle < 1:
            raise ValueError(f"cycle must be 1 or more views, not {cycle}")
        self.examples, self.augment, self.seed, self.cycle = examples, augment, seed, cycle
        self._inputs = examples.inputs.to(device)
        if not augment.active:
            return
        groups, stream_ids = examples.groups, examples.stream_ids
        firsts_G = torch.empty(int(groups.max()) + 1, dtype=torch.int64)
        rows = (examples.occurrences == 0).nonzero()[:, 0]
        firsts_G[groups[rows]] = rows
        if cycle is not None:
            stream_ids = stream_ids[firsts_G[groups]]
        self._firsts, self._stream_ids = firsts_G.to(device), stream_ids.to(device)

    def seen(self, rows: Tensor, numbers: Tensor) -> Seen:
        """The views of rows [B] with numbers [B], both on the device of the views; the inputs if none are asked for.

        Raises:
            DataError: inputs that are not images, or too small.
        """
        if not self.augment.active:
            return Seen(self._inputs[rows], None, None)
        numbers = numbers if self.cycle is None else numbers % self.cycle
        alone = self._alone(rows, numbers)
        if not self.augment.mixes:
            return Seen(alone, None, None)
        stream_ids = self._stream_ids[rows]
        bits = random_bits(stream_ids, numbers, seed=derive_seed("partner", self.seed))
        partners = self._firsts[draw_one_of(bits, len(self._firsts))]
        theirs = self._alone(partners, numbers)
        inputs, shares = self.augment.mixed(alone, theirs, stream_ids, seed=self.seed, view=numbers)
        return Seen(inputs, partners, shares)

    def _alone(self, rows: Tensor, numbers: Tensor) -> Tensor:
        return self.augment(self._inputs[rows], self._stream_ids[rows], seed=self.seed, view=numbers)

    def facts(self) -> str | dict[str, Any]:
        """All that decides the views of an example beside its key, as JSON; "plain" where they are the example."""
        if not self.augment.active and self.cycle is None:
            return "plain"
        facts = {"augment": self.augment.facts(), "seed": self.seed, "cycle": self.cycle}
        return {**facts, "partners": self._keys_sha256()} if self.augment.mixes else facts

    def _keys_sha256(self) -> str:
        """Of the distinct keys in their order: a partner is a place among them."""
        return hashlib.sha256(self.examples.keys[self._firsts.cpu()].numpy().tobytes()).hexdigest()
