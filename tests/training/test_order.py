"""Which examples a step sees: permutations laid end to end, a function of the step alone."""

import pytest
import torch

from limbeck.training.order import Order


def walk(examples, batch_size, steps, seed=0):
    order = Order(examples, batch_size, seed)
    parts = [order.at(step) for step in range(steps)]
    return torch.cat([rows for rows, _ in parts]), torch.cat([epochs for _, epochs in parts])


@pytest.mark.parametrize(("examples", "batch_size"), [(48, 16), (50, 16), (17, 16), (16, 16), (5, 16), (1, 4), (7, 1)])
def test_every_epoch_is_a_permutation_and_every_batch_is_full(examples, batch_size):
    steps = -(-6 * examples // batch_size)
    rows, epochs = walk(examples, batch_size, steps)
    assert len(rows) == len(epochs) == steps * batch_size
    for epoch in range(6):
        assert sorted(rows[epochs == epoch].tolist()) == list(range(examples))
    assert epochs.tolist() == sorted(epochs.tolist())


def test_a_step_is_the_same_however_it_is_come_to():
    order = Order(50, 16, 3)
    forward = [order.at(step)[0].tolist() for step in range(20)]
    jumped = [Order(50, 16, 3).at(step)[0].tolist() for step in range(20)]
    backward = [order.at(step)[0].tolist() for step in reversed(range(20))][::-1]
    assert forward == jumped == backward


def test_epochs_and_seeds_differ():
    rows, _ = walk(50, 50, 3)
    orders = {tuple(part.tolist()) for part in rows.split(50)}
    orders |= {tuple(walk(50, 50, 1, seed)[0].tolist()) for seed in range(1, 4)}
    assert len(orders) == 6


def test_only_the_epochs_of_a_step_are_kept():
    order = Order(10, 4, 0)
    for step in range(50):
        order.at(step)
        assert len(order._permutations) <= 2
