"""Settings that are numbers of the right kind."""

import math

LEAST_TEMPERATURE, MOST_TEMPERATURE = 1e-3, 1e6
"""Far beyond any use; further out the squares and quotients of float32 are no numbers."""


def check_temperature(temperature: float) -> None:
    """Refuse what cannot divide logits.

    Raises:
        ValueError: not a number from 0.001 to 1,000,000.
    """
    _check_between(LEAST_TEMPERATURE, MOST_TEMPERATURE, "temperature", temperature)


def check_exponent(exponent: float) -> None:
    """Refuse what cannot multiply logits, as 1/T does.

    Raises:
        ValueError: not a number from 0.000001 to 1,000.
    """
    _check_between(1 / MOST_TEMPERATURE, 1 / LEAST_TEMPERATURE, "exponent", exponent)


def check_width(width: int) -> None:
    """Refuse what no vector can have as its number of entries.

    Raises:
        ValueError: not a whole number, or below 1.
    """
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise ValueError(f"width must be a whole number of at least 1, not {width}")


def check_weights(**weights: float) -> None:
    """Refuse weights that would reward a difference, or that leave nothing of an objective.

    Raises:
        ValueError: a negative or infinite weight, or only zeros.
    """
    for name, weight in weights.items():
        if not (weight >= 0 and math.isfinite(weight)):
            raise ValueError(f"{name} must be 0 or a positive number, not {weight}")
    if not any(weights.values()):
        raise ValueError(f"{' and '.join(weights)} must not both be 0: leave the objective out instead")


def _check_between(least: float, most: float, name: str, number: float) -> None:
    if not least <= number <= most:
        raise ValueError(f"{name} must be a positive number, {least:g} to {most:g}, not {number}")
