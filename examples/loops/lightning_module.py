"""limbeck's soft targets inside a `LightningModule`.

Run it by `python examples/loops/lightning_module.py`, with the packages of `pip install '.[loops]'`.
"""

import logging
import warnings
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from limbeck.functional import kd

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", ".*does not have many workers")  # the data are in memory

images, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
x, x_test, y, y_test = train_test_split(images.float() / 16, labels, test_size=797, stratify=labels, random_state=0)


class Student(lightning.LightningModule):
    """A network that learns from the labels, and from a teacher if there is one."""

    def __init__(self, width: int, teacher: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
        # In a list it is no part of this module: neither trained nor saved with it.
        self.teachers = [] if teacher is None else [teacher.eval()]

    def on_fit_start(self) -> None:
        for teacher in self.teachers:
            teacher.to(self.device)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        inputs, labels = batch
        logits = self.network(inputs)
        values = F.cross_entropy(logits, labels, reduction="none")
        if self.teachers:
            with torch.no_grad():
                teacher_logits = self.teachers[0](inputs)
            values = 0.1 * values + 0.9 * kd(logits, teacher_logits, temperature=4)
        # One value per example, so that one division is right. Lightning averages over micro-batches and processes;
        # then the mean of each is right where all are of one size (`drop_last=True` sees to that).
        return values.mean()

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        inputs, labels = batch
        self.log("accuracy", 100 * (self.network(inputs).argmax(dim=1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.003)


def batches(inputs: Tensor, labels: Tensor, **options: Any) -> DataLoader:
    return DataLoader(TensorDataset(inputs, labels), **options)


def learn(student: Student, count: int, epochs: int) -> Student:
    """Train on the first `count` examples."""
    loops(epochs).fit(student, batches(x[:count], y[:count], batch_size=60, shuffle=True))
    return student


def accuracy(student: Student) -> float:
    return loops(1).test(student, batches(x_test, y_test, batch_size=len(x_test)), verbose=False)[0]["accuracy"]


def loops(epochs: int) -> lightning.Trainer:
    """A Trainer that neither writes nor shows anything."""
    return lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip


teacher = learn(Student(512), count=1000, epochs=30)
alone = learn(Student(32), count=120, epochs=200)
taught = learn(Student(32, teacher=teacher.network), count=120, epochs=200)
print(f"teacher {accuracy(teacher):.1f} %, 1000 labels")
print(f"student with the teacher {accuracy(taught):.1f} %, without {accuracy(alone):.1f} %, 120 labels each")
