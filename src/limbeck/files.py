"""The commit protocol: every durable file of limbeck is written, sealed and verified here.

A file is written to a temporary name in its own directory, flushed, synced, renamed, and the directory synced, so
that a reader sees the old bytes or the new and an acknowledged write survives a power cut. A directory of files is
committed by its manifest, which is written last and names every file with its size and sha256: a directory without
a valid manifest was never finished. Tensors are safetensors and the rest is JSON; nothing is ever unpickled.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from limbeck.errors import DataError, DiskError, RecipeError

if TYPE_CHECKING:  # a bundle is read where there is no torch
    from torch import Tensor

MANIFEST = "manifest.json"
FORMAT = 1
_TEMPORARY = ".tmp-"
MOST_JSON = 16 * 2**20
"""Bytes of a JSON file that is read; its values take some twenty times as many."""

Content: TypeAlias = "bytes | dict[str, Tensor] | dict[str, Any]"


# --- one file --------------------------------------------------------------------------------------------------


def write_bytes(path: Path, data: bytes) -> None:
    """Commit `data` to `path`: after the return it is there in full, before it the old content is.

    Raises:
        DiskError: no space, no permission, a failed sync. The temporary file is gone, and the old content stands,
            unless the last sync of all failed: then the new content is there, but may not outlive a power cut.
    """
    # Of one length whatever the name, which may already be the longest that the file system takes.
    name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    temporary = path.with_name(f"{_TEMPORARY}{os.getpid()}-{threading.get_native_id()}-{name}")
    with disk_errors(path, len(data)):
        try:
            make_directory(path.parent)
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_directory(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Commit UTF-8 text."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Commit JSON; a NaN in it is our bug: ValueError."""
    write_bytes(path, encode(value))


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]") -> None:
    """Commit named tensors as safetensors."""
    write_bytes(path, encode_tensors(tensors))


def encode(value: Any) -> bytes:
    """JSON bytes, indented for people, ending in a newline."""
    return (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def encode_tensors(tensors: "Mapping[str, Tensor]") -> bytes:
    """Safetensors bytes: names sorted by the format itself, each tensor a contiguous copy on the CPU."""
    import safetensors.torch

    # Tied weights share memory, which the format refuses: each name gets its own copy.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return safetensors.torch.save(plain)


def read_json(path: Path) -> Any:
    """The JSON value in `path`.

    Raises:
        DataError: no such file, or its content is not JSON.
    """
    try:
        _check_regular(path, MOST_JSON)
        return json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", expected="a JSON file", do="check the path") from None
    except (ValueError, RecursionError, OSError) as error:
        raise DataError(
            f"{path} is not readable JSON ({error})",
            expected="a file that limbeck wrote",
            do="restore it from a copy, or delete it and run the stage again",
        ) from None


def _check_regular(path: Path, most: int | None = None) -> None:
    """Refuse with an OSError what is no file, or too large a one: reading a pipe or a device would never end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is no regular file")
    if most is not None and status.st_size > most:
        raise OSError(f"it has {status.st_size:,} bytes, more than {most:,}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """The named tensors in a safetensors file.

    Raises:
        DataError: no such file, or it is truncated or not of that format.
    """
    import safetensors.torch

    try:
        _check_regular(path)
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", expected="a safetensors file", do="check the path") from None
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} is not a readable safetensors file ({error})",
            expected="tensors in the safetensors format; limbeck reads no pickles",
            do="restore it from a copy, or delete it and run the stage again",
        ) from None


def append_line(path: Path, line: str) -> None:
    """Add one line to a log, not synced: it may lose its tail, and `cut_lines` mends a torn one."""
    with disk_errors(path, len(line)):
        make_directory(path.parent)
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def cut_lines(path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Keep the lines of a JSONL log whose values satisfy `keep`; torn ones go."""
    if not path.exists():
        return
    with disk_errors(path):
        before = path.read_text(encoding="utf-8", errors="replace")
    after = "".join(line + "\n" for line in before.split("\n") if _satisfies(line, keep))
    if after != before:
        write_text(path, after)


def _satisfies(line: str, keep: Callable[[dict[str, Any]], bool]) -> bool:
    try:
        value = json.loads(line)
    except ValueError:
        return False
    return isinstance(value, dict) and keep(value)


# --- a directory of files ----------------------------------------------------------------------------------------


def commit_directory(directory: Path, contents: Mapping[str, Content], **facts: Any) -> None:
    """Write files into a directory and seal them with a manifest that also holds `facts`.

    What an unfinished commit left under these names is replaced. `*.safetensors` are tensors, even if there are none.
    """
    with disk_errors(directory):
        make_directory(directory)
        (directory / MANIFEST).unlink(missing_ok=True)
        sync_directory(directory)
    for name, content in contents.items():
        write_bytes(directory / name, _as_bytes(name, content))
    seal(directory, list(contents), **facts)


def _as_bytes(name: str, content: Content) -> bytes:
    if isinstance(content, bytes):
        return content
    return encode_tensors(content) if name.endswith(".safetensors") else encode(content)


def seal(directory: Path, names: list[str], **facts: Any) -> None:
    """Write the manifest of files that are already there: the mark that the directory is complete."""
    with disk_errors(directory):
        files = {name: describe(directory / name) for name in sorted(names)}
    write_json(directory / MANIFEST, sealed({"format": FORMAT, **facts, "files": files}))


def describe(path: Path) -> dict[str, Any]:
    """Size in bytes and sha256 of a file, as manifests and records give them."""
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def verify(directory: Path) -> dict[str, Any]:
    """The manifest of a sealed directory, all of whose files have the size and sha256 it names.

    Raises:
        DataError: no manifest, an edited one, or a file that is missing or differs.
    """
    manifest = read_manifest(directory)
    for name, expected in manifest["files"].items():
        check_file(directory, name, expected)
    return manifest


def check_file(directory: Path, name: str, expected: dict[str, Any]) -> None:
    """Hold a file of a sealed directory against its entry in the manifest.

    Raises:
        DataError: it is missing, or differs in size or sha256.
    """
    path = directory / name
    if os.path.basename(name) != name or not isinstance(expected, dict) or not {"bytes", "sha256"} <= expected.keys():
        raise DataError(
            f"{directory / MANIFEST} names the file {name!r} in a way that limbeck does not write",
            expected="plain names of files beside it, each with its bytes and sha256",
            do="get the folder again from where it was made",
        )
    try:
        _check_regular(path)
        found = describe(path)
    except OSError:  # missing, or on a failing disk
        found = None
    if found != expected:
        came = (
            "is missing or unreadable"
            if found is None
            else f"has {found['bytes']} bytes, sha256 {found['sha256'][:12]}"
        )
        raise DataError(
            f"{path} {came}",
            expected=f"{expected['bytes']} bytes, sha256 {expected['sha256'][:12]}, as {MANIFEST} names them",
            do=f"restore the file, or delete {directory} and run the stage again",
        )


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest alone, its own checksum verified, the files not.

    Raises:
        DataError: missing, edited, or of a newer format.
    """
    manifest = unsealed(read_json(directory / MANIFEST), directory / MANIFEST)
    if not isinstance(manifest.get("files"), dict):
        raise DataError(
            f"{directory / MANIFEST} names no files",
            expected="a manifest that limbeck wrote",
            do="get the folder again from where it was made",
        )
    return manifest


def sealed(body: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with its own checksum in it."""
    body = json.loads(encode(body))  # as a reader will see it: keys are words, tuples are lists
    return {**body, "sha256": digest(body)}


def unsealed(value: Any, path: Path) -> dict[str, Any]:
    """The object without its checksum.

    Raises:
        DataError: it is no object, of a newer format, or does not match its checksum.
    """
    if isinstance(value, dict):
        check_format(value, path)
        body = {key: item for key, item in value.items() if key != "sha256"}
        with suppress(ValueError):  # a number too large for JSON, which limbeck cannot have written
            if value.get("sha256") == digest(body):
                return body
    raise DataError(
        f"{path} does not match its own checksum",
        expected="a file as limbeck wrote it",
        do="restore it from a copy, or delete it and run the stage again",
    )


def check_format(value: Mapping[str, Any], path: Path) -> None:
    """Refuse a file of a newer format than this limbeck knows.

    Raises:
        DataError: likewise.
    """
    if value.get("format") != FORMAT:
        raise DataError(
            f"{path} has format {value.get('format')!r}",
            expected=f"format {FORMAT}",
            do="read it with the limbeck that wrote it, or a newer one",
        )


# --- identity ----------------------------------------------------------------------------------------------------


def digest(value: Any) -> str:
    """sha256 of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def digest_tensors(tensors: "Mapping[str, Tensor]") -> str:
    """sha256 of named tensors: names, dtypes, shapes and bytes."""
    import torch

    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def path_of(text: str, key: str) -> Path:
    """A path as a recipe gives it, `~` understood.

    Raises:
        RecipeError: no path of this machine; `key` is named.
    """
    try:
        if "\0" not in text:
            return Path(text).expanduser()
    except RuntimeError:  # ~somebody who is not here
        pass
    raise RecipeError(f"{key} is {text!r}", expected="a path of this machine", do="mend it")


# --- directories, the disk ----------------------------------------------------------------------------------


def make_directory(directory: Path) -> None:
    """Make a directory and those above it, each name durable."""
    if not directory.is_dir():
        make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot sync directories
            raise
    finally:
        os.close(descriptor)


def sweep(directory: Path, *, sparing: Path | None = None) -> None:
    """Remove temporary files that a killed writer left; for the holder of the lock only.

    Args:
        directory: swept with all below it.
        sparing: a directory in it that others may be writing to.
    """
    with disk_errors(directory):
        for path in directory.rglob(f"{_TEMPORARY}*"):
            if sparing is None or sparing not in path.parents:
                path.unlink(missing_ok=True)


@contextmanager
def disk_errors(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn an operating-system error into a DiskError that names the path and the bytes needed and free."""
    try:
        yield
    except DiskError:
        raise
    except OSError as error:
        free = free_bytes(path)
        room = "" if needed is None or free is None else f"; {needed:,} bytes needed, {free:,} free"
        expected, do = "a directory that this user may write", "choose another place with out"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            expected, do = "a writable directory with room", "free some space, then run again with --resume"
        elif error.errno == errno.EIO:
            expected, do = "a sound disk", "look at the disk (dmesg), then run again with --resume or elsewhere"
        raise DiskError(
            f"{path} could not be written: {error.strerror or error}{room}", expected=expected, do=do
        ) from error


def free_bytes(path: Path) -> int | None:
    for place in (path, *path.parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return None
