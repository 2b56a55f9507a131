"""A file of torch.export, opened without torch's loader, which evaluates expressions and unpickles what it finds.

Of the archive only JSON and raw numbers are read. Pickles that torch always adds, the example inputs, are left alone.
"""

import re
import zipfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from limbeck.errors import DataError, first_line
from limbeck.foreign import foreign_file, looks_like, refuse_pickle

MOST_BYTES = 2**40
MOST_ENTRIES = 100_000
MOST_JSON = 32 * 2**20
FORM = 8
"""The major version of torch's schema that this reader knows."""
WHAT = "a program that torch.export.save wrote"
DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""By torch's number for them in such files."""
STRIDED = 7
_NAME = re.compile(r"[\w.+-]+(/[\w.+-]+)*")
_PAYLOAD = re.compile(r"(weight|tensor)_\d+")
_COMPILED = (".so", ".o", ".a", ".dll", ".dylib", ".cpp", ".cubin", ".ptx", ".hsaco")

T = TypeVar("T")


@dataclass(frozen=True)
class Size:
    """A number of a shape, or the name of one that is open."""

    as_int: int | None = None
    as_expr: dict[str, Any] | None = None


@dataclass(frozen=True)
class Meta:
    """What a tensor is, without its numbers."""

    dtype: int
    sizes: list[Size]
    strides: list[Size]
    storage_offset: Size
    layout: int


@dataclass(frozen=True)
class Payload:
    """Where the numbers of a tensor lie."""

    path_name: str
    use_pickle: bool
    is_param: bool
    tensor_meta: Meta | None


@dataclass(frozen=True)
class Payloads:
    """Of all weights, or of all constants, by name."""

    config: dict[str, Payload]


@dataclass(frozen=True)
class Named:
    """An argument of an operator."""

    name: str
    arg: dict[str, Any]
    kind: int | None = None


@dataclass(frozen=True)
class Node:
    """An operator, what it gets, and the names of what it gives."""

    target: str
    inputs: list[Named]
    outputs: list[dict[str, Any]]


@dataclass(frozen=True)
class Graph:
    """Operators in their order."""

    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    nodes: list[Node]
    tensor_values: dict[str, Meta]


@dataclass(frozen=True)
class Signature:
    """What the inputs and outputs of a graph are to the program."""

    input_specs: list[dict[str, dict[str, Any]]]
    output_specs: list[dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class GraphModule:
    """A graph with its signature."""

    graph: Graph
    signature: Signature


@dataclass(frozen=True)
class Range:
    """What an open size may be."""

    min_val: int | None
    max_val: int | None


@dataclass(frozen=True)
class Version:
    """Of the schema."""

    major: int


@dataclass(frozen=True)
class Exported:
    """What of a program's JSON is looked at; the rest, such as guards in Python, is not."""

    graph_module: GraphModule
    range_constraints: dict[str, Range]
    schema_version: Version
    torch_version: str = "unknown"


class Archive:
    """The one program in a file, and its tensors.

    Raises:
        DataError: no such file, no plain archive, compiled code, pickles, or several programs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.suffix.lower() != ".pt2":
            refuse_pickle(path)
        size = foreign_file(path, what=WHAT, most=MOST_BYTES)
        if looks_like(path) != "a zip archive":
            raise refused(path, f"it is {looks_like(path) or 'no archive'}")
        try:
            with zipfile.ZipFile(path) as archive:
                self._entries = self._checked(archive.infolist(), size)
                self._read_all(archive)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, OverflowError) as error:
            if isinstance(error, DataError):
                raise
            raise refused(path, first_line(error)) from None

    def _checked(self, infos: list[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
        """The entries by their names below the root."""
        if not 0 < len(infos) <= MOST_ENTRIES or sum(info.file_size for info in infos) > size:
            raise refused(self.path, f"its {len(infos):,} entries are to hold more than the file")
        entries: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            root, _, name = info.filename.partition("/")
            parts = info.filename.split("/")
            if not _NAME.fullmatch(info.filename) or ".." in parts or "." in parts or not name:
                raise refused(self.path, f"it has an entry named {info.filename[:80]!r}")
            if name in entries or root != infos[0].filename.partition("/")[0]:
                raise refused(self.path, f"it has {name!r} twice, or beside its root")
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.compress_size != info.file_size:
                raise refused(self.path, f"its entry {name!r} is compressed or encrypted, as torch writes none")
            if name.startswith(("data/aotinductor/", "data/executorch/")) or name.endswith(_COMPILED):
                raise DataError(
                    f"{self.path} holds compiled code, {name!r}",
                    expected=f"{WHAT}: a graph and its weights",
                    do="save the program itself: torch.export.save(torch.export.export(...), path)",
                )
            entries[name] = info
        return entries

    def _read_all(self, archive: zipfile.ZipFile) -> None:
        names = [name[7:-5] for name in self._entries if name.startswith("models/") and name.endswith(".json")]
        if len(names) != 1:
            raise refused(self.path, f"it holds {len(names)} programs")
        if self._bytes(archive, "byteorder", b"little").strip() != b"little":
            raise refused(self.path, "its numbers are big-endian")
        self.exported = self._json(archive, f"models/{names[0]}.json", Exported)
        version = self.exported.schema_version.major
        if version != FORM:
            raise DataError(
                f"{self.path} was exported by torch {self.exported.torch_version[:40]} in form {version}",
                expected=f"form {FORM}, that of torch {torch.__version__}",
                do="export it again with a torch of today",
            )
        self.tensors: dict[str, Tensor] = {}
        self.learnt: set[str] = set()
        for folder, kind in (("data/weights", "weights"), ("data/constants", "constants")):
            payloads = self._json(archive, f"{folder}/{names[0]}_{kind}_config.json", Payloads)
            for name, payload in payloads.config.items():
                self.tensors[name] = self._tensor(archive, folder, name, payload)
                self.learnt |= {name} if payload.is_param else set()

    def _bytes(self, archive: zipfile.ZipFile, name: str, default: bytes | None = None) -> bytes:
        if name in self._entries:
            return archive.read(self._entries[name])
        if default is None:
            raise refused(self.path, f"it lacks {name!r}")
        return default

    def _json(self, archive: zipfile.ZipFile, name: str, kind: type[T]) -> T:
        data = self._bytes(archive, name)
        if len(data) > MOST_JSON:
            raise refused(self.path, f"its {name!r} has {len(data):,} bytes")
        try:
            return TypeAdapter(kind).validate_json(data, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))[:80]
            raise refused(self.path, f"its {name!r} is not as torch writes it: {where} {first['msg']}") from None

    def _tensor(self, archive: zipfile.ZipFile, folder: str, name: str, payload: Payload) -> Tensor:
        meta = payload.tensor_meta
        if payload.use_pickle or meta is None or not _PAYLOAD.fullmatch(payload.path_name):
            raise DataError(
                f"{self.path} keeps {name[:80]!r} as a pickle or an object",
                expected="plain tensors",
                do="export the network with tensors for parameters, buffers and constants alone",
            )
        sizes, strides = ([each.as_int for each in side] for side in (meta.sizes, meta.strides))
        whole = [*sizes, *strides, meta.storage_offset.as_int]
        data = self._bytes(archive, f"{folder}/{payload.path_name}")
        dtype = DTYPES.get(meta.dtype)
        if dtype is None or meta.layout != STRIDED or len(sizes) != len(strides) or not all(map(_natural, whole)):
            raise refused(self.path, f"its tensor {name[:80]!r} is of a kind that limbeck does not read")
        numbers = [number for number in whole if number is not None]
        shape, steps, offset = numbers[: len(sizes)], numbers[len(sizes) : -1], numbers[-1]
        last = offset + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
        held = len(data) // dtype.itemsize
        count = prod(size for size in shape)
        if count > held or (count and last >= held):
            raise refused(self.path, f"its tensor {name[:80]!r} of shape {shape} has {len(data):,} bytes")
        if not count:
            return torch.empty(shape, dtype=dtype)
        flat = torch.frombuffer(bytearray(data), dtype=dtype, count=held)
        return flat.as_strided(shape, steps, offset).clone()


def _natural(number: int | None) -> bool:
    return number is not None and 0 <= number < 2**62


def refused(path: Path, why: str) -> DataError:
    """A file that cannot be read as a program, and why."""
    return DataError(f"{path} is not a readable program ({why})", expected=WHAT, do="download or export it again")
