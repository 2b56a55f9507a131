"""The label store: what a teacher said, asked once, never stale.

A store is a directory of sealed shards. It is named by a fingerprint of all that decides the answers, its records
are found by the content of their examples, and since code can change under the same weights, a few probe examples
are asked again whenever it is opened. An interrupted labelling goes on with the examples that no shard holds yet.

Dimension key: G distinct examples, N rows of the training set, C classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limbeck.data import Examples
from limbeck.errors import DataError
from limbeck.files import (
    MANIFEST,
    digest,
    digest_tensors,
    locked,
    read_manifest,
    read_tensors,
    seal,
    sweep,
    verify,
    write_tensors,
)
from limbeck.progress import Progress, Stop, Watch
from limbeck.teachers.signals import Stored, bears_half, decode, encode
from limbeck.teachers.teacher import BATCH_SIZE, PROBABILITY_FLOOR, Teacher, ask

SHARD_SIZE = 16 * BATCH_SIZE
PROBES = 16
_DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class LabelStore:
    """A sealed store and what it says of itself.

    Args:
        directory: of the shards.
        manifest: as sealed: fingerprint, encoding, its error, probes, counts.
        signals: for the rows of the examples it was opened for.
    """

    directory: Path
    manifest: dict[str, Any]
    signals: Stored


def label(root: Path, teacher: Teacher, examples: Examples, *, watch: Watch, stop: Stop) -> LabelStore:
    """Open the teacher's store for these examples under `root`, asking the teacher what no store knows yet.

    Float16 holds the logits unless they overflow it or lose too much in it; then a store of float32 is made.

    Raises:
        DataError: the teacher answers badly, answers its probes otherwise than before, or changed while asked; a
            shard is damaged; another process is writing the store.
        Interrupted: a stop was asked for; finished shards stay.
    """
    probes = _probe_answers(teacher, examples)
    encoding = "fp16" if bears_half(probes) else "fp32"
    try:
        return _label(root, teacher, examples, encoding, probes, watch, stop)
    except _NotFaithful:
        return _label(root, teacher, examples, "fp32", probes, watch, stop)


class _NotFaithful(Exception):
    """A shard of float16 would overflow or lose too much."""


def _label(
    root: Path, teacher: Teacher, examples: Examples, encoding: str, probes: Tensor, watch: Watch, stop: Stop
) -> LabelStore:
    facts = fingerprint(teacher, examples, encoding)
    directory = root / digest(facts)[:16]
    distinct = examples.select((examples.occurrences == 0).nonzero()[:, 0])
    if (directory / MANIFEST).exists():
        manifest = verify(directory)
        _check_probes(manifest, probes, directory)
    else:
        with locked(directory):
            sweep(directory)
            errors = _write_shards(directory, teacher, distinct, _DTYPES[encoding], watch, stop)
            _check_pure(teacher, facts)
            seal(
                directory,
                [path.name for path in _shards(directory)],
                fingerprint=facts,
                examples=len(examples),
                distinct=len(distinct),
                encoding=encoding,
                **errors,
                probes=probes.tolist(),
            )
            manifest = read_manifest(directory)
    return LabelStore(directory, manifest, _read(directory, examples))


def fingerprint(teacher: Teacher, examples: Examples, encoding: str) -> dict[str, Any]:
    """All that decides the bytes of a store: who was asked, about what, and how the answer is written down."""
    return {
        "teacher": teacher.identity(),
        "gives": teacher.gives,
        "floor": PROBABILITY_FLOOR if teacher.gives == "probabilities" else None,
        "classes": list(examples.classes),
        "inputs": {"shape": list(examples.inputs.shape[1:]), "dtype": str(examples.inputs.dtype)},
        "examples": digest_tensors({"keys": examples.keys}),
        "view": "plain",
        "encoding": encoding,
        "batch": BATCH_SIZE,
    }


def _write_shards(
    directory: Path, teacher: Teacher, distinct: Examples, dtype: torch.dtype, watch: Watch, stop: Stop
) -> dict[str, float]:
    """Ask about every shard's examples that is not there yet; returns the errors of the encoding."""
    largest = total = 0.0
    for number, rows in enumerate(torch.arange(len(distinct)).split(SHARD_SIZE)):
        path = directory / f"shard-{number:05d}.safetensors"
        shard = _finished(path, distinct.keys[rows])
        if shard is None:
            shard = _ask_shard(teacher, distinct.select(rows), dtype)
            write_tensors(path, shard)
        largest = max(largest, float(shard["errors"].max()))
        total += float(shard["errors"].sum(dtype=torch.float64))
        watch(Progress("labels", int(rows[-1]) + 1, len(distinct)))
        stop.raise_if_asked("run the same command again with --resume: finished shards are kept")
    return {"largest_error": largest, "mean_error": total / len(distinct)}


def _ask_shard(teacher: Teacher, examples: Examples, dtype: torch.dtype) -> dict[str, Tensor]:
    parts = zip(examples.inputs.split(BATCH_SIZE), examples.keys.split(BATCH_SIZE), strict=True)
    logits_GC = torch.cat([ask(teacher, inputs, keys) for inputs, keys in parts])
    if dtype == torch.float16 and not bears_half(logits_GC):
        raise _NotFaithful
    stored = encode(logits_GC, dtype)
    shard = {
        "keys": examples.keys,
        "logits": stored,
        "errors": (decode(stored) - logits_GC).abs().amax(dim=1),
    }
    # The digest travels inside, so that a shard can be trusted before the manifest exists.
    return {**shard, "sha256": _shard_digest(shard)}


def _finished(path: Path, keys: Tensor) -> dict[str, Tensor] | None:
    """The shard of a labelling that was cut short, if it is whole and holds just these keys."""
    if not path.exists():
        return None
    try:
        shard = read_tensors(path)
        checksum = shard.pop("sha256")
        whole = torch.equal(checksum, _shard_digest(shard)) and torch.equal(shard["keys"], keys)
    except (DataError, KeyError):
        return None
    return {**shard, "sha256": checksum} if whole else None


def _shard_digest(shard: dict[str, Tensor]) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(digest_tensors(shard)), dtype=torch.uint8)


def _shards(directory: Path) -> list[Path]:
    return sorted(directory.glob("shard-*.safetensors"))


def _read(directory: Path, examples: Examples) -> Stored:
    """The stored logits [N, C] in the order of the examples, each found by its key."""
    shards = [read_tensors(path) for path in _shards(directory)]
    logits_GC = torch.cat([shard["logits"] for shard in shards])
    keys = torch.cat([shard["keys"] for shard in shards])
    place = {key.tobytes(): row for row, key in enumerate(keys.numpy())}
    rows = torch.tensor([place[key.tobytes()] for key in examples.keys.numpy()])
    return Stored(logits_GC[rows])


# --- is it still the same teacher? ---------------------------------------------------------------------------------


def _probe_answers(teacher: Teacher, examples: Examples) -> Tensor:
    """The teacher's logits [PROBES, C] for the examples of the smallest keys, which any order of the data gives."""
    words = examples.keys[:, :8].numpy().copy().view(">u8")[:, 0]
    rows = torch.from_numpy(words.argsort(kind="stable")[:PROBES].copy())
    return ask(teacher, examples.inputs[rows], examples.keys[rows])


def _check_probes(manifest: dict[str, Any], probes: Tensor, directory: Path) -> None:
    before = torch.tensor(manifest["probes"])
    # Other threads or another machine move the last bits of a float32; an edited forward moves more.
    tolerance = 1e-4 * float(before.abs().max()) + 1e-6
    moved = float((before - probes).abs().max())
    if moved > tolerance:
        raise DataError(
            f"the teacher answers its {len(probes)} probe examples otherwise than when {directory} was made: "
            f"a logit moved by {moved:.3g}",
            expected=f"the same answers up to {tolerance:.1g}, since its weights and settings are the same",
            do=f"undo the change in the teacher's code, or delete {directory} to ask it anew",
        )


def _check_pure(teacher: Teacher, facts: dict[str, Any]) -> None:
    if teacher.identity() != facts["teacher"]:
        raise DataError(
            "the teacher's parameters or buffers changed while it was asked",
            expected="a teacher that answers without learning",
            do="remove from its forward whatever writes to its own tensors",
        )


def read_answers(directory: Path) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """All that a sealed store holds: keys [G, 32], logits [G, C] in float32, and the names of the classes.

    Raises:
        DataError: it is not sealed, or damaged.
    """
    manifest = verify(directory)
    shards = [read_tensors(path) for path in _shards(directory)]
    logits_GC = torch.cat([decode(shard["logits"]) for shard in shards])
    return torch.cat([shard["keys"] for shard in shards]), logits_GC, tuple(manifest["fingerprint"]["classes"])
