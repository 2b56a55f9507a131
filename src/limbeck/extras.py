"""Packages that limbeck does not bring along, but by its extras."""

from importlib import import_module
from typing import Any

from limbeck.errors import MissingError


def package(name: str, extra: str) -> Any:
    """A package that an extra of limbeck installs.

    Raises:
        MissingError: it is not there, or cannot be imported.
    """
    try:
        return import_module(name)
    except Exception as error:  # torchvision, built for another torch, raises whatever torch does
        gone = isinstance(error, ModuleNotFoundError) and name.split(".")[0] == error.name
        why = "is not installed" if gone else f"cannot be imported ({error})"
        raise MissingError(
            f"the package {name} {why}",
            expected=f"the packages of limbeck's extra {extra}, which fit the torch that is installed",
            do=f"pip install 'limbeck[{extra}]'",
        ) from error
