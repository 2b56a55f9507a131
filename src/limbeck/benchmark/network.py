"""A network of torch as whoever serves it would ask it: arrays in, arrays out."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from limbeck.models import arranged, layout_of
from limbeck.runtime.runner import Runner


def run_of(network: nn.Module) -> Runner:
    """A network on the processor, which is in evaluation mode from now on."""
    layout = layout_of(network)
    network.eval()

    def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = network(arranged(torch.from_numpy(inputs), layout)).numpy()
            return logits

    return run
