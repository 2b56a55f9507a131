import logging
import os
import subprocess
import sys
import warnings

import pytest
import torch

from limbeck.quiet import quietly


def speak() -> None:
    os.write(1, b"from C to stdout\n")
    os.write(2, b"from C to stderr \xff\n")
    print("from Python")
    print("from Python's own", file=sys.__stdout__)
    warnings.warn("a warning", FutureWarning, stacklevel=1)
    logging.getLogger("torch.made_up").warning("a log line")


def fail() -> None:
    os.write(1, b"the reason\n")
    raise ValueError("the library's")


@pytest.fixture
def torch_logger():
    """A logger with a handler of its own that writes to stderr, as torch sets up."""
    assert torch.__version__
    logger = logging.getLogger("torch.made_up")
    handler = logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


@pytest.mark.usefixtures("torch_logger")
def test_what_a_library_says_goes_to_the_debug_log_and_nowhere_else(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG, "limbeck")
    with quietly("it"):
        speak()
    assert capfd.readouterr() == ("", "")
    assert {each.getMessage() for each in caplog.records if each.name == "limbeck"} == {
        "it: a log line",
        "it: a warning",
        "it: from C to stderr \ufffd",
        "it: from C to stdout",
        "it: from Python",
        "it: from Python's own",
    }


@pytest.mark.usefixtures("torch_logger")
def test_afterwards_everybody_speaks_again_even_after_an_error(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG, "limbeck")
    handlers = list(logging.root.handlers)
    print("before")
    with pytest.raises(ValueError, match="the library's"), quietly("it"):
        fail()
    assert "it: the reason" in caplog.messages
    assert logging.root.handlers == handlers
    os.write(1, b"after\n")
    os.write(2, b"loudly\n")
    assert capfd.readouterr() == ("before\nafter\n", "loudly\n")
    with pytest.warns(FutureWarning):
        warnings.warn("heard", FutureWarning, stacklevel=1)


def test_one_may_stand_in_another(capfd: pytest.CaptureFixture[str]):
    with quietly("outer"), quietly("inner"):
        speak()
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"


def test_a_closed_stdout_is_no_obstacle():
    program = (
        "import os; from limbeck.quiet import quietly\n"
        "os.close(1)\n"
        "with quietly('it'): os.write(2, b'unheard')\n"
        "os.write(2, b'yes')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.stderr.startswith(b"yes")
