"""The label store: what a teacher said, asked once, never stale.

A store is a directory of sealed shards, named by a fingerprint of all that decides the answers. Its records are found
by the content of their examples: reordered or repeated rows change nothing, and new examples are added as further
shards. Since code can change under the same weights, a few examples are asked again whenever it is opened.

Dimension key: N rows of the training set, G distinct keys, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limbeck.data import Examples, Views
from limbeck.errors import DataError
from limbeck.files import MANIFEST, read_tensors, verify
from limbeck.progress import Stop, Watch
from limbeck.signal import Signal
from limbeck.teachers.encoding import Encoding, Labels
from limbeck.teachers.labelling import Labelling
from limbeck.teachers.shards import Mapped, Shards
from limbeck.teachers.signals import Stored
from limbeck.teachers.teacher import Teacher


@dataclass(frozen=True)
class LabelStore:
    """A sealed store and what it says of itself.

    Args:
        directory: of the shards.
        manifest: as sealed: fingerprint, encoding and what it lost, and counts: distinct examples in all, and the
            examples of the data for which it was last added to.
        signals: for the rows of the examples it was opened for.
        pace: of this process, as far as it has asked: examples per second, and their share of the machine's peak.
    """

    directory: Path
    manifest: dict[str, Any]
    signals: Stored | Mapped
    pace: Mapping[str, float]


@dataclass(frozen=True)
class StoreState:
    """How far the labelling of some examples has come.

    Args:
        directory: of the store that they have, or would have.
        sealed: whether it was ever finished.
        answered: the keys that are answered, in sealed shards or in shards waiting for the seal.
        wanted: the keys of the examples.
        bytes: on the disk.
        encoding: of a sealed store, as it came out.
        others: stores beside it, of other teachers, views or settings.
    """

    directory: Path
    sealed: bool
    answered: int
    wanted: int
    bytes: int
    encoding: str | None
    others: tuple[Path, ...]


def label(
    root: Path,
    teacher: Teacher,
    examples: Examples,
    *,
    views: Views | None = None,
    encoding: Encoding | None = None,
    watch: Watch,
    stop: Stop,
) -> LabelStore:
    """Open the teacher's store for these examples under `root`, asking the teacher what no store knows yet.

    Several processes may do so at once, on machines that share the directory: each asks about a part, and all return
    when the last is done.

    Args:
        root: of all stores of a run.
        teacher: who is asked.
        examples: what about.
        views: in which they are seen; None is the plain example.
        encoding: how the answers are kept; None is float16 where that is faithful.
        watch: told of progress.
        stop: looked at between two questions.

    Raises:
        DataError: the teacher answers badly, answers otherwise than before, or changed while asked; a shard is
            damaged.
        DiskError: there is no room for the answers.
        Interrupted: a stop was asked for; finished shards stay.
    """
    labelling = Labelling(root, teacher, examples, views, encoding or Encoding())
    shards, place_G = labelling.found()
    if (place_G < 0).any():
        shards, place_G = labelling.complete(shards, place_G, watch, stop)
    else:
        labelling.check_same(shards, place_G)
    signals = labelling.signals(shards, place_G)
    return LabelStore(labelling.directory, shards.manifest, signals, labelling.pace.facts())


def directory_of(
    root: Path, teacher: Teacher, examples: Examples, *, views: Views | None = None, encoding: Encoding | None = None
) -> Path:
    """The directory of the store that `label` would open."""
    return Labelling(root, teacher, examples, views, encoding or Encoding()).directory


def state_of(
    root: Path, teacher: Teacher, examples: Examples, *, views: Views | None = None, encoding: Encoding | None = None
) -> StoreState:
    """How far a labelling has come; nothing is asked, written or held against its checksum.

    Raises:
        DataError: a manifest that was edited, or a sealed shard that cannot be read.
    """
    labelling = Labelling(root, teacher, examples, views, encoding or Encoding())
    directory, (shards, place_G) = labelling.directory, labelling.found()
    paths = sorted(directory.glob("shard-*"))
    waiting = [_keys_waiting(path) for path in paths if path.name not in shards.names]
    found = int((place_G >= 0).sum()) + sum(waiting)
    others = tuple(sorted(path.parent for path in root.glob(f"*/{MANIFEST}") if path.parent != directory))
    return StoreState(
        directory=directory,
        sealed=labelling.sealed,
        answered=min(found, len(labelling.rows_G)),
        wanted=len(labelling.rows_G),
        bytes=sum(path.stat().st_size for path in paths if path.exists()),
        encoding=shards.manifest.get("encoding"),
        others=others,
    )


def _keys_waiting(path: Path) -> int:
    """The keys of a shard that waits for its seal; none where it is damaged, or gone by now: it will be asked anew."""
    try:
        return len(read_tensors(path)["keys"])
    except (DataError, KeyError):
        return 0


def read_answers(directory: Path) -> tuple[Tensor, Signal, tuple[str, ...]]:
    """All that a sealed store holds: keys [G, 32], the signal about the first view of each, the names of the classes.

    Raises:
        DataError: it is not sealed, or damaged.
    """
    manifest = verify(directory)
    encoding = _encoding(manifest["fingerprint"]["encoding"])
    shards = Shards(directory, manifest)
    every = torch.arange(sum(shards.counts)) * manifest["views"]
    signal = encoding.decode(shards.take(every), manifest["width"])
    return torch.cat(shards.keys), signal, tuple(manifest["fingerprint"]["classes"])


def _encoding(facts: dict[str, Any]) -> Encoding:
    """The encoding that a fingerprint tells of."""
    return Encoding(Labels(encoding=facts["name"], k=facts.get("k")), tuple(facts.get("temperatures", (1.0,))))
