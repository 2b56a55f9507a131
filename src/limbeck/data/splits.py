"""Choices among examples that depend on their content, never on their order.

Rows may be reordered and the same examples are chosen; rows may be added and most choices stay.

Dimension key: N examples, G distinct keys, K strata (the classes that occur, and the unlabelled).
"""

import numpy as np
import torch
from torch import Tensor

from limbeck.data.examples import Examples
from limbeck.data.randomness import derive_seed, random_bits
from limbeck.errors import RecipeError


def choose(examples: Examples, count: int, salt: str) -> Tensor:
    """Sorted index of `count` examples, every class by its share.

    At least one of each class is chosen if `count` allows, and duplicates are chosen together or not at all:
    fewer than `count` are returned only where nothing but groups of duplicates is left to fill a class.

    Args:
        examples: to choose from; those without a label count as a class.
        count: how many.
        salt: what the choice is for; another salt makes another choice.

    Raises:
        RecipeError: count below 1 or above the number of examples.
    """
    return _mask(examples, count, salt, keep=0).nonzero()[:, 0]


def hold_out(examples: Examples, count: int, salt: str) -> tuple[Tensor, Tensor]:
    """Sorted indices (rest, held) that part the examples into two sides without a common key.

    The held side is chosen as by `choose`, but the rest keeps at least one example of each class: a class of
    which nothing is left to learn from measures nothing.

    Raises:
        RecipeError: count below the number of classes, or so large that nothing of a class is left.
    """
    _check_classes(examples, count, "held out")
    held = _mask(examples, count, salt, keep=1)
    return (~held).nonzero()[:, 0], held.nonzero()[:, 0]


def labelled_subset(examples: Examples, count: int, salt: str) -> Tensor:
    """Sorted index of `count` labelled examples, every class by its share: the labels of a few-label run.

    Raises:
        RecipeError: count below the number of classes or above the number of labelled examples.
    """
    labelled = examples.labelled.nonzero()[:, 0]
    among = examples.select(labelled)
    _check_classes(among, count, "labelled")
    return labelled[choose(among, count, salt)]


def _check_classes(examples: Examples, count: int, purpose: str) -> None:
    classes = len(np.unique(examples.labels))
    if count < classes:
        raise RecipeError(
            f"{count} examples are to be {purpose}",
            expected=f"at least {classes}, one of each class",
            do=f"ask for {classes} or more, or for a larger share",
        )


def _mask(examples: Examples, count: int, salt: str, *, keep: int) -> Tensor:
    """Mask [N] of the chosen; `keep` examples of each stratum are left over."""
    sizes_G = torch.bincount(examples.groups)
    # Duplicates may disagree about their label; the smallest is a rule that does not depend on their order.
    labels_G = torch.full_like(sizes_G, torch.iinfo(torch.int64).max)
    labels_G = labels_G.scatter_reduce(0, examples.groups, examples.labels, "amin")
    strata_G = torch.from_numpy(np.unique(labels_G, return_inverse=True)[1])
    sizes_K = torch.zeros(int(strata_G.max()) + 1, dtype=torch.int64).index_add(0, strata_G, sizes_G)
    left_K = _quotas(sizes_K.numpy(), count, keep)

    words_G = torch.zeros_like(sizes_G).scatter(0, examples.groups, examples.key_words)
    ranks_G = random_bits(words_G, 0, seed=derive_seed("choose", salt))
    chosen_G = torch.zeros(len(sizes_G), dtype=torch.bool)
    sizes, strata = sizes_G.tolist(), strata_G.tolist()
    for group in torch.argsort(ranks_G, stable=True).tolist():
        if sizes[group] <= left_K[strata[group]]:
            left_K[strata[group]] -= sizes[group]
            chosen_G[group] = True
    return chosen_G[examples.groups]


def _quotas(sizes_K: np.ndarray[tuple[int], np.dtype[np.int64]], count: int, keep: int) -> list[int]:
    """How many of each stratum: its share of `count`, the largest remainders rounded up, and at least one.

    Raises:
        RecipeError: count below 1 or above what may be taken.
    """
    most_K = np.maximum(sizes_K - keep, 0)
    if not 1 <= count <= most_K.sum():
        raise RecipeError(
            f"{count} examples are to be chosen of {sizes_K.sum()} in {len(sizes_K)} classes",
            expected=f"1 to {most_K.sum()}" + (f", which leaves {keep} of each class" if keep else ""),
            do="ask for another number, or give more data",
        )
    least_K = np.minimum(most_K, 1 if count >= len(sizes_K) else 0)
    share_K = count * sizes_K / sizes_K.sum()
    quota_K = np.clip(np.floor(share_K).astype(np.int64), least_K, most_K)
    while quota_K.sum() < count:
        quota_K[np.argmax(np.where(quota_K < most_K, share_K - quota_K, -np.inf))] += 1
    while quota_K.sum() > count:
        quota_K[np.argmin(np.where(quota_K > least_K, share_K - quota_K, np.inf))] -= 1
    return [int(quota) for quota in quota_K]
