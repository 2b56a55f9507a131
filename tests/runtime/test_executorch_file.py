"""A .pte file answers as its network does, in batches that it bears and with any number of threads."""

import json
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim

from limbeck.errors import DataError, MissingError
from limbeck.quiet import quietly
from limbeck.runtime import runner
from limbeck.runtime.executorch_file import ExecuTorchFile

MOST = 5
WRITTEN = {"classes": '["ä", "b"]'}


@pytest.fixture(scope="module")
def lowered():
    """A network and its file, for batches of up to 5."""
    with quietly("ExecuTorch"), torch.random.fork_rng():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
        shapes = ({0: Dim("batch", min=1, max=MOST)},)
        program = torch.export.export(network, (torch.zeros(MOST, 1, 6, 6),), dynamic_shapes=shapes)
        methods = {"limbeck": json.dumps(WRITTEN)}
        manager = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods=methods)
        return network, manager.to_executorch().buffer


@pytest.fixture
def path(lowered, tmp_path):
    path = tmp_path / "model.pte"
    path.write_bytes(lowered[1])
    return path


def batch(count):
    return np.random.default_rng(count).normal(size=(count, 1, 6, 6)).astype(np.float32)


def expected(network, inputs):
    with torch.no_grad():
        return network(torch.from_numpy(inputs)).numpy()


@pytest.mark.parametrize("count", [1, 2, MOST, MOST + 1, 17])
def test_it_answers_batches_of_any_size_as_the_network_does(lowered, path, count):
    answers = runner("executorch", path, 1)(batch(count))
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, expected(lowered[0], batch(count)), atol=1e-5)


def test_files_with_unlike_numbers_of_threads_take_turns(lowered, path):
    alone, two = (ExecuTorchFile(path, threads=threads) for threads in (1, 2))
    for count in range(1, 8):
        for each in (alone, two):
            np.testing.assert_allclose(each(batch(count)), expected(lowered[0], batch(count)), atol=1e-5)


def test_what_is_written_in_it_comes_back(path):
    file = ExecuTorchFile(path, threads=1)
    assert file.metadata == WRITTEN
    assert (file.most, file.shape) == (MOST, (1, 6, 6))


@pytest.mark.parametrize("shape", [(2, 36), (2, 1, 3, 3), (2, 2, 6, 6)])
def test_examples_of_another_shape_are_refused(path, shape):
    with pytest.raises(DataError, match=r"takes examples of shape \[1, 6, 6\]"):
        ExecuTorchFile(path, threads=1)(np.zeros(shape, np.float32))


@pytest.mark.parametrize("keep", [0, 100, 4000, -1])
def test_a_damaged_file_is_refused_in_words_and_silence(lowered, tmp_path, capfd, keep):
    path = tmp_path / "model.pte"
    path.write_bytes(lowered[1][:keep])
    with pytest.raises(DataError, match=r"model\.pte"):
        ExecuTorchFile(path, threads=1)
    assert capfd.readouterr() == ("", "")


def test_a_machine_without_executorch_is_told_what_to_install(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "executorch.runtime", None)
    with pytest.raises(MissingError, match=r"pip install 'limbeck\[executorch\]'"):
        runner("executorch-int8", path, 1)
