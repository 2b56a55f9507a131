"""No file of a stranger is executed, none takes memory for what it merely declares, and each is refused in words."""

import resource
import sys

import pytest
import torch
from asking import examples_of

import hostile
from limbeck.data import Preprocess
from limbeck.errors import DataError
from limbeck.models import Mlp
from limbeck.teachers import Audience, OnnxTeacher, ProgramTeacher, WeightsTeacher, ask_all

OPENERS = {
    "program": (hostile.PROGRAMS, lambda path: ProgramTeacher(path=path)),
    "onnx": (hostile.ONNX, lambda path: OnnxTeacher(path=path)),
    "weights": (hostile.WEIGHTS, lambda path: WeightsTeacher(path=path, model=Mlp(hidden=(4,)))),
}
CASES = [(opener, builder) for builders, opener in OPENERS.values() for builder in builders]


@pytest.mark.parametrize(("opener", "builder"), CASES, ids=lambda part: getattr(part, "__name__", ""))
def test_a_hostile_file_is_refused_and_not_executed(opener, builder, tmp_path):
    path, words = builder(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError) as caught:
        opener(str(path)).open(Audience(examples_of(6), Preprocess(scale=255.0)))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert words in str(caught.value)
    assert str(path) in caught.value.came
    assert not caught.value.came.count("\n")
    assert not (tmp_path / "canary").exists()
    assert grown < (256 << 10 if sys.platform == "linux" else 256 << 20)  # KiB there, bytes elsewhere


@pytest.mark.parametrize("builder", hostile.UNREAD, ids=lambda part: part.__name__)
def test_what_limbeck_does_not_look_at_is_not_run(builder, tmp_path):
    examples = examples_of(6)
    who = ProgramTeacher(path=str(builder(tmp_path))).open(Audience(examples, Preprocess(scale=255.0)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = hostile.Shift().eval()
    torch.testing.assert_close(ask_all(who, examples), module(examples.inputs.float() / 255).detach())
    assert not (tmp_path / "canary").exists()


def test_at_least_forty_hostile_files_are_tried():
    assert len(CASES) >= 40
    assert len({builder for _, builder in CASES}) == len(CASES)
