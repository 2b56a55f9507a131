"""No file of a stranger is executed, none takes memory for what it merely declares, and each is refused in words."""

import resource
import sys

import pytest
from asking import examples_of

import hostile
from limbeck.data import Preprocess
from limbeck.errors import DataError
from limbeck.models import Mlp
from limbeck.teachers import Audience, OnnxTeacher, WeightsTeacher

OPENERS = {
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
