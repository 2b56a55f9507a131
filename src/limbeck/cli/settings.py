"""Settings changed on the command line, and options that several verbs have."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from limbeck.errors import RecipeError

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
]
Arm = Annotated[str | None, typer.Option(help="Of the student; `distilled` unless given.")]
Seed = Annotated[int | None, typer.Option(help="Of the student; the lowest unless given.")]
AllowWeak = Annotated[bool, typer.Option("--allow-weak-teacher", help="Go on with a teacher no better than chance.")]


def changes_of(settings: Sequence[str] | None) -> dict[str, Any]:
    """The changes that `--set KEY=VALUE` asks for, by dotted key; values are YAML.

    Raises:
        RecipeError: no KEY=VALUE, or a value that is no YAML.
    """
    return dict(_setting(text) for text in settings or [])


def command(verb: str, recipe: Path, settings: Sequence[str] | None, *flags: str | bool) -> str:
    """What to type to call a verb again as it was called; flags that are not set are False."""
    words = [word for setting in settings or [] for word in ("--set", setting)]
    return shlex.join(["limbeck", verb, str(recipe), *words, *(flag for flag in flags if isinstance(flag, str))])


def _setting(text: str) -> tuple[str, Any]:
    from limbeck.recipe_text import parse_yaml

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(
            f"--set {text}", expected="KEY=VALUE with a dotted key", do="write --set distill.temperature=8"
        )
    return key.strip(), parse_yaml(value, where=f"--set {key}")
