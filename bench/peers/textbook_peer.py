"""The loop of the textbooks in PyTorch: a DataLoader, Adam, and the teacher asked at every step.

Made faster than most are: the images lie in memory as float tensors, not behind a transform per item.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from common import ALPHA, BATCH_SIZE, LEARNING_RATE, STUDENT, TEACHER, TEMPERATURE, Clock, arguments, load, report
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def convnet(first: int, second: int) -> nn.Module:
    layers = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(1, first, 3, stride=2, padding=1),
        leaky_relu1=nn.LeakyReLU(0.2),
        pool1=nn.MaxPool2d(2, stride=1),
        conv2=nn.Conv2d(first, second, 3, stride=2, padding=1),
        flatten=nn.Flatten(),
        head=nn.Linear(49 * second, 10),
    )
    return nn.Sequential(layers)


def main() -> None:
    options = arguments("a textbook loop on the classic MNIST pair")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    x, y, x_test, y_test = load(options.data)
    teacher, student = convnet(*TEACHER), convnet(*STUDENT)
    teacher.load_state_dict(load_file(options.teacher / "model.safetensors"))
    teacher.eval()

    clock = Clock()
    train = TensorDataset(torch.tensor(x)[:, None].float() / 255, torch.tensor(y).long())
    loader = DataLoader(train, batch_size=BATCH_SIZE, shuffle=True)
    optimizer = torch.optim.Adam(student.parameters(), lr=LEARNING_RATE)
    student.train()
    for _ in range(options.epochs):
        for images, labels in loader:
            with torch.no_grad():
                teacher_logits = teacher(images)
            logits = student(images)
            student_loss = F.cross_entropy(logits, labels)
            distillation_loss = F.kl_div(
                F.log_softmax(logits / TEMPERATURE, dim=1),
                F.softmax(teacher_logits / TEMPERATURE, dim=1),
                reduction="batchmean",
            )
            loss = ALPHA * student_loss + (1 - ALPHA) * TEMPERATURE**2 * distillation_loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        clock.lap()
    times = clock.stop()

    student.eval()
    with torch.no_grad():
        predicted = student(torch.tensor(x_test)[:, None].float() / 255).argmax(dim=1)
    report(
        "textbook loop",
        times=times,
        correct=int((predicted == torch.tensor(y_test)).sum()),
        epochs=options.epochs,
        versions={"torch": torch.__version__},
        threads=options.threads,
    )


if __name__ == "__main__":
    main()
