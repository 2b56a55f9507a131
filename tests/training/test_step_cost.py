"""How long a step takes is found without a trace."""

import random
import time

import numpy as np
import pytest
import torch
from lessons import SCENES, lesson_with, place_in, sha, student_of, tapped_lesson
from torch import nn

from limbeck.models import ConvNet, bytes_of
from limbeck.training import StepCost, fit, step_cost_of
from limbeck.training.step_cost import COLD, FEWEST


def cost_of(directory, scene="convnet, adamw", *, student=None, lesson=None, seconds=0.0) -> StepCost:
    spec, settings = SCENES[scene]
    student = student or student_of(spec)
    return step_cost_of(student, lesson or lesson_with(), settings, seed=0, place=place_in(directory), seconds=seconds)


@pytest.mark.parametrize("scene", SCENES)
def test_student_randomness_and_disk_stay_what_they_were(tmp_path, scene):
    student = student_of(SCENES[scene][0])
    before = sha(student), torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()
    assert cost_of(tmp_path, scene, student=student).seconds > 0
    after = sha(student), torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()
    assert after == before
    assert list(tmp_path.iterdir()) == []


class Slow(nn.Module):
    """Takes a hundredth of a second, and counts how often."""

    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 3)

    def forward(self, inputs):
        Slow.calls += 1
        time.sleep(0.01)
        return self.head(inputs.flatten(1))


def test_the_time_is_that_of_a_step(tmp_path, monkeypatch):
    monkeypatch.setattr(Slow, "calls", 0)
    found = cost_of(tmp_path, student=Slow())
    assert 0.01 <= found.seconds < 0.1
    assert Slow.calls == COLD + FEWEST + 1, "a first look, and no step more than needed"


def test_more_time_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(Slow, "calls", 0)
    cost_of(tmp_path, student=Slow(), seconds=0.2)
    assert Slow.calls > COLD + FEWEST + 1


@pytest.mark.parametrize("lesson", [lesson_with, tapped_lesson])
@pytest.mark.parametrize("scene", ["convnet, adamw", "convnet, momentum"])
def test_the_bytes_are_those_of_a_checkpoint(tmp_path, scene, lesson):
    spec, settings = SCENES[scene]
    found = cost_of(tmp_path, scene, lesson=lesson())
    fit(student_of(spec), lesson(), settings, steps=1, seed=0, place=place_in(tmp_path))
    (checkpoint,) = (tmp_path / "fit" / "checkpoints").iterdir()
    on_disk = sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))
    assert found.bytes > bytes_of(student_of(ConvNet(channels=(4, 8))))
    assert found.bytes <= on_disk < found.bytes + 8000, "names and shapes come to it"
