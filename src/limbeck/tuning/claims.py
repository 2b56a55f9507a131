"""Who works on what in a search that several processes share: the kernel's locks, no clock.

A claim lasts as long as its process: one that was killed loses it at once, one that merely takes long never does.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from limbeck.locks import claimed, turn
from limbeck.progress import Stop
from limbeck.tuning.database import DatabaseClaims, sqlite_file


class Claims(Protocol):
    """What the processes of a search agree by."""

    def alone(self) -> AbstractContextManager[None]:
        """The search to itself for as long as the block runs; waits for whoever has it."""

    def claimed(self, name: str) -> AbstractContextManager[bool]:
        """Whether this process holds the claim of that name while the block runs; nobody waits."""


class FileClaims:
    """Claims on files of a directory that all processes see.

    Args:
        directory: where the files of the claims lie.
        stop: looked at while waiting.
    """

    def __init__(self, directory: Path, stop: Stop) -> None:
        self.directory, self.stop = directory, stop

    def alone(self) -> AbstractContextManager[None]:
        """See `Claims.alone`.

        Raises:
            Interrupted: a stop was asked for while another process had the search.
        """
        return turn(self.directory / "study", self.stop)

    def claimed(self, name: str) -> AbstractContextManager[bool]:
        """See `Claims.claimed`."""
        return claimed(self.directory / name)


class BothClaims:
    """Claims that must be had of two keepers; what is to be alone is the first one's.

    Args:
        first: such as a server, which all processes of a search reach.
        second: such as the files of a directory, which a process that the server lost may still be writing.
    """

    def __init__(self, first: Claims, second: Claims) -> None:
        self.first, self.second = first, second

    def alone(self) -> AbstractContextManager[None]:
        """See `Claims.alone`."""
        return self.first.alone()

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """See `Claims.claimed`."""
        with self.first.claimed(name) as mine, self.second.claimed(name) if mine else nullcontext(False) as both:
            yield both


def claims_of(storage: str | None, directory: Path, name: str, stop: Stop) -> Claims:
    """The claims by which the processes of a search agree.

    Args:
        storage: the URL of its database; None is a file that all of them see.
        directory: of its trials.
        name: of the search, in the database.
        stop: looked at while waiting.

    Raises:
        MissingError: no driver for the database.
    """
    files = FileClaims(directory, stop)
    if storage is None:
        return files
    file = sqlite_file(storage)
    if file is not None:
        return FileClaims(file.with_name(f"{file.name}-claims") / name, stop)
    return BothClaims(DatabaseClaims(storage, name, stop), files)
