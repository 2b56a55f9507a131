"""A network that bears some sizes of batch only is asked in these."""

import numpy as np
import pytest
import torch

from limbeck.runtime.fitting import in_batches


@pytest.mark.parametrize(("least", "most"), [(1, None), (4, 4), (1, 3), (2, 5), (16, None), (16, 16)])
@pytest.mark.parametrize("count", [1, 7, 12])
@pytest.mark.parametrize(("made", "join"), [(torch.from_numpy, torch.cat), (np.asarray, np.concatenate)])
def test_batches_are_filled_up_and_cut(least, most, count, made, join):
    sizes = []

    def ask(inputs):
        sizes.append(len(inputs))
        return inputs * 2

    inputs = made(np.arange(count * 3.0).reshape(count, 3))
    answers = in_batches(ask, inputs, least=least, most=most, join=join)
    assert type(answers) is type(inputs)
    assert (answers == inputs * 2).all()
    assert answers.shape == inputs.shape
    assert min(sizes) >= least
    assert max(sizes) <= max(most or count, least)
