"""Whether a teacher counts its classes as the data do, seen from its mistakes.

Dimension key: N examples, C classes.
"""

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

LEAST = 3
"""Examples of a class that must have gone to another before its output counts as exchanged."""


@dataclass(frozen=True)
class Exchange:
    """Outputs that stand in each other's places.

    Args:
        pairs: (the output that answers, the class it answers for), for every output out of its place.
        accuracy: the share of right answers if these were put in their places.
    """

    pairs: tuple[tuple[int, int], ...]
    accuracy: float

    def words(self, classes: tuple[str, ...]) -> str:
        """The pairs by number, or by name where classes have one that is not their number."""
        pairs = ", ".join(f"{_name(said, classes)} -> {_name(meant, classes)}" for said, meant in self.pairs[:12])
        return pairs + (f" and {len(self.pairs) - 12} more" if len(self.pairs) > 12 else "")


def exchanged(predicted_N: Tensor, labels_N: Tensor, classes: int) -> Exchange | None:
    """The outputs that look exchanged among each other; None where none do.

    An output is out of its place if it answers more than half of the examples of another class, and the output of
    that class is out of its place too: a teacher that merely cannot tell two classes apart exchanges nothing.
    """
    confusion = torch.zeros(classes, classes)
    confusion.index_put_((predicted_N, labels_N), torch.ones(len(labels_N)), accumulate=True)
    each_C = confusion.sum(dim=0)
    said_C, meant_C = linear_sum_assignment(-confusion.numpy())
    pairs = {
        said: meant
        for said, meant in zip(said_C.tolist(), meant_C.tolist(), strict=True)
        if said != meant and confusion[said, meant] >= LEAST and confusion[said, meant] > each_C[meant] / 2
    }
    while loose := [said for said, meant in pairs.items() if said not in pairs.values() or meant not in pairs]:
        for said in loose:
            del pairs[said]
    if not pairs:
        return None
    right = sum(float(confusion[said, pairs.get(said, said)]) for said in range(classes))
    return Exchange(tuple(pairs.items()), right / len(labels_N))


def never_said(predicted_N: Tensor, labels_N: Tensor, classes: int) -> tuple[int, ...]:
    """Classes that are never the first choice, although at least 10 of these examples are of them."""
    said_C = predicted_N.bincount(minlength=classes)
    meant_C = labels_N.bincount(minlength=classes)
    return tuple(((said_C == 0) & (meant_C >= 10)).nonzero()[:, 0].tolist())


def _name(number: int, classes: tuple[str, ...]) -> str:
    return str(number) if classes[number] == str(number) else f"{number} ({classes[number]})"
