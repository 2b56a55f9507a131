"""limbeck's soft targets inside a Hugging Face `Trainer`.

Run it by `python examples/loops/trainer.py`, with the packages of `pip install '.[loops]'`.
"""

import tempfile
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import StackDataset
from transformers import PrinterCallback, Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

from limbeck.functional import kd

images, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
images = images.view(-1, 1, 8, 8).float() / 16
x, x_test, y, y_test = train_test_split(images, labels, test_size=797, stratify=labels, random_state=0)


class Distiller(Trainer):
    """A Trainer whose student learns from the labels and from a teacher."""

    def __init__(self, *args: Any, teacher: nn.Module, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teacher = teacher.to(self.args.device).eval()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        outputs = model(pixel_values=inputs["pixel_values"])
        with torch.no_grad():
            teacher_logits = self.teacher(pixel_values=inputs["pixel_values"]).logits
        hard = F.cross_entropy(outputs.logits, inputs["labels"], reduction="none")
        values = 0.1 * hard + 0.9 * kd(outputs.logits, teacher_logits, temperature=4)
        # One value per example, so that one division is right: by the labels of the whole step, in all its
        # micro-batches and processes (whose gradients are averaged, hence the factor). For a model whose `forward`
        # takes no **kwargs the Trainer counts nothing, and divides by the number of micro-batches itself.
        if num_items_in_batch is None:
            loss = values.mean()
        else:
            loss = values.sum() * self.accelerator.num_processes / num_items_in_batch
        return (loss, outputs) if return_outputs else loss


def vit(width: int) -> ViTForImageClassification:
    """A small one from a configuration; it takes a digit whole, as one patch."""
    torch.manual_seed(0)
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 1, "num_attention_heads": 4}
    return ViTForImageClassification(ViTConfig(image_size=8, patch_size=8, num_channels=1, num_labels=10, **sizes))


def learn(trainer: Any, model: nn.Module, count: int, epochs: int, **more: Any) -> nn.Module:
    """Train on the first `count` examples; a step is two micro-batches."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=epochs, per_device_train_batch_size=30, gradient_accumulation_steps=2,
            learning_rate=0.003, lr_scheduler_type="cosine", warmup_steps=20, remove_unused_columns=False,
            seed=0, use_cpu=True, save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True,
        )  # fmt: skip
        run = trainer(model, arguments, train_dataset=StackDataset(pixel_values=x[:count], labels=y[:count]), **more)
        run.remove_callback(PrinterCallback)
        run.train()
    return model.eval()


def accuracy(model: nn.Module) -> float:
    with torch.no_grad():
        return 100 * (model(x_test).logits.argmax(dim=1) == y_test).float().mean().item()


teacher = learn(Trainer, vit(64), count=1000, epochs=15)
alone = learn(Trainer, vit(32), count=120, epochs=100)
taught = learn(Distiller, vit(32), count=120, epochs=100, teacher=teacher)
print(f"teacher {accuracy(teacher):.1f} %, 1000 labels")
print(f"student with the teacher {accuracy(taught):.1f} %, without {accuracy(alone):.1f} %, 120 labels each")
