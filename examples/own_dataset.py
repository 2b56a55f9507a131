"""Data of your own as a torch Dataset, and a teacher that is no network: a forest of scikit-learn.

Run it by `python examples/own_dataset.py`.

limbeck reads the Dataset once into memory. Its items must be the same at every reading: random transforms belong into
`Fit(augment=...)`.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from torch.utils.data import Dataset

import limbeck
from limbeck.models import Mlp
from limbeck.training import AdamW, Fit


class Digits(Dataset):
    """Items (x, y): a row of 64 numbers from 0 to 1, and a class number."""

    def __init__(self, rows: slice) -> None:
        data = load_digits()
        self.values = data.data[rows].astype(np.float32) / 16
        self.labels = data.target[rows]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.values[place]), int(self.labels[place])


train, test = Digits(slice(0, 1200)), Digits(slice(1200, None))
forest = ExtraTreesClassifier(200, random_state=0).fit(train.values, train.labels)


result = limbeck.distill(
    teacher=forest,  # asked for predict_proba of the stored rows; its shares count as 200 votes
    student=Mlp(hidden=(32,)),
    train=train,
    test=test,
    labelled=100,
    fit=Fit(epochs=40, batch_size=64, optimizer=AdamW(lr=0.003), threads=1),
    seeds=3,
    out="runs/own-dataset",
    overwrite=True,
)
print(result)
