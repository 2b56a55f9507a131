"""limbeck in other people's loops: each example runs in a process of its own, which also takes one step by hand.

`python tests/test_example_loops.py trainer.py` is that process.
"""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

LOOPS = Path(__file__).parent.parent / "examples" / "loops"
FOREIGN = (
    "ignore:`isinstance(treespec, LeafSpec)` is deprecated:FutureWarning",  # Lightning 2.6 on torch 2.13
    "ignore:GPU available but not used",  # Lightning, where there is one: the examples keep to the CPU
)
TORCHAO = r"^Failed to load .*/torchao/|^W.* <enum '\w+'> is an Enum subclass"
"""What torchao, which comes with ExecuTorch, says when transformers finds it there and imports it."""
COUNT = 50


@pytest.mark.parametrize("name", sorted(path.name for path in LOOPS.glob("*.py")))
def test_loop(name, tmp_path, tmp_path_factory):
    filters = [word for warning in ("error", *FOREIGN) for word in ("-W", warning)]
    home, temporary, here = (tmp_path / name for name in ("home", "temporary", "here"))
    for folder in (home, temporary, here):
        folder.mkdir()
    ran = subprocess.run(
        [sys.executable, *filters, __file__, name], cwd=here, timeout=300, capture_output=True, text=True,
        env=os.environ | {
            "HOME": str(home), "TMPDIR": str(temporary), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
            # torchmetrics imports Matplotlib where it is installed, which keeps a list of fonts.
            "MPLCONFIGDIR": str(tmp_path_factory.getbasetemp() / "fonts"),
        },
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert not [line for line in ran.stderr.splitlines() if not re.search(TORCHAO, line)]
    assert len(ran.stdout.splitlines()) == 2
    found = re.search(r"student with the teacher ([\d.]+) %, without ([\d.]+) %", ran.stdout)
    taught, alone = map(float, found.groups())
    assert 60 < alone < taught < 100
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def stepped(network: Any, teacher: Any, logits: Any, inputs: torch.Tensor, labels: torch.Tensor) -> Any:
    """The network's parameters after one step of gradient descent, rate 1, on the mean of the whole batch."""
    with torch.no_grad():
        soft = (logits(teacher(inputs)) / 4).softmax(dim=1)
    student = logits(network(inputs))
    divergence = F.kl_div((student / 4).log_softmax(dim=1), soft, reduction="batchmean")
    loss = 0.1 * F.cross_entropy(student, labels) + 0.9 * 16 * divergence
    parameters = tuple(network.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [p.detach() if g is None else (p - g).detach() for p, g in zip(parameters, gradients, strict=True)]


def assert_same(network: Any, expected: Any) -> None:
    torch.testing.assert_close(list(network.parameters()), expected, rtol=1e-4, atol=1e-5)


def check_trainer(names: dict[str, Any]) -> None:
    """Ragged micro-batches make the step of the whole batch."""
    x, y = names["x"][:COUNT], names["y"][:COUNT]
    for size, parts in ((COUNT, 1), (20, 3)):
        network = names["vit"](32)
        expected = stepped(network, names["teacher"], lambda outputs: outputs.logits, x, y)
        arguments = names["TrainingArguments"](
            "unused", num_train_epochs=1, per_device_train_batch_size=size, gradient_accumulation_steps=parts,
            optim="sgd", learning_rate=1.0, lr_scheduler_type="constant", max_grad_norm=0, weight_decay=0,
            remove_unused_columns=False, use_cpu=True, save_strategy="no", report_to="none", logging_strategy="no",
            disable_tqdm=True,
        )  # fmt: skip
        dataset = names["StackDataset"](pixel_values=x, labels=y)
        run = names["Distiller"](network, arguments, train_dataset=dataset, teacher=names["teacher"])
        run.remove_callback(names["PrinterCallback"])
        run.train()
        assert_same(network, expected)


def check_lightning(names: dict[str, Any]) -> None:
    """Micro-batches of one size make the step of the whole batch; the teacher is no part of what is saved."""

    class Plain(names["Student"]):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1.0)

    x, y = names["x"][:COUNT], names["y"][:COUNT]
    teacher = names["teacher"].network
    for parts in (1, 2):
        student = Plain(32, teacher=teacher)
        expected = stepped(student.network, teacher, lambda outputs: outputs, x, y)
        run = names["loops"](1)
        run.accumulate_grad_batches = parts
        run.fit(student, names["batches"](x, y, batch_size=COUNT // parts))
        assert_same(student.network, expected)
        assert {name.split(".")[0] for name in student.state_dict()} == {"network"}


CHECKS = {"trainer.py": check_trainer, "lightning_module.py": check_lightning}


if __name__ == "__main__":
    script = sys.argv[1]
    names = runpy.run_path(str(LOOPS / script), run_name="__main__")
    if script in CHECKS:
        CHECKS[script](names)
