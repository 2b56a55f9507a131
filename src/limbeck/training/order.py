"""Which examples a step sees: a function of (seed, step), with no iterator state to save.

The epochs are laid end to end, each a permutation of its own, and step k takes positions k B to (k + 1) B of that
stream. So every batch is full, every arm's budget is exactly steps x batch size whatever the size of its data, and
no last batch of one example meets a batch norm.
"""

import torch
from torch import Tensor

from limbeck.data import derive_seed


class Order:
    """The stream of rows that a fit walks along."""

    def __init__(self, examples: int, batch_size: int, seed: int) -> None:
        """Args: how many rows, how many a step, and the seed of the fit."""
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self._permutations: dict[int, Tensor] = {}

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Rows [B] of a step and the epoch [B] in which each is seen, which is its view number."""
        begin, end, size = step * self.batch_size, (step + 1) * self.batch_size, self.examples
        met = range(begin // size, (end - 1) // size + 1)
        self._permutations = {epoch: self._permutation(epoch) for epoch in met}
        parts = {e: rows[max(begin - e * size, 0) : end - e * size] for e, rows in self._permutations.items()}
        epochs = [torch.full_like(part, epoch) for epoch, part in parts.items()]
        return torch.cat(list(parts.values())), torch.cat(epochs)

    def _permutation(self, epoch: int) -> Tensor:
        if epoch in self._permutations:
            return self._permutations[epoch]
        generator = torch.Generator().manual_seed(derive_seed(self.seed, epoch, "order"))
        return torch.randperm(self.examples, generator=generator)
