"""How big a network is."""

from itertools import chain

from torch import nn


def parameters(model: nn.Module) -> int:
    """How many numbers are learnt; a tensor that two layers share counts once."""
    return sum(tensor.numel() for tensor in model.parameters())


def bytes_of(model: nn.Module) -> int:
    """Bytes of parameters and buffers (batch norm's statistics) in the precision they are held in."""
    return sum(tensor.nbytes for tensor in chain(model.parameters(), model.buffers()))
