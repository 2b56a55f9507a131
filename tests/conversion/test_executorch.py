import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from limbeck.conversion import executorch
from limbeck.conversion.executorch import to_executorch, to_quantised_executorch
from limbeck.errors import MissingError, RecipeError
from limbeck.runtime.executorch_file import ExecuTorchFile
from networks import CATALOGUE, DEEP, USERS, Forward, network_of, samples, seeded

METADATA = {"classes": '["eins", "zwölf"]', "seal": "limbeck-sha256:" + "0" * 64}

SLOW = [name for name in (*CATALOGUE, *DEEP, *USERS) if name not in ("depthwise", "textcnn")]
"""Each takes ExecuTorch 2 s at the least, and the deepest a minute."""


def file_of(tmp_path, converted):
    path = tmp_path / "model.pte"
    path.write_bytes(converted.data)
    return ExecuTorchFile(path, threads=1)


def check(tmp_path, network, inputs, converted, within):
    """The file against the network for batches of several sizes."""
    file = file_of(tmp_path, converted)
    network = copy.deepcopy(network).eval()
    for size in (1, 2, 3, 7, 64, 100):
        batch = inputs.repeat(12, *[1] * (inputs.ndim - 1))[:size]
        with torch.no_grad():
            expected = network(batch).numpy()
        np.testing.assert_allclose(file(batch.numpy()), expected, atol=within * np.ptp(expected))


@pytest.fixture(scope="module")
def depthwise():
    """A network, examples, and its files in float32 and in int8."""
    network, inputs = network_of("depthwise")
    return network, inputs, to_executorch(network, inputs, METADATA), to_quantised_executorch(network, inputs, METADATA)


@pytest.mark.parametrize("name", ["textcnn", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_file_answers_like_its_network_for_batches_of_any_size(name, tmp_path):
    network, inputs = network_of(name)
    converted = to_executorch(network, inputs, METADATA)

    check(tmp_path, network, inputs, converted, 1e-4)
    assert converted.facts["difference"] <= 1e-4
    # ExecuTorch makes a GRU's first state of the size that it was shown.
    assert (converted.facts["batch"], converted.facts["largest_batch"]) == (
        ("dynamic", 64) if name != "gru" else (1, 1)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["textcnn", *SLOW])
def test_a_file_in_int8_answers_nearly_like_its_network(name, tmp_path):
    network, inputs = network_of(name)
    converted = to_quantised_executorch(network, inputs, METADATA)

    check(tmp_path, network, inputs, converted, 0.03)
    assert 0 < converted.facts["difference"] <= 0.03


def test_both_files_of_depthwise_convolutions_answer_like_their_network(depthwise, tmp_path):
    network, inputs, whole, quantised = depthwise
    check(tmp_path, network, inputs, whole, 1e-4)
    check(tmp_path, network, inputs, quantised, 0.03)
    assert quantised.facts["calibration"]["examples"] == len(inputs)
    assert whole.facts["batch"] == quantised.facts["batch"] == "dynamic"


def test_the_metadata_comes_back_and_lies_in_the_bytes_once(depthwise, tmp_path):
    for converted in depthwise[2:]:
        assert file_of(tmp_path, converted).metadata == METADATA
        assert converted.data.count(METADATA["seal"].encode()) == 1


def test_no_path_and_no_line_of_source_is_in_the_bytes(depthwise):
    here = Path(__file__)
    for converted in depthwise[2:]:
        for path in (Path.home(), Path(torch.__file__).parent, here.parent, Path.cwd()):
            assert str(path).encode() not in converted.data
        for trace in (b"site-packages", b".py", b"Depthwise"):
            assert trace not in converted.data


def test_the_network_stays_as_it_was_and_nothing_is_said(tmp_path, capfd):
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2)))
    network = network.train().to(memory_format=torch.channels_last)
    before = copy.deepcopy(network.state_dict())
    converted = to_executorch(network, samples(3, 8, 8), METADATA)

    assert capfd.readouterr() == ("", "")
    assert network.training
    assert network[0].weight.requires_grad
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    check(tmp_path, network, samples(3, 8, 8), converted, 1e-4)


def test_the_largest_batch_is_smaller_where_examples_are_large(tmp_path, monkeypatch):
    monkeypatch.setattr(executorch, "ROOM", 3 * samples(6)[0].nbytes)
    network = seeded(lambda: nn.Linear(6, 4))
    converted = to_executorch(network, samples(6), METADATA)
    assert converted.facts["largest_batch"] == file_of(tmp_path, converted).most == 3
    check(tmp_path, network, samples(6), converted, 1e-4)


def test_a_network_whose_code_looks_at_the_size_of_its_batch_is_asked_one_by_one(tmp_path):
    network = seeded(lambda: Forward(lambda linear, x: linear(x) if len(x) < 3 else linear(x) + 0))
    converted = to_executorch(network, samples(6), METADATA)
    assert converted.facts["batch"] == converted.facts["largest_batch"] == 1
    assert "one size alone" in converted.facts["why_not_dynamic"]
    check(tmp_path, network, samples(6), converted, 1e-4)


def test_a_network_that_cannot_be_taken_is_refused_in_words():
    network = seeded(lambda: Forward(lambda linear, x: linear(x) if x.sum() > 0 else -linear(x)))
    with pytest.raises(RecipeError, match=r"\.pte file: its code asks for a number that it computed"):
        to_executorch(network, samples(6), METADATA)


def test_a_file_that_answers_otherwise_is_refused(monkeypatch):
    own = executorch._lowered

    def spoilt(network, *others):
        other = copy.deepcopy(network)
        other.bias += 0.01
        return executorch._Lowered(own(other, *others).data, network)

    monkeypatch.setattr(executorch, "_lowered", spoilt)
    with pytest.raises(RecipeError, match="its logits differ by"):
        to_executorch(seeded(lambda: nn.Linear(6, 4)), samples(6), METADATA)


def test_a_machine_without_executorch_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "executorch.exir", None)
    with pytest.raises(MissingError, match=r"pip install 'limbeck\[executorch\]'"):
        to_executorch(nn.Linear(6, 4), samples(6), METADATA)
