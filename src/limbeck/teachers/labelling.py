"""Labelling: a teacher asked about what no store knows yet, by as many processes as there are.

The examples that are missing are cut into parts in the order of their keys; each part becomes one shard. A process
asks about the parts that nobody has claimed, in turn, and the last to be done seals the store. Who wrote a shard is
nothing to its bytes, so ranks, machines that share the directory, and a labelling that was killed and begun again end
in one and the same store.

Dimension key: G distinct keys, V views, M keys of a part, R records, C classes.
"""

import math
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limbeck.data import Examples, Views
from limbeck.errors import DataError, DiskError
from limbeck.files import MANIFEST, digest, digest_tensors, free_bytes, read_tensors, seal, sweep, write_tensors
from limbeck.locks import claimed, forget_claim
from limbeck.progress import Progress, Stop, Watch
from limbeck.signal import Signal
from limbeck.teachers.encoding import HALF_ERROR, Encoding, ranges, tail_mass
from limbeck.teachers.gives import facts_of
from limbeck.teachers.precision import networks_of
from limbeck.teachers.shards import Mapped, Shard, Shards, signal_names, signals_of
from limbeck.teachers.signals import Stored, encoded
from limbeck.teachers.speed import Pace
from limbeck.teachers.teacher import BATCH_SIZE, Teacher, ask, evenly

SHARD_SIZE = 16 * BATCH_SIZE
"""Records that a kill costs at the most."""
PROBES = 16
LOWERED_ERROR = 2.0**-7
"""What counts as the same answer, as a share of its range, where networks answer in bf16; elsewhere it is what float16
may drop. Other threads, another batch or machine move the last bits."""
WAIT = 0.1
"""Seconds between two looks at a shard, or a seal, that another process is at."""


def fingerprint(teacher: Teacher, examples: Examples, views: Views | None, encoding: Encoding) -> dict[str, Any]:
    """All that decides an answer and how it is written down, but for the example itself."""
    return {
        "teacher": teacher.identity(),
        "gives": facts_of(teacher.gives),
        "classes": list(examples.classes),
        "inputs": examples.stored_as,
        "views": "plain" if views is None else views.facts(),
        "encoding": encoding.facts(),
        "batch": BATCH_SIZE,
    }


class Labelling:
    """One teacher, one set of examples in so many views, one encoding, and the store for them.

    Args:
        root: of all stores.
        teacher: who is asked.
        examples: what about.
        views: in which they are seen; None is the plain example.
        encoding: how the answers are kept.
    """

    def __init__(
        self, root: Path, teacher: Teacher, examples: Examples, views: Views | None, encoding: Encoding
    ) -> None:
        self.teacher, self.examples, self.views, self.encoding = teacher, examples, views, encoding
        self.count = 1 if views is None or views.cycle is None else views.cycle
        self.facts = fingerprint(teacher, examples, views, encoding)
        self.directory = root / digest(self.facts)[:16]
        self.written: set[Path] = set()
        self.pace = Pace(teacher, examples)
        lowered = any(network.precision == "bf16" for network in networks_of(teacher))
        self.tolerance = LOWERED_ERROR if lowered else HALF_ERROR
        first = (examples.occurrences == 0).nonzero()[:, 0]
        # In the order of their keys, so that the order of the data is nothing to the store.
        self.rows_G = first[examples.groups[first].argsort()]

    @property
    def sealed(self) -> bool:
        """Whether the store was ever finished."""
        return (self.directory / MANIFEST).exists()

    def shards(self) -> Shards:
        """Those that are sealed; none yet is no error.

        Raises:
            DataError: the manifest was edited, or is that of another store.
        """
        if not self.sealed:
            return Shards(self.directory, {"files": {}})
        shards = Shards.sealed(self.directory)
        if digest(shards.manifest.get("fingerprint")) != digest(self.facts):
            raise DataError(
                f"{self.directory / MANIFEST} is that of another label store",
                expected="answers of this teacher, to these views, in this encoding: the name of a store tells which",
                do=f"move the store back to where it was, or delete {self.directory} to ask the teacher",
            )
        return shards

    def found(self) -> tuple[Shards, Tensor]:
        """The sealed shards, and [G] where each key lies among them, -1 where in none."""
        shards = self.shards()
        return shards, shards.find(self.examples.keys[self.rows_G])

    def signals(self, shards: Shards, place_G: Tensor) -> Stored | Mapped:
        """Those of every example, once all are answered."""
        # The groups number the distinct keys in their order, as the places stand.
        return signals_of(shards, place_G[self.examples.groups], self.encoding)

    # --- asking ------------------------------------------------------------------------------------------------------

    def complete(self, shards: Shards, place_G: Tensor, watch: Watch, stop: Stop) -> tuple[Shards, Tensor]:
        """Ask about every example that no sealed shard holds, and seal the store with them; returns what is found then.

        Args:
            shards: as `found`.
            place_G: likewise.
            watch: told of progress.
            stop: looked at between two questions.

        Raises:
            DataError: the teacher answers badly, otherwise than before, or otherwise when asked twice.
            DiskError: there is no room for the answers.
            Interrupted: a stop was asked for; finished shards stay.
        """
        while len(missing := self.rows_G[place_G < 0]):
            for name in shards.names:  # a key that is damaged would be asked about for nothing
                shards.read(name)
            self.check_same(shards, place_G)
            parts = dict(enumerate(missing.split(max(1, SHARD_SIZE // self.count)), start=len(shards.names)))
            self._ask(parts, watch, stop)
            with claimed(self.directory / MANIFEST) as mine:
                if mine and self.shards().manifest == shards.manifest:
                    sweep(self.directory)
                    self._seal(shards, parts, stop)
            if not mine:
                self._pause(stop)
            shards, place_G = self.found()
        return shards, place_G

    def _ask(self, parts: dict[int, Tensor], watch: Watch, stop: Stop) -> None:
        """Every part that is on no disk yet: first what nobody has claimed, then what its claimant left."""
        waiting, done, total = list(parts), 0, sum(map(len, parts.values()))
        while waiting:
            left = []
            for number in waiting:
                if not self._done(number, parts, stop):
                    left.append(number)
                    continue
                done += len(parts[number])
                watch(Progress("labels", done, total, self.pace.facts()))
                _check_stop(stop)
            if len(left) == len(waiting):
                self._pause(stop)
            waiting = left

    def _done(self, number: int, parts: dict[int, Tensor], stop: Stop) -> bool:
        """Whether a part is on the disk, for which this process asks about it unless another is at it."""
        path = self.directory / _name(number)
        if path.exists():
            return True
        with claimed(path) as mine:
            if mine and not path.exists():
                self._write(path, parts[number], parts, stop)
        return mine

    def _write(self, path: Path, rows: Tensor, parts: Collection[int], stop: Stop) -> None:
        """One shard, its teacher asked once more about the first of it: what is random in it is found out at once."""
        shard = self._asked(rows, stop)
        self._check_room(sum(values.nbytes for values in shard.values()), parts)
        moved = self._moved(shard, rows, math.ceil(PROBES / len(parts)))
        if moved > 0:
            raise DataError(
                f"the teacher, asked twice, gave two answers: a value moved by {moved:.3g} beyond the tolerance",
                expected="one answer to one example",
                do="switch off what is random in it (dropout), or what it remembers",
            )
        write_tensors(path, shard)
        self.written.add(path)

    def _check_room(self, each: int, parts: Collection[int]) -> None:
        free = free_bytes(self.directory)
        if free is None or each * len(parts) <= free:  # with room for all there is no need to look what is written
            return
        to_come = sum(not (self.directory / _name(number)).exists() for number in parts)
        if each * to_come > free:
            raise DiskError(
                f"{self.directory} needs {each * to_come:,} bytes for {to_come} shards, {free:,} are free",
                expected="room for the teacher's answers",
                do="free some space or set another out, keep fewer of them (labels.encoding: top-k), or tap less",
            )

    def _asked(self, rows_M: Tensor, stop: Stop) -> Shard:
        """What the teacher says of all views of these keys."""
        rows_R = rows_M.repeat_interleave(self.count)
        numbers_R = torch.arange(self.count).repeat(len(rows_M))
        answers, partners = [], []
        for some in torch.arange(len(rows_R)).split(BATCH_SIZE):
            _check_stop(stop)
            began = time.perf_counter()
            answer, mixed_in = self._answer(rows_R[some], numbers_R[some])
            self.pace.add(len(some), time.perf_counter() - began)
            answers.append(answer)
            partners += [] if mixed_in is None else [self.examples.keys[mixed_in]]
        features = {tap: torch.cat([answer.features[tap] for answer in answers]) for tap in answers[0].features}
        whole = Signal(torch.cat([answer.logits for answer in answers]), features)
        tensors = encoded(self.encoding, whole)
        shard = {"keys": self.examples.keys[rows_M], **tensors, **self.encoding.loss_of(whole.logits, tensors)}
        if partners:
            shard["partners"] = torch.cat(partners)
        return {**shard, "sha256": self._checksum(shard)}

    def _answer(self, rows: Tensor, numbers: Tensor) -> tuple[Signal, Tensor | None]:
        """What the teacher says of these views, and the rows of the examples mixed into them."""
        if self.views is None:
            return ask(self.teacher, self.examples.inputs[rows], self.examples.keys[rows]), None
        seen = self.views.seen(rows, numbers)
        return ask(self.teacher, seen.inputs, self.examples.keys[rows]), seen.partners

    def _pause(self, stop: Stop) -> None:
        _check_stop(stop)
        time.sleep(WAIT)

    # --- sealing -----------------------------------------------------------------------------------------------------

    def _seal(self, before: Shards, parts: dict[int, Tensor], stop: Stop) -> None:
        """Hold every new shard against its checksum, its keys and the teacher, and write the manifest.

        A shard that an earlier labelling left damaged, or by a teacher of other code, is asked anew.
        """
        totals = _Totals(self.encoding)
        for name in before.names:
            totals.add(before.read(name))
        for number, rows in parts.items():
            path = self.directory / _name(number)
            shard = self._whole(path, rows, 0 if path in self.written else math.ceil(PROBES / len(parts)))
            if shard is None:
                with claimed(path):
                    self._write(path, rows, parts, stop)
                shard = read_tensors(path)
            totals.add(shard)
            width = self._width(shard)
        if self.teacher.identity() != self.facts["teacher"]:
            raise DataError(
                "the teacher's parameters or buffers changed while it was asked",
                expected="a teacher that answers without learning",
                do="remove from its forward whatever writes to its own tensors",
            )
        names = [*before.names, *map(_name, parts)]
        for path in self.directory.glob("shard-*"):
            if path.name not in names:
                path.unlink()
        facts = {"fingerprint": self.facts, "views": self.count, "width": width}
        seal(self.directory, names, **facts, examples=len(self.examples), **totals.facts())
        for number in parts:
            forget_claim(self.directory / _name(number))

    def _width(self, shard: Shard) -> int:
        """The number of classes that a record speaks of."""
        return len(self.examples.classes) if "ids" in shard else shard["logits"].shape[1]

    def _whole(self, path: Path, rows: Tensor, probes: int) -> Shard | None:
        """A shard if it is undamaged, of these keys, and still what the teacher says of so many of them."""
        try:
            shard = read_tensors(path)
            checksum = shard["sha256"]
            rest = {name: values for name, values in shard.items() if name != "sha256"}
            sound = torch.equal(checksum, self._checksum(rest)) and torch.equal(shard["keys"], self.examples.keys[rows])
        except (DataError, KeyError):
            return None
        return shard if sound and self._moved(shard, rows, probes) <= 0 else None

    def _checksum(self, shard: Shard) -> Tensor:
        """It travels inside the shard, so that this can be trusted before a manifest names it."""
        words = digest({"fingerprint": self.facts, "tensors": digest_tensors(shard)})
        return torch.frombuffer(bytearray.fromhex(words), dtype=torch.uint8)

    # --- is it still the same teacher? -------------------------------------------------------------------------------

    def check_same(self, shards: Shards, place_G: Tensor) -> None:
        """Ask the teacher again about a few examples, spread over all shards.

        Raises:
            DataError: it answers otherwise than when the store was made.
        """
        held = (place_G >= 0).nonzero()[:, 0]
        if not len(held):
            return
        held = held[place_G[held].argsort()]
        probes = held[evenly(len(held), PROBES)]
        numbers = torch.arange(len(probes)) % self.count
        found = shards.take(place_G[probes] * self.count + numbers)
        moved = self._beyond(found, self.rows_G[probes], numbers)
        if moved > 0:
            raise DataError(
                f"the teacher answers otherwise than when {self.directory} was made: a value moved by {moved:.3g} "
                "beyond the tolerance",
                expected="the same answers to the same examples, since its weights and settings are the same",
                do=f"undo the change in the teacher's code, or delete {self.directory} to ask it anew",
            )

    def _moved(self, shard: Shard, rows: Tensor, probes: int) -> float:
        """By how much the teacher moved on the first keys of a shard, see `_beyond`."""
        first = torch.arange(min(probes, len(rows)))
        if not len(first):
            return -math.inf
        numbers = first % self.count
        at = first * self.count + numbers
        return self._beyond({name: shard[name][at] for name in signal_names(shard)}, rows[first], numbers)

    def _beyond(self, stored: Shard, rows: Tensor, numbers: Tensor) -> float:
        """By how much the teacher's answers to these views lie beyond the tolerance of what is stored of them."""
        again, _ = self._answer(rows, numbers)
        before = self.encoding.decode(stored, again.logits.shape[1])
        span_N, pairs = ranges(again.logits), [(before.logits, again.logits)]
        if before.top is not None:
            near_NC = again.logits - again.logits.amax(dim=1, keepdim=True)
            rest_NC = near_NC.scatter(1, before.top.ids, -math.inf)
            pairs = [(before.logits, near_NC.gather(1, before.top.ids))]
            # In units of logits: what is kept may stay while the rest moves.
            pairs += [(t * tail, t * (rest_NC / t).logsumexp(dim=1)) for t, tail in before.top.tails.items()]
        moved = [_difference(*pair, self.tolerance * span_N) for pair in pairs]
        for tap, values in again.features.items():
            moved.append(_difference(before.features[tap], values, self.tolerance * ranges(values)))
        return max(moved)


class _Totals:
    """What a manifest says of all records together."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self.distinct, self.records = 0, 0
        self.dtypes: set[torch.dtype] = set()
        self.largest: dict[str, float] = {}
        self.sums: dict[str, float] = {}

    def add(self, shard: Shard) -> None:
        """Count the records of one shard."""
        self.distinct += len(shard["keys"])
        self.records += len(shard["errors"])
        self.dtypes |= {shard[name].dtype for name in signal_names(shard) if name not in ("ids", "tails")}
        measured = {"error": shard["errors"], "divergence": shard["divergences"]}
        if "tails" in shard:
            measured["tail"] = tail_mass(self.encoding, shard)
        for name, values in measured.items():
            self.largest[name] = max(self.largest.get(name, 0.0), float(values.max()))
            self.sums[name] = self.sums.get(name, 0.0) + float(values.sum(dtype=torch.float64))

    def facts(self) -> dict[str, Any]:
        """For the manifest: `encoding` as it came out, `distinct` keys, the largest and the mean of what was lost."""
        names = [name for name, dtype in (("fp16", torch.float16), ("fp32", torch.float32)) if dtype in self.dtypes]
        top = [f"top-{self.encoding.labels.k}"] if self.encoding.labels.k else []
        return {
            "encoding": " ".join([*top, " and ".join(names)]),
            "distinct": self.distinct,
            **{f"largest_{name}": value for name, value in self.largest.items()},
            **{f"mean_{name}": value / self.records for name, value in self.sums.items()},
        }


def _check_stop(stop: Stop) -> None:
    stop.raise_if_asked("run it again (limbeck distill with --resume): finished shards are kept")


def _difference(before: Tensor, again: Tensor, tolerance_N: Tensor) -> float:
    """By how much answers [N, ...] moved beyond the tolerance of their row; infinite where the shape is another."""
    if before.shape != again.shape:
        return math.inf
    # Equal infinities, the tails of all classes kept, have no difference.
    moved_N = torch.where(before == again, 0.0, (again - before).abs()).reshape(len(before), -1).amax(dim=1)
    size_N = before.abs().nan_to_num(posinf=0.0).reshape(len(before), -1).amax(dim=1)
    return float((moved_N - tolerance_N - 1e-6 * size_N.clamp_min(1.0)).max())


def _name(number: int) -> str:
    return f"shard-{number:05d}.safetensors"
