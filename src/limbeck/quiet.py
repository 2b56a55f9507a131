"""Libraries that speak uninvited: what they write goes to the debug log."""

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_log = logging.getLogger("limbeck")

_OUT, _ERR = 1, 2


@contextmanager
def quietly(library: str) -> Iterator[None]:
    """While the block runs, warnings are ignored, and what is written to stdout and stderr is kept for the debug log.

    The descriptors themselves are redirected, since C++ knows no sys.stderr. They are the whole process's: what other
    threads write goes the same way, so a block does nothing but call the library.

    Args:
        library: who speaks, for the log.
    """
    with tempfile.TemporaryFile() as heard:
        try:
            with warnings.catch_warnings(), _redirected(heard.fileno()):
                warnings.simplefilter("ignore")
                yield
        finally:
            heard.seek(0)
            for line in heard.read().decode(errors="replace").splitlines():
                _log.debug("%s: %s", library, line)


@contextmanager
def _redirected(target: int) -> Iterator[None]:
    _flush()
    kept = {}
    for descriptor in (_OUT, _ERR):
        with suppress(OSError):  # a service may have closed it
            kept[descriptor] = os.dup(descriptor)
    try:
        for descriptor in kept:
            os.dup2(target, descriptor)
        yield
    finally:
        _flush()
        for descriptor, own in kept.items():
            os.dup2(own, descriptor)
            os.close(own)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
