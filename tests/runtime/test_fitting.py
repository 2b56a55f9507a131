"""A network that bears some sizes of batch only is asked in these."""

import pytest
import torch

from limbeck.runtime.fitting import in_batches


@pytest.mark.parametrize(("least", "most"), [(1, None), (4, 4), (1, 3), (2, 5), (16, None), (16, 16)])
@pytest.mark.parametrize("count", [1, 7, 12])
def test_batches_are_filled_up_and_cut(least, most, count):
    sizes = []

    def ask(inputs):
        sizes.append(len(inputs))
        return inputs * 2

    inputs = torch.arange(count * 3.0).reshape(count, 3)
    assert torch.equal(in_batches(ask, inputs, least=least, most=most), inputs * 2)
    assert min(sizes) >= least
    assert max(sizes) <= max(most or count, least)
