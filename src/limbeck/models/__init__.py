"""Models: the catalogue of networks that recipes name, how one is made from a seed, and how big it is.

A new model is one file with a frozen dataclass and one line in `MODELS`.
"""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from limbeck.models.base import ModelSpec
from limbeck.models.build import ModelFactory, check_output, evaluating, initialise
from limbeck.models.convnet import ConvNet
from limbeck.models.layout import arranged, layout_of
from limbeck.models.mlp import Mlp
from limbeck.models.multiplications import multiplications
from limbeck.models.quick import Quick, quickened
from limbeck.models.resnet import RESNETS, ResNet
from limbeck.models.size import bytes_of, parameters
from limbeck.models.taps import Taps
from limbeck.models.textcnn import TextCnn

MODELS: dict[str, type[ModelSpec]] = {
    "mlp": Mlp,
    "convnet": ConvNet,
    **dict.fromkeys(RESNETS, ResNet),
    "textcnn": TextCnn,
}
"""Name in a recipe -> the class whose fields are the model's settings, `name` one of them."""

if TYPE_CHECKING:
    AnyModel = ModelSpec
else:
    # The union that pydantic chooses from by name is the catalogue itself.
    AnyModel = Annotated[Union[tuple(dict.fromkeys(MODELS.values()))], Field(discriminator="name")]  # noqa: UP007

__all__ = [
    "MODELS",
    "AnyModel",
    "ConvNet",
    "Mlp",
    "ModelFactory",
    "ModelSpec",
    "Quick",
    "ResNet",
    "Taps",
    "TextCnn",
    "arranged",
    "bytes_of",
    "check_output",
    "evaluating",
    "initialise",
    "layout_of",
    "multiplications",
    "parameters",
    "quickened",
]
