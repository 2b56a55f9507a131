"""limbeck's soft targets in a PyTorch loop of your own.

Run it by `python examples/loops/bare.py`.
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from limbeck.functional import kd

images, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
x, x_test, y, y_test = train_test_split(images.float() / 16, labels, test_size=797, stratify=labels, random_state=0)


def network(width: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def accuracy(model: nn.Module) -> float:
    return 100 * (model(x_test).argmax(dim=1) == y_test).float().mean().item()


def learn(model: nn.Module, count: int, epochs: int, teacher: nn.Module | None = None) -> nn.Module:
    """Train on the first `count` examples, on their labels alone or with the teacher's answers beside them."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    for _ in range(epochs):
        for part in torch.randperm(count).split(60):
            logits = model(x[part])
            values = F.cross_entropy(logits, y[part], reduction="none")
            if teacher is not None:
                with torch.no_grad():
                    teacher_logits = teacher(x[part])
                values = 0.1 * values + 0.9 * kd(logits, teacher_logits, temperature=4)
            # One value per example: only the loop knows what a step is made of. Here it is the batch, so the mean.
            # Of several micro-batches, sum each and divide once, by the examples of the whole step.
            optimizer.zero_grad()
            values.mean().backward()
            optimizer.step()
    return model.eval()


teacher = learn(network(512), count=1000, epochs=30)
alone = learn(network(32), count=120, epochs=200)
taught = learn(network(32), count=120, epochs=200, teacher=teacher)
print(f"teacher {accuracy(teacher):.1f} %, 1000 labels")
print(f"student with the teacher {accuracy(taught):.1f} %, without {accuracy(alone):.1f} %, 120 labels each")
