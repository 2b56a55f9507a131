"""Libraries that speak uninvited: what they write, warn of and log goes to the debug log."""

import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress

_log = logging.getLogger("limbeck")

_OUT, _ERR = 1, 2


@contextmanager
def quietly(library: str) -> Iterator[None]:
    """While the block runs, what is written, warned of and logged is kept for the debug log.

    The descriptors of stdout and stderr are redirected too, since C++ knows no sys.stderr. They are the whole
    process's: what other threads write goes the same way, so a block does nothing but call the library.

    Args:
        library: who speaks, for the log.
    """
    # A library may keep the stream that it finds: one that is never closed does it no harm.
    printed = io.StringIO()
    warned: list[warnings.WarningMessage] = []
    with tempfile.TemporaryFile() as heard:
        try:
            with (
                warnings.catch_warnings(record=True) as warned,
                redirect_stdout(printed),
                redirect_stderr(printed),
                _redirected(heard.fileno()),
                _unhandled(printed),
            ):
                warnings.simplefilter("always")
                yield
        finally:
            heard.seek(0)
            texts = (heard.read().decode(errors="replace"), printed.getvalue(), *(str(each.message) for each in warned))
            for line in "\n".join(texts).splitlines():
                if line:
                    _log.debug("%s: %s", library, line)


@contextmanager
def _redirected(target: int) -> Iterator[None]:
    kept = {}
    for descriptor in (_OUT, _ERR):
        with suppress(OSError):  # a service may have closed it
            kept[descriptor] = os.dup(descriptor)
    _flush()
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
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None and not stream.closed:
            stream.flush()


@contextmanager
def _unhandled(into: io.StringIO) -> Iterator[None]:
    """Torch gives its loggers handlers that write to stderr whatever the application has set up."""
    loggers = [each for name, each in logging.root.manager.loggerDict.items() if name.split(".")[0] == "torch"]
    handlers = {handler for each in loggers if isinstance(each, logging.Logger) for handler in each.handlers}

    def overhear(record: logging.LogRecord) -> bool:
        into.write(record.getMessage() + "\n")
        return False

    # Functions such as logging.info() give the root a handler for good where it has none.
    silent = logging.NullHandler()
    logging.root.addHandler(silent)
    for handler in handlers:
        handler.addFilter(overhear)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(overhear)
        logging.root.removeHandler(silent)
