"""From a spec or a user's factory to a network that is known to fit the data."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from limbeck.errors import RecipeError
from limbeck.models.base import ModelSpec

ModelFactory = Callable[[], nn.Module]
"""A user's function that makes a network: a fresh one at each call, initialised by torch."""


def initialise(
    spec_or_factory: ModelSpec | ModelFactory, input_shape: tuple[int, ...], classes: int, seed: int
) -> nn.Module:
    """A new network whose weights are a function of `seed` alone; the caller's randomness is untouched.

    Args:
        spec_or_factory: a model of the catalogue, or a function without arguments that makes a network on the
            CPU.
        input_shape: the shape of one example, without the batch; a factory is not told.
        classes: how many logits an example gets; a factory is not told, `check_output` asks.
        seed: of torch's CPU generator while the network is made.

    Raises:
        RecipeError: the factory gives something else than an nn.Module.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed every GPU, which this fork does not restore.
        torch.default_generator.manual_seed(seed)
        if isinstance(spec_or_factory, ModelSpec):
            module = spec_or_factory.build(input_shape, classes)
            return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
        return _made_by(spec_or_factory)


def _made_by(factory: ModelFactory) -> nn.Module:
    model = factory()
    if not isinstance(model, nn.Module):
        raise RecipeError(
            f"the model's factory gave a {type(model).__name__}",
            expected="a torch.nn.Module",
            do="give a function without arguments that returns a new network at each call",
        )
    return model


def check_output(model: nn.Module, example_inputs: Tensor, classes: int) -> None:
    """Ask the model about two examples and refuse it unless it gives one number per class for each.

    Modes (training or not) and gradients are afterwards what they were.

    Args:
        model: any network.
        example_inputs: [N, ...] with N >= 2, as the model takes them, on its device; the first two are asked.
        classes: how many the data have.

    Raises:
        RecipeError: the model fails on such inputs, or its output is not a float tensor [2, classes].
    """
    inputs = example_inputs[:2]
    shape = tuple(inputs.shape)
    try:
        with evaluating(model), torch.no_grad():
            output = model(inputs)
    except Exception as error:  # whatever a user's forward may raise
        raise RecipeError(
            f"the model failed on a batch of shape {shape}: {error}",
            expected=f"a model that takes examples of shape {shape[1:]}",
            do="give it the layers for this shape, or mend the preprocessing",
        ) from error
    if not isinstance(output, Tensor):
        came = f"a {type(output).__name__}"
    elif output.shape != (2, classes) or not output.is_floating_point():
        came = f"{output.dtype} numbers of shape {tuple(output.shape)}"
    else:
        return
    raise RecipeError(
        f"the model answers a batch of shape {shape} with {came}",
        expected=f"logits, floating-point, of shape {(2, classes)}: the data have {classes} classes",
        do=f"end the model with a layer of {classes} outputs and return these alone",
    )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode, then each part in its own again: a user's frozen batch norm stays frozen."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
