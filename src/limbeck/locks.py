"""Who may write: one process a directory, or one a file where several share the work. The kernel's locks, or none."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from limbeck.errors import DataError
from limbeck.files import disk_errors, make_directory, write_text
from limbeck.progress import Stop

POLL = 0.01
"""Seconds between two tries for a lock that is waited for."""


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the one writer's lock of a directory; the kernel releases it if the holder dies.

    Raises:
        DataError: another process holds it.
        DiskError: the directory cannot be written, or its file system knows no locks.
    """
    with disk_errors(directory):
        make_directory(directory)
        # The kernel's lock or none: a lock that is a file outlives a killed holder.
        lock = FileLock(directory / ".lock", timeout=0, fallback_to_soft=False)
        holder = directory / ".lock-holder"
        try:
            lock.acquire()
        except Timeout:
            who = "another process"
            with suppress(OSError):  # the holder may be gone by now
                who = holder.read_text(encoding="utf-8")
            raise DataError(
                f"{directory} is being written by {who}",
                expected="one writer at a time",
                do="wait until it ends, or use another directory",
            ) from None
    try:
        write_text(holder, f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether this process may write a file that several could: others are told no while the block runs.

    The kernel's lock, on a file of its own beside `path`, on this machine and on those that share the directory; it is
    released if the holder dies. Nobody waits.

    Raises:
        DiskError: the directory cannot be written, or its file system knows no locks.
    """
    with disk_errors(path):
        make_directory(path.parent)
        lock = FileLock(_lock_of(path), timeout=0, fallback_to_soft=False)
        with suppress(Timeout):
            lock.acquire()
    try:
        yield lock.is_locked
    finally:
        lock.release()


@contextmanager
def turn(path: Path, stop: Stop) -> Iterator[None]:
    """Hold the claim of a file while the block runs, once whoever holds it lets go.

    Raises:
        DiskError: as `claimed` does.
        Interrupted: a stop was asked for while waiting.
    """
    with disk_errors(path):
        make_directory(path.parent)
        lock = FileLock(_lock_of(path), timeout=-1, poll_interval=POLL, fallback_to_soft=False)
        with suppress(Timeout):
            lock.acquire(cancel_check=lambda: stop.number is not None)
    if not lock.is_locked:
        stop.raise_if_asked("run the same command again")
    try:
        yield
    finally:
        lock.release()


def forget_claim(path: Path) -> None:
    """Remove the file of a claim, once nobody needs to make it any more."""
    with disk_errors(path):
        _lock_of(path).unlink(missing_ok=True)


def _lock_of(path: Path) -> Path:
    return path.with_name(f".lock-{path.name}")
