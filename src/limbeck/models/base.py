"""What a model of the catalogue is: a small value that can build a network."""

from typing import Protocol, runtime_checkable

from torch import nn

from limbeck.errors import RecipeError


@runtime_checkable
class ModelSpec(Protocol):
    """A frozen, keyword-only dataclass: the fields of `model:` in a recipe, and the network built from them.

    The parts of the network have names, never in-place activations, so that a tap can capture any of them.
    """

    @property
    def name(self) -> str:
        """Its name in the catalogue."""
        ...

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """A network with fresh weights from torch's global randomness, which gives logits [N, classes].

        Args:
            input_shape: the shape of one example, without the batch: (1, 28, 28) or (64,).
            classes: how many logits an example gets.
        """
        ...


def require_image(input_shape: tuple[int, ...], *, name: str, least: int) -> None:
    """Refuse examples that are not images (channels, height, width) of at least `least` pixels a side.

    Raises:
        RecipeError: in words that say which model of the catalogue takes such examples.
    """
    if len(input_shape) == 3 and min(input_shape[1:]) >= least:
        return
    raise RecipeError(
        f"{name} got examples of shape {input_shape}",
        expected=f"images (channels, height, width) of at least {least} x {least} pixels",
        do="take the model `mlp`, which bears any shape, or reshape the data",
    )
