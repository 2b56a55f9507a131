"""What can go wrong for a user, and the exit status that says so.

Every message has three parts: what came, what was expected, what to do. A traceback is for our own bugs only.
"""


class LimbeckError(Exception):
    """An error that the user can mend; subclasses give the exit status of the command line."""

    exit_status = 1

    def __init__(self, came: str, *, expected: str, do: str) -> None:
        super().__init__(f"{came}\n  expected: {expected}\n  do: {do}")
        self.came, self.expected, self.do = came, expected, do


class RecipeError(LimbeckError, ValueError):
    """A recipe, an option or an argument that cannot be used."""

    exit_status = 2


class Diverged(RecipeError):
    """A fit whose loss or weights are no longer finite."""


class DataError(LimbeckError, ValueError):
    """Data, labels, a label store or a lock that cannot be used."""

    exit_status = 3


class MissingError(LimbeckError):
    """A dependency or a device that this machine lacks."""

    exit_status = 4


class GateError(LimbeckError):
    """A condition the user asked for (`--require`) that the measurement did not meet."""

    exit_status = 5


class DiskError(LimbeckError, OSError):
    """The disk is full, read-only or failing."""

    exit_status = 74


class Interrupted(LimbeckError):
    """The run was asked to stop and did so after a safe checkpoint."""

    def __init__(self, came: str, *, expected: str, do: str, exit_status: int) -> None:
        super().__init__(came, expected=expected, do=do)
        self.exit_status = exit_status

    def advising(self, do: str) -> "Interrupted":
        """The same with another way to go on: only a door knows by what call it was entered."""
        return Interrupted(self.came, expected=self.expected, do=do, exit_status=self.exit_status)


def first_line(error: Exception, most: int = 200) -> str:
    """The gist of another library's error, of at most so many letters, for one of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:most]


def name_some(things: list[int] | list[str], most: int = 5) -> str:
    """The first few of a list, and how many more there are, for a message."""
    more = len(things) - most
    return ", ".join(map(str, things[:most])) + (f" and {more} more" if more > 0 else "")
