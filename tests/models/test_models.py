import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from limbeck.models import MODELS, Mlp, ModelSpec, bytes_of, initialise, parameters


@pytest.mark.parametrize("name", MODELS)
def test_each_name_of_the_catalogue_builds_from_a_recipe(name):
    spec = TypeAdapter(MODELS[name]).validate_json(f'{{"name": "{name}"}}', strict=True)

    assert isinstance(spec, ModelSpec)
    assert spec.name == name
    shape = (64,) if name == "textcnn" else (1, 8, 8)
    model = initialise(spec, shape, 10, seed=0).eval()
    assert model(torch.zeros(2, *shape)).shape == (2, 10)


def test_lists_of_a_recipe_become_tuples():
    spec = TypeAdapter(Mlp).validate_json('{"hidden": [3, 2]}', strict=True)

    assert spec == Mlp(hidden=(3, 2))


def test_size_counts_shared_tensors_once_and_buffers_in_bytes_only():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3))
    model[1].weight = model[0].weight

    assert parameters(model) == 9 + 6
    assert bytes_of(model) == 4 * (9 + 6) + 4 * 6 + 8  # fp32, running mean and variance, an int64 counter
    assert bytes_of(model.half()) == 2 * (9 + 6) + 2 * 6 + 8
