"""A network of torch as whoever serves it would ask it: arrays in, arrays out."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from limbeck.benchmark.worker import Run
from limbeck.models import layout_of


def run_of(network: nn.Module) -> Run:
    """A network on the processor, which is in evaluation mode from now on."""
    layout = layout_of(network)
    network.eval()

    def run(inputs: NDArray[np.float32]) -> Any:
        seen = torch.from_numpy(inputs)
        with torch.inference_mode():
            answers = network(seen.contiguous(memory_format=layout) if seen.ndim == 4 else seen)
            return answers.numpy()

    return run
