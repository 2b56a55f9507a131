import numpy as np
import pytest
import torch
from torch import nn

from bundles import deliver
from limbeck.conversion.torch_export import to_torch_export
from limbeck.data import Preprocess


@pytest.fixture(scope="session")
def pixels():
    """Stored images [32, 3, 6, 5]."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (32, 3, 6, 5), dtype=np.uint8))


@pytest.fixture(scope="session")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 5, 3)).eval()


@pytest.fixture(scope="session")
def preprocess():
    return Preprocess(scale=255.0, size=(8, 7), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))


@pytest.fixture(scope="session")
def bundle(tmp_path_factory, network, pixels, preprocess):
    """A bundle of images; tests only read it."""
    place = tmp_path_factory.mktemp("bundle") / "onnx"
    return deliver(place, network, pixels, preprocess, {"kind": "images", "levels": 255.0}, ("ant", "bee", "cow"))


@pytest.fixture(scope="session")
def program(tmp_path_factory, network, pixels, preprocess):
    """The same as a program of torch."""
    place, inputs = tmp_path_factory.mktemp("program") / "torch-export", {"kind": "images", "levels": 255.0}
    return deliver(
        place, network, pixels, preprocess, inputs, ("ant", "bee", "cow"), kind="torch-export", convert=to_torch_export
    )


@pytest.fixture(scope="session")
def answers(network, pixels, preprocess):
    """What the network says about the pixels, by torch."""
    with torch.no_grad():
        return network(preprocess(pixels)).numpy()
