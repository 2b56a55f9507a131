"""What all processes of a search agree on: written down by the first, read by all that come after it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from limbeck.errors import DataError, RecipeError
from limbeck.files import digest, read_json, write_json
from limbeck.recipe import Proof, Recipe
from limbeck.recipe_text import build
from limbeck.record import SEARCH
from limbeck.search_space import Tune

MAY_CHANGE = ("trials", "jobs")
"""Of what a recipe says of a search: with a word, whoever resumes may ask for more of these."""


@dataclass(frozen=True, kw_only=True)
class Agreed:
    """What all processes of a search agree on.

    Args:
        tune: what is searched and how.
        proof: from which seeds, and with which arms, the choice is proved.
        threads: of a trial.
        jobs: trials side by side on the machine of whoever began the search, or resumed it.
        students: what each costs: parameters, latency in milliseconds.
        found: by the preflight about the teacher, for the record.
        identity: all that decides what a trial would come to; empty until the teacher has been asked.
    """

    tune: Tune
    proof: Proof
    threads: int
    jobs: int
    students: dict[str, dict[str, int | float]]
    found: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)


def read_agreed(directory: Path) -> Agreed:
    """What the processes of a search have agreed on.

    Raises:
        DataError: nothing that can be read.
    """
    path = directory / SEARCH
    value = read_json(path)
    try:
        return build(Agreed, value, where=str(path))
    except RecipeError as error:
        raise DataError(
            error.came, expected=f"{SEARCH} as limbeck tune wrote it", do="begin the search anew with --overwrite"
        ) from None


def agree(directory: Path, agreed: Agreed) -> None:
    """Write down what is agreed on."""
    write_json(directory / SEARCH, asdict(agreed))


def resumed(before: Agreed, recipe: Recipe, jobs: int, directory: Path) -> Agreed:
    """What is agreed on when somebody comes to a search again: other jobs at most; trials are the study's to raise.

    Raises:
        RecipeError: the recipe asks for another search.
    """
    old = {"tune": asdict(before.tune), "proof": asdict(before.proof)}
    new = {"tune": asdict(recipe.tune or Tune()), "proof": asdict(recipe.proof)}
    parts = [(part, key) for part, settings in new.items() for key in settings if key not in MAY_CHANGE]
    other = [f"{part}.{key}" for part, key in parts if digest(old[part][key]) != digest(new[part][key])]
    if other:
        raise another_search(str(directory), other)
    return replace(before, jobs=jobs)


def check_identity(before: Mapping[str, Any], now: Mapping[str, Any], what: str) -> None:
    """Hold a search against what it was begun with: trials of two searches cannot be compared.

    Raises:
        RecipeError: it is another one.
    """
    other = [name for name, value in now.items() if digest(before.get(name)) != digest(value)]
    if before and other:
        raise another_search(what, other)


def another_search(what: str, other: list[str]) -> RecipeError:
    """That something was begun with another search, and in what."""
    return RecipeError(
        f"{what} was begun with another search ({', '.join(other)} changed)",
        expected="the same settings, data and answers of the teacher; only trials may be raised, and jobs change",
        do="undo the change, or set another out, or --overwrite; machines that share a search need one teacher",
    )
