"""Whom a teacher is opened for."""

from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import torch

from limbeck.data import AnyPreprocess, Examples
from limbeck.errors import RecipeError
from limbeck.teachers.teacher import Teacher


@dataclass(frozen=True)
class Audience:
    """The data a teacher is to answer about, and where.

    Args:
        examples: the training set as it was given, which a table of answers has its rows in the order of.
        preprocess: what the source declares, for a teacher that declares nothing.
        device: of a network.
        taps: the parts of a network that students look at.
        handed_over: the preprocess that came with a Python object, which goes before the source's.
        key: of the teacher in its recipe, such as `teacher.members.2`, for errors.
    """

    examples: Examples
    preprocess: AnyPreprocess
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    taps: tuple[str, ...] = ()
    handed_over: AnyPreprocess | None = None
    key: str = "teacher"

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the data, in their order."""
        return self.examples.classes

    def member(self, number: int) -> "Audience":
        """The same for a member of an ensemble."""
        return replace(self, key=f"{self.key}.members.{number}")

    def refuse_taps(self, what: str) -> None:
        """Refuse to be listened to inside, as a teacher without parts must.

        Args:
            what: the teacher in errors.

        Raises:
            RecipeError: terms look at features.
        """
        if self.taps:
            raise RecipeError(
                f"the taps {', '.join(self.taps)} were asked of {what}",
                expected="a network of torch, whose parts can be tapped",
                do="leave out the terms that look at features, or take a teacher of kind train, saved or weights",
            )


@runtime_checkable
class TeacherSpec(Protocol):
    """A kind of teacher that a recipe can name: a frozen, keyword-only dataclass, its fields the keys of `teacher:`."""

    @property
    def kind(self) -> str:
        """Its name in the catalogue."""
        ...

    def open(self, audience: Audience) -> Teacher:
        """The teacher, ready to be asked.

        Raises:
            DataError: files that cannot be read, or that do not answer for these classes.
            MissingError: a package that is not installed.
        """
        ...
