"""Files that a stranger might send: each builder writes one into a folder, and says with what words it is refused.

What would run code makes the file `canary` in that folder.
"""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

Hostile = tuple[Path, str]
Builder = Callable[[Path], Hostile]


class Canary:
    """A pickle that makes a file when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder / "canary"),)


# --- safetensors -----------------------------------------------------------------------------------------------------


def safetensors(path: Path, header: object, body: bytes = b"", length: int | None = None) -> Path:
    """The format by hand: the header's length, the header, the tensors."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return path


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def weights_that_are_a_pickle(folder: Path) -> Hostile:
    path = folder / "w.safetensors"
    path.write_bytes(pickle.dumps(Canary(folder)))
    return path, "it is a pickle"


def weights_that_are_a_torch_file(folder: Path) -> Hostile:
    path = folder / "w.safetensors"
    torch.save({"w": Canary(folder)}, path)
    return path, "it is a zip archive"


def weights_named_pt(folder: Path) -> Hostile:
    path = folder / "w.pt"
    torch.save({"w": Canary(folder)}, path)
    return path, "weights_only=True"


def weights_named_pth_in_capitals(folder: Path) -> Hostile:
    path = folder / "w.PTH"
    path.write_bytes(pickle.dumps(Canary(folder)))
    return path, "is a pickle by its name"


def weights_named_bin(folder: Path) -> Hostile:
    path = folder / "pytorch_model.bin"
    path.write_bytes(pickle.dumps(Canary(folder)))
    return path, "is a pickle by its name"


def weights_whose_header_is_longer_than_the_file(folder: Path) -> Hostile:
    return safetensors(folder / "w.safetensors", {}, length=2**62), "its header would have 4,611,686,018,427,387,904"


def weights_whose_header_is_a_bomb(folder: Path) -> Hostile:
    many = b"{" + b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % n for n in range(400_000)) + b"}"
    return safetensors(folder / "w.safetensors", many), "its header would have"


def weights_whose_header_is_nested(folder: Path) -> Hostile:
    return safetensors(folder / "w.safetensors", b"[" * 100_000), "its header is no JSON"


def weights_that_declare_an_absurd_size(folder: Path) -> Hostile:
    path = safetensors(folder / "w.safetensors", {"w": entry([2**40], 0, 2**42)}, bytes(16))
    return path, "not a readable safetensors file"


def weights_whose_shape_overflows(folder: Path) -> Hostile:
    path = safetensors(folder / "w.safetensors", {"w": entry([2**32, 2**32, 4], 0, 16)}, bytes(16))
    return path, "not a readable safetensors file"


def weights_that_overlap(folder: Path) -> Hostile:
    header = {"a": entry([4], 0, 16), "b": entry([4], 8, 24)}
    return safetensors(folder / "w.safetensors", header, bytes(24)), "not a readable safetensors file"


def weights_with_a_hole(folder: Path) -> Hostile:
    header = {"a": entry([1], 0, 4), "b": entry([1], 8, 12)}
    return safetensors(folder / "w.safetensors", header, bytes(12)), "not a readable safetensors file"


def weights_of_an_unknown_type(folder: Path) -> Hostile:
    header = {"w": entry([4], 0, 16, "PYOBJECT")}
    return safetensors(folder / "w.safetensors", header, bytes(16)), "not a readable safetensors file"


def weights_that_are_cut_short(folder: Path) -> Hostile:
    path = folder / "w.safetensors"
    path.write_bytes(save({"w": torch.ones(100)})[:-7])
    return path, "not a readable safetensors file"


def weights_that_are_empty(folder: Path) -> Hostile:
    path = folder / "w.safetensors"
    path.touch()
    return path, "has 0 bytes"


def weights_that_are_a_pipe(folder: Path) -> Hostile:
    path = folder / "w.safetensors"
    os.mkfifo(path)
    return path, "a device or a pipe"


def weights_that_never_end(folder: Path) -> Hostile:
    path = folder / "w.safetensors"
    path.symlink_to("/dev/zero")
    return path, "a device or a pipe"


WEIGHTS: tuple[Builder, ...] = (
    weights_that_are_a_pickle,
    weights_that_are_a_torch_file,
    weights_named_pt,
    weights_named_pth_in_capitals,
    weights_named_bin,
    weights_whose_header_is_longer_than_the_file,
    weights_whose_header_is_a_bomb,
    weights_whose_header_is_nested,
    weights_that_declare_an_absurd_size,
    weights_whose_shape_overflows,
    weights_that_overlap,
    weights_with_a_hole,
    weights_of_an_unknown_type,
    weights_that_are_cut_short,
    weights_that_are_empty,
    weights_that_are_a_pipe,
    weights_that_never_end,
)
