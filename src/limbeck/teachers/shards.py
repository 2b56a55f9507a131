"""A sealed store as it lies on the disk: shards, read as they are needed and never all at once.

Dimension key: N examples, V views, G keys, B examples of a batch.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limbeck.data import as_words
from limbeck.files import check_file, read_manifest, read_tensors
from limbeck.signal import Signal
from limbeck.teachers.encoding import TAP, Encoding
from limbeck.teachers.signals import Stored, first_choices, permuted_within

IN_MEMORY = 2**30
"""Bytes up to which a store is read whole when it is opened; a larger one stays on the disk."""

Shard = dict[str, Tensor]
"""keys [G, 32]; logits, ids, tails and tap.NAME [G V, ...] as encoded, the views of a key together; errors and
divergences [G V] of the encoding; partners [G V, 32], the keys of what was mixed in, where views mix; sha256 [32] of
these and the fingerprint."""


@dataclass(frozen=True, eq=False)
class Shards:
    """The shards of a sealed store, each held against its checksum when it is first read.

    Args:
        directory: of the store.
        manifest: as sealed.
    """

    directory: Path
    manifest: dict[str, Any]
    _open: dict[str, Shard] = field(default_factory=dict)

    @classmethod
    def sealed(cls, directory: Path) -> "Shards":
        """Those of a store.

        Raises:
            DataError: it is not sealed, or its manifest was edited.
        """
        return cls(directory, read_manifest(directory))

    @cached_property
    def names(self) -> list[str]:
        """Of the files, in their order."""
        return sorted(self.manifest["files"])

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(int(file["bytes"]) for file in self.manifest["files"].values())

    def read(self, name: str) -> Shard:
        """A shard, its tensors mapped into memory page by page as they are touched.

        Raises:
            DataError: it is missing or damaged; the file is named.
        """
        if name not in self._open:
            check_file(self.directory, name, self.manifest["files"][name])
            self._open[name] = read_tensors(self.directory / name)
        return self._open[name]

    @cached_property
    def counts(self) -> list[int]:
        """The number of keys in each shard."""
        return [len(keys) for keys in self.keys]

    @cached_property
    def keys(self) -> list[Tensor]:
        """Of each shard [G, 32]."""
        # Not held against the checksums: a key that is damaged is not found, and then all shards are.
        return [read_tensors(self.directory / name)["keys"].clone() for name in self.names]

    def find(self, keys: Tensor) -> Tensor:
        """For each key [M, 32] its place among those of all shards, -1 where it is in none of them."""
        if not self.names:
            return torch.full((len(keys),), -1)
        words, known = as_words(keys), as_words(torch.cat(self.keys))
        order = known.argsort(kind="stable")
        place = order[np.searchsorted(known, words, sorter=order).clip(max=len(known) - 1)]
        return torch.from_numpy(np.where(known[place] == words, place, -1))

    def take(self, places: Tensor) -> Shard:
        """The rows [B] of records at these places, from however many shards."""
        starts = torch.tensor([0, *self.counts]).cumsum(0) * self.manifest["views"]
        number_B = torch.bucketize(places, starts[1:], right=True)
        offsets = (places - starts[number_B]).tolist()
        # One look-up a row: those of a batch lie in nearly as many shards as it has rows.
        found = [(self.read(self.names[number]), row) for number, row in zip(number_B.tolist(), offsets, strict=True)]
        rows: Shard = {}
        for name in signal_names(found[0][0]):
            parts = [shard[name][row] for shard, row in found]
            one_kind = len({part.dtype for part in parts}) == 1
            rows[name] = torch.stack(parts if one_kind else [part.float() for part in parts])
        return rows


def signal_names(shard: Shard) -> list[str]:
    """The tensors of a shard that make a signal."""
    return [name for name in shard if name in ("logits", "ids", "tails") or name.startswith(TAP)]


def signals_of(shards: Shards, places_N: Tensor, encoding: Encoding) -> "Stored | Mapped":
    """The signals of examples whose keys are at these places [N]: in memory, or on the disk where they are many."""
    classes, views = shards.manifest["width"], shards.manifest["views"]
    if shards.bytes > IN_MEMORY:
        return Mapped(shards, places_N[:, None].expand(-1, views), encoding)
    wanted = (places_N[:, None] * views + torch.arange(views)).flatten()
    parts = [shards.read(name) for name in shards.names]
    # Shards of float16 beside one of float32 are raised by `cat`.
    tensors = {name: torch.cat([part[name] for part in parts])[wanted] for name in signal_names(parts[0])}
    return Stored(tensors, encoding, classes, views)


@dataclass(frozen=True, eq=False)
class Mapped:
    """Signals on the disk, of which a batch is read when it is asked for.

    Args:
        shards: of the store.
        places: [N, V] of the key that answers for each view of each example.
        encoding: that wrote them.
    """

    shards: Shards
    places: Tensor
    encoding: Encoding

    def fetch(self, rows: Tensor, inputs: Tensor, numbers: Tensor) -> Signal:
        """See `Signals.fetch`."""
        views = self.shards.manifest["views"]
        rows, numbers = rows.cpu(), numbers.cpu() % views
        records = self.places[rows, numbers] * views + numbers
        return self.encoding.decode(self.shards.take(records), self.shards.manifest["width"]).to(inputs.device)

    def to(self, device: torch.device) -> "Mapped":
        """See `Signals.to`: a batch follows its inputs."""
        return self

    def shuffled(self, seed: int) -> "Mapped":
        """See `Stored.shuffled`."""
        views, classes = self.shards.manifest["views"], self.shards.manifest["width"]
        predicted = []
        for name in self.shards.names:
            shard = self.shards.read(name)
            logits = {key: shard[key] for key in signal_names(shard) if not key.startswith(TAP)}
            predicted.append(first_choices(self.encoding.decode(logits, classes)).view(-1, views))
        each_V = torch.arange(views)
        foreign_NV = permuted_within(torch.cat(predicted)[self.places, each_V], seed)
        return replace(self, places=self.places[foreign_NV, each_V])
