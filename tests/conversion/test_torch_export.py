import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.conversion.torch_export import to_torch_export
from limbeck.errors import RecipeError
from limbeck.runtime.program import read_program
from networks import CATALOGUE, DEEP, USERS, Forward, network_of, samples

METADATA = {"classes": '["eins", "zwei"]', "licence": "null"}


def written(tmp_path, converted):
    path = tmp_path / "model.pt2"
    path.write_bytes(converted.data)
    return path


@pytest.mark.parametrize("name", [*CATALOGUE, *USERS, *(pytest.param(name, marks=pytest.mark.slow) for name in DEEP)])
def test_a_file_answers_like_its_network_for_batches_of_any_size(name, tmp_path):
    network, inputs = network_of(name)
    converted = to_torch_export(network, inputs, METADATA)

    program = read_program(written(tmp_path, converted))
    network.eval()
    for size in (1, 2, 3, 7, 64):
        batch = inputs.repeat(8, *[1] * (inputs.ndim - 1))[:size]
        with torch.no_grad():
            expected = network(batch)
            torch.testing.assert_close(program(batch), expected, atol=1e-5, rtol=1e-5)
    assert converted.facts["batch"] == "dynamic"


@pytest.fixture(scope="module")
def depthwise():
    network, inputs = network_of("depthwise")
    return to_torch_export(network, inputs, METADATA)


def test_the_metadata_is_one_file_of_the_archive(depthwise, tmp_path):
    with zipfile.ZipFile(written(tmp_path, depthwise)) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith("limbeck.json")]
        assert json.loads(archive.read(name)) == METADATA


def test_no_path_no_line_of_source_and_no_example_is_in_the_bytes(depthwise):
    here = Path(__file__)
    for path in (Path.home(), Path(torch.__file__).parent, here.parent, Path.cwd()):
        assert str(path).encode() not in depthwise.data
    for trace in (b"site-packages", b".py", b"Depthwise"):
        assert trace not in depthwise.data
    _, inputs = network_of("depthwise")
    for example in inputs[:2]:
        assert example[0, 0].numpy().tobytes() not in depthwise.data


def test_torch_reads_the_file_too(depthwise, tmp_path):
    network, inputs = network_of("depthwise")
    module = torch.export.load(written(tmp_path, depthwise)).module()

    torch.testing.assert_close(module(inputs[:5]), network.eval()(inputs[:5]))


def test_nothing_is_printed(capfd):
    to_torch_export(Forward(lambda linear, x: linear(x)), samples(6), {})

    assert capfd.readouterr() == ("", "")


def test_a_network_that_walks_its_batch_is_written_for_one_example(tmp_path):
    network, inputs = Forward(lambda linear, x: torch.stack([linear(row) for row in x])), samples(6)
    converted = to_torch_export(network, inputs, {})

    program = read_program(written(tmp_path, converted))
    assert (converted.facts["batch"], program.least, program.most) == (1, 1, 1)
    np.testing.assert_allclose(program(inputs).numpy(), network(inputs).detach().numpy(), atol=1e-6)


def test_an_operator_that_the_reader_does_not_call_is_named():
    network = Forward(lambda linear, x: linear(x) + torch.linalg.svd(linear(x))[2][:1])
    with pytest.raises(RecipeError, match="linalg_svd"):
        to_torch_export(network, samples(6), {})
