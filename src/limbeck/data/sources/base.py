"""What a source of data is, and what all of them give."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from limbeck.data.encode import AnyPreprocess
from limbeck.data.examples import Examples
from limbeck.data.splits import hold_out
from limbeck.errors import DataError


@dataclass(frozen=True)
class Splits:
    """A training and a test set of the same kind.

    Args:
        train: what is learnt from; validation is held out of it.
        test: what is reported on, once.
        preprocess: what the source declares for its stored values; what of it is learnt, is learnt again by `on` where
            training examples are held out.
        official: the test set came with the data; otherwise it was held out, disjoint by key.
        facts: what the source found and guessed, for the record.

    Raises:
        DataError: training and test examples that differ in shape, type or classes.
    """

    train: Examples
    test: Examples
    preprocess: AnyPreprocess
    official: bool
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = [(side.input_shape, str(side.inputs.dtype), side.classes) for side in (self.train, self.test)]
        for what, train, test in zip(("shape", "type", "classes"), *kinds, strict=True):
            if train != test:
                raise DataError(
                    f"the {what} of a training example: {train}; of a test example: {test}",
                    expected=f"the same {what} in both",
                    do="prepare both sets in the same way",
                )


class Source(Protocol):
    """A frozen, keyword-only dataclass: the setting of a source, which knows how to load it.

    Its first field is `source: Literal[...]`, its name in a recipe and in `SOURCES`.
    """

    @property
    def source(self) -> str:
        """Its name."""
        ...

    def load(self) -> Splits:
        """The data in memory.

        Raises:
            DataError: files that are missing, damaged or not of the expected form; nothing is left out
                silently.
        """
        ...


def own_splits(
    examples: Examples, preprocess: AnyPreprocess, test_share: float, facts: dict[str, Any] | None = None
) -> Splits:
    """Data without a test set, a share held out by content: the same in every run and on every machine."""
    rest, held = hold_out(examples, round(test_share * len(examples)), "test")
    return Splits(examples.select(rest), examples.select(held), preprocess, official=False, facts=facts or {})


def check_share(test_share: float) -> None:
    """Raise ValueError for a share that leaves one side empty."""
    if not 0.0 < test_share < 1.0:
        raise ValueError(f"test_share must be between 0 and 1, not {test_share}")


def existing(path: str, *, folder: bool, expected: str) -> Path:
    """The path of a file or folder that exists.

    Raises:
        DataError: nothing is there, or something else is.
    """
    try:
        found = Path(path.replace("\0", "�")).expanduser()
    except RuntimeError:  # ~somebody who is not here
        found = Path(path)
    if found.is_dir() if folder else found.is_file():
        return found
    kind = "folder" if folder else "file"
    raise DataError(
        f"{found.absolute()} is {f'not a {kind}' if found.exists() else 'not there'}",
        expected=expected,
        do="correct `path`; a relative one starts from the current directory",
    )
