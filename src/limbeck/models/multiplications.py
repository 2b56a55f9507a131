"""How many multiplications an answer takes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.backends import mha, mkldnn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from limbeck.models.build import evaluating


def multiplications(network: nn.Module, inputs: Tensor) -> int | None:
    """Multiply-accumulates of matrices and convolutions for an answer, half of what torch counts as operations.

    Args:
        network: in whatever mode; it is asked in evaluation mode.
        inputs: as the network takes them, [1, ...] for those of one example.

    Returns:
        None where there is something that was learnt, and nothing of what is done with it can be counted.
    """
    # Not in inference mode, in which torch does not see what a linear layer is made of.
    with evaluating(network), torch.no_grad(), _in_plain_operators(), FlopCounterMode(display=False) as counter:
        network(inputs)
    count = int(counter.get_total_flops()) // 2
    return count if count or next(network.parameters(), None) is None else None


@contextmanager
def _in_plain_operators() -> Iterator[None]:
    """Let attention and recurrent networks be made of products of matrices: the counter does not know fused ones."""
    fused, library = mha.get_fastpath_enabled(), mkldnn.enabled
    mha.set_fastpath_enabled(False)
    # Not by `mkldnn.flags`, which set what only other machines have, and warn.
    mkldnn.enabled = False  # type: ignore[assignment]
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        mha.set_fastpath_enabled(fused)
        mkldnn.enabled = library
