"""No file of a stranger is executed, none takes memory for what it merely declares, and each is refused in words."""

import random
import resource
import sys
from contextlib import suppress

import pytest
import torch
from asking import examples_of
from safetensors.torch import save_file

import hostile
import hostile_answers
from limbeck.data import Preprocess
from limbeck.errors import DataError, LimbeckError
from limbeck.models import Mlp, initialise
from limbeck.teachers import (
    AnswersTeacher,
    Audience,
    HubTeacher,
    OnnxTeacher,
    ProgramTeacher,
    SklearnTeacher,
    WeightsTeacher,
    ask_all,
)

OPENERS = {
    "sklearn": (hostile_answers.ESTIMATORS, lambda path: SklearnTeacher(path=path)),
    "table": (hostile_answers.TABLES, lambda path: AnswersTeacher(path=path)),
    "hub": (hostile.HUB, lambda path: HubTeacher(path=path)),
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


def good_files(folder):
    """A file of each kind that is in order, and what opens it."""
    weights = folder / "w.safetensors"
    module = initialise(Mlp(hidden=(4,)), (1, 4, 4), 3, seed=0)
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, weights)
    program, onnx = hostile.program_file(folder, lambda _: None), hostile.onnx_file(folder, *hostile.onnx_linear())
    return {"weights": weights, "program": program, "onnx": onnx}


@pytest.mark.parametrize("kind", ["weights", "program", "onnx"])
def test_a_damaged_file_is_refused_or_answers(kind, tmp_path):
    path, chance = good_files(tmp_path)[kind], random.Random(0)
    good, examples = path.read_bytes(), examples_of(6)
    for _ in range(150):
        damaged = bytearray(good)
        for _ in range(chance.choice([1, 1, 3])):
            damaged[chance.randrange(min(len(good), 4000))] = chance.choice([0, 255, chance.randrange(256)])
        path.write_bytes(damaged[: chance.choice([None, None, None, chance.randrange(len(good))])])
        with suppress(LimbeckError):
            OPENERS[kind][1](str(path)).open(Audience(examples, Preprocess(scale=255.0)))


ODD = (None, -1, 0, 2**63, 2**70, 1.5, "", "x", [], {}, [1], {"as_int": 3}, True, "torch.ops.aten.relu.default")


def test_a_program_with_anything_anywhere_is_refused_or_opened(tmp_path):
    chance, examples = random.Random(0), examples_of(6)

    def places(tree):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
        return [place for key, value in items for place in ((tree, key), *places(value))]

    def spoil(tree):
        parent, key = chance.choice(places(tree))
        parent[key] = chance.choice(ODD)

    for _ in range(150):
        name = chance.choice((hostile.MODEL, hostile.WEIGHTS_CONFIG, hostile.CONSTANTS_CONFIG))
        path = hostile.program_file(tmp_path, lambda entries, name=name: hostile.changed(entries, name, spoil))
        with suppress(LimbeckError):
            ProgramTeacher(path=str(path)).open(Audience(examples, Preprocess(scale=255.0)))
