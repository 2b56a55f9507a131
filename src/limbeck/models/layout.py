"""In what order a network wants its images to lie in memory."""

import torch
from torch import Tensor, nn


def layout_of(module: nn.Module) -> torch.memory_format:
    """The memory format of the network's filters, which its images should share.

    The catalogue's networks are channels_last, which convolutions walk faster; a user's own network keeps the layout it
    came with, since its forward may rely on it (`x.view(...)`).
    """
    filters = [p for p in module.parameters() if p.ndim == 4 and not p.is_contiguous()]
    last = any(p.is_contiguous(memory_format=torch.channels_last) for p in filters)
    return torch.channels_last if last else torch.contiguous_format


def arranged(inputs: Tensor, layout: torch.memory_format) -> Tensor:
    """Images [N, C, H, W] in an order of memory; inputs of another shape as they are."""
    return inputs.contiguous(memory_format=layout) if inputs.ndim == 4 else inputs
