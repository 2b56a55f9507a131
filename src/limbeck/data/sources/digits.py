"""Real handwritten digits that come with scikit-learn: 1,797 images of 8x8 pixels, values 0 to 16."""

from dataclasses import dataclass
from typing import Literal

import torch

from limbeck.data.examples import key_examples
from limbeck.data.preprocess import Preprocess
from limbeck.data.sources.base import Splits, check_share, own_splits


@dataclass(frozen=True, kw_only=True)
class Digits:
    """The test set of UCI's Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998), split anew.

    Args:
        test_share: the share of the images that is held out for the test.

    Raises:
        ValueError: test_share outside (0, 1).
    """

    source: Literal["digits"] = "digits"
    test_share: float = 0.45

    def __post_init__(self) -> None:
        check_share(self.test_share)

    def load(self) -> Splits:
        """Inputs [N, 1, 8, 8] uint8; needs no network."""
        from sklearn.datasets import load_digits  # 1.5 s to import, which no other source should wait for

        data = load_digits()
        inputs = torch.from_numpy(data.images).to(torch.uint8)[:, None]
        labels = torch.from_numpy(data.target).to(torch.int64)
        classes = tuple(str(name) for name in data.target_names)
        return own_splits(key_examples(inputs, labels, classes), Preprocess(scale=16.0), self.test_share)
