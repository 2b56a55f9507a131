"""One thing that an examination found."""

from dataclasses import dataclass
from typing import Literal

from limbeck.errors import LimbeckError

Severity = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: of what was looked at.
        severity: `ok`, a `note` worth reading, a `warning` that something looks wrong, a `problem` that stops the run
            or spoils it.
        says: what was found, in a sentence.
        do: what to do about it; empty where nothing is to be done.
        status: the exit status of a problem.
    """

    name: str
    severity: Severity
    says: str
    do: str = ""
    status: int = 0


def ok(name: str, says: str) -> Finding:
    """All is well."""
    return Finding(name=name, severity="ok", says=says)


def note(name: str, says: str, do: str = "") -> Finding:
    """Worth reading."""
    return Finding(name=name, severity="note", says=says, do=do)


def warning(name: str, says: str, do: str) -> Finding:
    """Something looks wrong."""
    return Finding(name=name, severity="warning", says=says, do=do)


def problem(name: str, error: LimbeckError) -> Finding:
    """What the run would end with."""
    says = f"{error.came}; expected: {error.expected}"
    return Finding(name=name, severity="problem", says=says, do=error.do, status=error.exit_status)
