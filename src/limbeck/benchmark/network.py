"""A network of torch as whoever serves it would ask it: arrays in, arrays out."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from limbeck.models import layout_of
from limbeck.runtime.runner import Runner


def run_of(network: nn.Module) -> Runner:
    """A network on the processor, which is in evaluation mode from now on."""
    layout = layout_of(network)
    network.eval()

    def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        seen = torch.from_numpy(inputs)
        with torch.inference_mode():
            answers = network(seen.contiguous(memory_format=layout) if seen.ndim == 4 else seen)
            logits: NDArray[np.float32] = answers.numpy()
            return logits

    return run
