"""Settings that are numbers of the right kind."""

import math


def check_temperature(temperature: float) -> None:
    """Refuse what cannot divide logits.

    Raises:
        ValueError: not a positive finite number.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature must be a positive number, not {temperature}")


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
