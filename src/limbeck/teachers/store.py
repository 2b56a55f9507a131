"""The label store: what a teacher said, asked once, never stale.

A store is a directory of sealed shards, named by a fingerprint of all that decides the answers. Its records are found
by the content of their examples: reordered or repeated rows change nothing, and new examples are added as further
shards. A labelling cut short goes on with the shards that are whole. Since code can change under the same weights, a
few examples of each shard are asked again whenever it is opened.

Dimension key: G distinct examples, N rows of the training set, C classes.
"""

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limbeck.data import Examples, as_words
from limbeck.errors import DataError, RecipeError
from limbeck.files import MANIFEST, digest, digest_tensors, locked, read_tensors, seal, sweep, verify, write_tensors
from limbeck.progress import Progress, Stop, Watch
from limbeck.signal import Signal
from limbeck.teachers.gives import facts_of
from limbeck.teachers.signals import HALF_ERROR, Stored, bears_half, decode, encode, largest_errors, ranges
from limbeck.teachers.teacher import BATCH_SIZE, Teacher, ask

SHARD_SIZE = 16 * BATCH_SIZE
"""Answers that a kill costs at the most."""
PROBES = 16
TAP = "tap."
"""Before the name of a tap, in the names of a shard's tensors."""
_DTYPES = {"fp16": torch.float16, "fp32": torch.float32}

Shard = dict[str, Tensor]
"""keys [G, 32]; logits [G, C] and tap.NAME [G, ...] as encoded; errors [G] of the encoded logits; sha256 [32] of these
and the fingerprint."""


@dataclass(frozen=True)
class LabelStore:
    """A sealed store and what it says of itself.

    Args:
        directory: of the shards.
        manifest: as sealed: fingerprint, encoding, its error, and counts: distinct examples in all, and the examples
            of the data for which it was last added to.
        signals: for the rows of the examples it was opened for.
    """

    directory: Path
    manifest: dict[str, Any]
    signals: Stored


def label(root: Path, teacher: Teacher, examples: Examples, *, watch: Watch, stop: Stop) -> LabelStore:
    """Open the teacher's store for these examples under `root`, asking the teacher what no store knows yet.

    Float16 holds the logits unless they overflow it or lose too much in it; then a store of float32 is made.

    Raises:
        DataError: the teacher answers badly, answers otherwise than before, or changed while asked; a shard is
            damaged; another process is writing the store.
        Interrupted: a stop was asked for; finished shards stay.
    """
    half, full = (_Labelling(root, teacher, examples, encoding, watch, stop) for encoding in ("fp16", "fp32"))
    if not full.sealed:
        try:
            return half.open()
        except _NotFaithful:
            pass
    store = full.open()
    if not half.sealed:  # what was written before a logit did not fit
        shutil.rmtree(half.directory, ignore_errors=True)
    return store


def fingerprint(teacher: Teacher, examples: Examples, encoding: str) -> dict[str, Any]:
    """All that decides an answer and how it is written down, but for the example itself."""
    return {
        "teacher": teacher.identity(),
        "gives": facts_of(teacher.gives),
        "classes": list(examples.classes),
        "inputs": {"shape": list(examples.input_shape), "dtype": str(examples.inputs.dtype)},
        "view": "plain",
        "encoding": encoding,
        "batch": BATCH_SIZE,
    }


class _NotFaithful(Exception):
    """A batch of float16 would overflow or lose too much."""


class _Labelling:
    """One teacher, one set of examples, one encoding, and the store for them."""

    def __init__(
        self, root: Path, teacher: Teacher, examples: Examples, encoding: str, watch: Watch, stop: Stop
    ) -> None:
        self.teacher, self.examples, self.encoding, self.watch, self.stop = teacher, examples, encoding, watch, stop
        self.facts = fingerprint(teacher, examples, encoding)
        self.directory = root / digest(self.facts)[:16]
        first = (examples.occurrences == 0).nonzero()[:, 0]
        # In the order of their keys, so that the order of the data is nothing to the store.
        self.rows_G = first[examples.groups[first].argsort()]
        self.keys_G = examples.keys[self.rows_G]

    @property
    def sealed(self) -> bool:
        """Whether the store was ever finished."""
        return (self.directory / MANIFEST).exists()

    def open(self) -> LabelStore:
        """The store, after it was added to if it lacks an example."""
        manifest, shards = self._sealed_shards()
        place_G = self._found(shards)
        if (place_G < 0).any():
            with locked(self.directory):
                sweep(self.directory)
                self._add()
            manifest, shards = self._sealed_shards()
            place_G = self._found(shards)
        else:
            self._check_same(shards)
        # The groups number the distinct keys in their order, as the places stand.
        return LabelStore(self.directory, manifest, _joined(shards, place_G[self.examples.groups]))

    def _sealed_shards(self) -> tuple[dict[str, Any], list[Shard]]:
        return _read_sealed(self.directory) if self.sealed else ({}, [])

    def _found(self, shards: list[Shard]) -> Tensor:
        """[G] the row of each example among those of the shards, -1 where it is in none of them."""
        if not shards:
            return torch.full((len(self.keys_G),), -1)
        return _places(self.keys_G, torch.cat([shard["keys"] for shard in shards]))

    def _add(self) -> None:
        """Ask about the examples that no sealed shard holds, shard by shard, and seal the store with them."""
        _, shards = self._sealed_shards()
        self._check_same(shards)
        missing_M = self.rows_G[self._found(shards) < 0]
        done, began = 0, len(shards)
        for rows in missing_M.split(SHARD_SIZE):
            path = self.directory / _name(len(shards))
            shard = self._left_behind(path, rows)
            if shard is None:
                shard = self._asked(rows)
                write_tensors(path, shard)
            shards.append(shard)
            done += len(rows)
            self.watch(Progress("labels", done, len(missing_M)))
            self._stop_if_asked()
        self._check_pure(shards[began:])
        names = [_name(number) for number in range(len(shards))]
        for path in self.directory.glob("shard-*"):
            if path.name not in names:
                path.unlink()
        errors = torch.cat([shard["errors"] for shard in shards])
        seal(
            self.directory,
            names,
            fingerprint=self.facts,
            encoding=self.encoding,
            examples=len(self.examples),
            distinct=len(errors),
            largest_error=float(errors.max()),
            mean_error=float(errors.mean(dtype=torch.float64)),
        )

    def _asked(self, rows: Tensor) -> Shard:
        parts = []
        for some in rows.split(BATCH_SIZE):
            self._stop_if_asked()
            parts.append(self._asked_batch(some))
        shard = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return {**shard, "sha256": self._checksum(shard)}

    def _stop_if_asked(self) -> None:
        self.stop.raise_if_asked("run the same command again with --resume: finished shards are kept")

    def _asked_batch(self, rows: Tensor) -> Shard:
        keys = self.examples.keys[rows]
        answers = _tensors(ask(self.teacher, self.examples.inputs[rows], keys))
        dtype = _DTYPES[self.encoding]
        if dtype == torch.float16 and not all(bears_half(values) for values in answers.values()):
            raise _NotFaithful
        stored = {name: encode(values, dtype) for name, values in answers.items()}
        _check_room(stored, len(self.examples))
        return {"keys": keys, **stored, "errors": largest_errors(answers["logits"], stored["logits"])}

    def _left_behind(self, path: Path, rows: Tensor) -> Shard | None:
        """The shard of a labelling that was cut short, if it is whole, of these examples, and still true."""
        if not path.exists():
            return None
        try:
            shard = read_tensors(path)
            checksum = shard.pop("sha256")
            whole = torch.equal(checksum, self._checksum(shard))
            whole = whole and torch.equal(shard["keys"], self.examples.keys[rows])
        except (DataError, KeyError):
            return None
        return {**shard, "sha256": checksum} if whole and self._moved([shard]) <= 0 else None

    def _checksum(self, shard: Shard) -> Tensor:
        """It travels inside the shard, so that this can be trusted before a manifest names it."""
        words = digest({"fingerprint": self.facts, "tensors": digest_tensors(shard)})
        return torch.frombuffer(bytearray.fromhex(words), dtype=torch.uint8)

    # --- is it still the same teacher? ---

    def _moved(self, shards: list[Shard]) -> float:
        """By how much the teacher's signals of a few examples of each shard differ from it, beyond the tolerance."""
        if not shards:
            return -math.inf
        place_G = _places(torch.cat([shard["keys"] for shard in shards]), self.keys_G)
        held_S = [(part >= 0).nonzero()[:, 0] for part in place_G.split([len(shard["keys"]) for shard in shards])]
        each = math.ceil(PROBES / len(shards))
        starts = torch.tensor([0, *(len(shard["keys"]) for shard in shards)]).cumsum(0)
        probes = torch.cat([start + held[:each] for start, held in zip(starts, held_S, strict=False)])
        if not len(probes):
            return -math.inf
        rows = self.rows_G[place_G[probes]]
        again = _tensors(ask(self.teacher, self.examples.inputs[rows], self.examples.keys[rows]))
        return max(
            _difference(torch.cat([s[name][held[:each]] for s, held in zip(shards, held_S, strict=True)]), values)
            for name, values in again.items()
        )

    def _check_same(self, shards: list[Shard]) -> None:
        moved = self._moved(shards)
        if moved > 0:
            raise DataError(
                f"the teacher answers otherwise than when {self.directory} was made: a value moved by {moved:.3g} "
                "beyond the tolerance",
                expected="the same answers to the same examples, since its weights and settings are the same",
                do=f"undo the change in the teacher's code, or delete {self.directory} to ask it anew",
            )

    def _check_pure(self, shards: list[Shard]) -> None:
        if self.teacher.identity() != self.facts["teacher"]:
            raise DataError(
                "the teacher's parameters or buffers changed while it was asked",
                expected="a teacher that answers without learning",
                do="remove from its forward whatever writes to its own tensors",
            )
        moved = self._moved(shards)
        if moved > 0:
            raise DataError(
                f"the teacher, asked twice, gave two answers: a value moved by {moved:.3g} beyond the tolerance",
                expected="one answer to one example",
                do="switch off what is random in it (dropout), or what it remembers",
            )


def read_answers(directory: Path) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """All that a sealed store holds: keys [G, 32], logits [G, C] in float32, and the names of the classes.

    Raises:
        DataError: it is not sealed, or damaged.
    """
    manifest, shards = _read_sealed(directory)
    logits_GC = torch.cat([decode(shard["logits"]) for shard in shards])
    return torch.cat([shard["keys"] for shard in shards]), logits_GC, tuple(manifest["fingerprint"]["classes"])


def _read_sealed(directory: Path) -> tuple[dict[str, Any], list[Shard]]:
    manifest = verify(directory)
    return manifest, [read_tensors(directory / name) for name in sorted(manifest["files"])]


def _tensors(signal: Signal) -> dict[str, Tensor]:
    """A signal by the names of a shard's tensors."""
    return {"logits": signal.logits, **{TAP + tap: values for tap, values in signal.features.items()}}


def _joined(shards: list[Shard], rows: Tensor) -> Stored:
    """The signals of rows of all shards in a row, taken out of these: memory need not hold more than two copies."""
    names = [name for name in shards[0] if name == "logits" or name.startswith(TAP)]
    whole = {name: torch.cat([shard.pop(name) for shard in shards])[rows] for name in names}
    return Stored(whole.pop("logits"), {name.removeprefix(TAP): values for name, values in whole.items()})


def _difference(stored: Tensor, again: Tensor) -> float:
    """By how much answers moved beyond the tolerance; infinite where the shape is another."""
    before = decode(stored)
    if before.shape != again.shape:
        return math.inf
    # Other threads, another batch or machine move the last bits; what the encoding drops is nothing either.
    tolerance = HALF_ERROR * float(ranges(before).max()) + 1e-6 * max(1.0, float(before.abs().max()))
    return float((again - before).abs().max()) - tolerance


def _check_room(stored: dict[str, Tensor], examples: int) -> None:
    """Refuse, at the first batch, features that memory cannot hold: they are read whole when students learn."""
    bytes_each = sum(values[0].nbytes for values in stored.values())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # They are held twice while they are read.
    if bytes_each * examples > memory / 3:
        raise RecipeError(
            f"the teacher's signals take {bytes_each:,} bytes an example, {bytes_each * examples / 1e9:.0f} GB in all",
            expected=f"no more than a third of this machine's memory of {memory / 1e9:.0f} GB",
            do="tap a smaller part of the teacher, or set distill.views: live to ask it at every step instead",
        )


def _name(number: int) -> str:
    return f"shard-{number:05d}.safetensors"


def _places(keys: Tensor, among: Tensor) -> Tensor:
    """For each key [M, 32] its row in `among` [G, 32], -1 where it is not there."""
    words, known = as_words(keys), as_words(among)
    order = known.argsort(kind="stable")
    place = order[np.searchsorted(known, words, sorter=order).clip(max=len(known) - 1)]
    return torch.from_numpy(np.where(known[place] == words, place, -1))
