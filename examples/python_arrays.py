"""A teacher of your own, in Python: any nn.Module, and data as arrays.

Run it by `python examples/python_arrays.py`.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import limbeck
from limbeck.data import Preprocess
from limbeck.models import Mlp
from limbeck.training import AdamW, Fit

images, labels = load_digits(return_X_y=True)
images = images.astype("uint8").reshape(-1, 1, 8, 8)
train, test = (images[:1200], labels[:1200]), (images[1200:], labels[1200:])

# What teacher and student take is made of the stored pixels, 0 to 16, by this.
preprocess = Preprocess(scale=16)


def train_teacher() -> nn.Module:
    """Stands for the model that you have already."""
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=0.003)
    inputs, targets = preprocess(torch.from_numpy(train[0])), torch.from_numpy(train[1])
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(teacher(inputs), targets).backward()
        optimizer.step()
    return teacher


result = limbeck.distill(
    teacher=train_teacher(),
    student=Mlp(hidden=(32,)),
    train=train,
    test=test,
    preprocess=preprocess,
    labelled=100,
    arms=["distilled", "scratch", "hard-teacher"],
    fit=Fit(epochs=40, batch_size=64, optimizer=AdamW(lr=0.003), threads=1),
    temperature=4.0,
    seeds=3,
    out="runs/python",
    overwrite=True,
)
for verdict in result.verdicts:
    print(verdict.arm, verdict)

student = result.student
inputs = result.preprocess(torch.from_numpy(test[0][:5]))
print("the student says", student(inputs).argmax(dim=1).tolist(), "- truly", test[1][:5].tolist())
