"""A model in a folder comes back bit for bit, or not at all."""

import json
import shutil

import pytest
import torch
from torch import nn

from limbeck.data import Column, Encode, Preprocess, key_examples
from limbeck.errors import DataError
from limbeck.files import MANIFEST, commit_directory, digest_tensors, encode
from limbeck.models import ConvNet, Mlp, ResNet, initialise
from limbeck.teachers import Audience, SavedModel, SavedTeacher, load_model, save_model
from limbeck.teachers.saved import CONFIG, WEIGHTS

PREPROCESS = Preprocess(scale=255.0, mean=(0.5,), std=(0.25,))


def saved(directory, spec):
    module = initialise(spec, (1, 8, 8), 3, seed=5).to(memory_format=torch.channels_last)
    model = SavedModel(module, spec, (1, 8, 8), ("né", "b", "c"), PREPROCESS)
    save_model(directory, model)
    return model


@pytest.mark.parametrize("spec", [Mlp(hidden=(4, 5), dropout=0.5), ConvNet(channels=(2, 3)), ResNet(name="resnet20")])
def test_a_model_comes_back_bit_for_bit(tmp_path, spec):
    before = saved(tmp_path, spec)
    after = load_model(tmp_path)
    assert digest_tensors(after.module.state_dict()) == digest_tensors(before.module.state_dict())
    assert (after.spec, after.input_shape, after.classes, after.preprocess) == (
        spec,
        (1, 8, 8),
        ("né", "b", "c"),
        PREPROCESS,
    )
    assert not any(part.training for part in after.module.modules())
    inputs = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(after.module(inputs), before.module.eval()(inputs))


def test_the_folder_holds_the_model_and_nothing_else(tmp_path):
    saved(tmp_path, Mlp(hidden=(4,)))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([CONFIG, MANIFEST, WEIGHTS])


@pytest.mark.parametrize("name", [CONFIG, MANIFEST, WEIGHTS])
@pytest.mark.parametrize(
    "damage", [lambda data: data[:-7], lambda data: data[:40] + b"\x01" + data[41:], lambda data: b""]
)
def test_damage_to_any_file_is_refused(tmp_path, name, damage):
    saved(tmp_path, Mlp(hidden=(4,)))
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    with pytest.raises(DataError, match=str(tmp_path)):
        load_model(tmp_path)


@pytest.mark.parametrize("name", [CONFIG, MANIFEST, WEIGHTS])
def test_a_missing_file_is_refused(tmp_path, name):
    saved(tmp_path, Mlp(hidden=(4,)))
    (tmp_path / name).unlink()
    with pytest.raises(DataError):
        load_model(tmp_path)


@pytest.mark.parametrize("place", ["missing", "."])
def test_a_path_that_holds_no_model_is_named(tmp_path, place):
    with pytest.raises(DataError, match="holds no saved model"):
        load_model(tmp_path / place)


def test_weights_of_another_model_are_refused(tmp_path):
    saved(tmp_path / "a", Mlp(hidden=(4,)))
    saved(tmp_path / "b", Mlp(hidden=(5,)))
    shutil.copy(tmp_path / "a" / WEIGHTS, tmp_path / "b" / WEIGHTS)
    with pytest.raises(DataError, match="sha256"):
        load_model(tmp_path / "b")
    config = json.loads((tmp_path / "b" / CONFIG).read_text())
    commit_directory(tmp_path / "b", {WEIGHTS: (tmp_path / "a" / WEIGHTS).read_bytes(), CONFIG: encode(config)})
    with pytest.raises(DataError, match="do not fit"):
        load_model(tmp_path / "b")


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"name": "os.system"}},
        {"model": {"name": "mlp", "hidden": "wide"}},
        {"model": {"name": "mlp", "unknown": 1}},
        {"model": [1]},
        {"classes": None},
        {"preprocess": {"scale": -1}},
        {"format": 2},
    ],
)
def test_a_config_that_makes_no_sense_is_refused(tmp_path, change):
    saved(tmp_path, Mlp(hidden=(4,)))
    config = json.loads((tmp_path / CONFIG).read_text()) | change
    commit_directory(tmp_path, {WEIGHTS: (tmp_path / WEIGHTS).read_bytes(), CONFIG: encode(config)})
    with pytest.raises(DataError):
        load_model(tmp_path)


def test_an_architecture_of_the_users_needs_the_users_module(tmp_path):
    def made():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    before = made()
    save_model(tmp_path, SavedModel(before, None, (1, 8, 8), ("a", "b", "c"), PREPROCESS))
    with pytest.raises(DataError, match="module="):
        load_model(tmp_path)
    after = load_model(tmp_path, made())
    assert digest_tensors(after.module.state_dict()) == digest_tensors(before.state_dict())
    with pytest.raises(DataError, match="do not fit"):
        load_model(tmp_path, nn.Linear(3, 3))


def test_a_model_for_rows_comes_back_with_its_columns(tmp_path):
    rows = Encode(columns=(Column(name="x", mean=2.0, indicated=True), Column(name="c", vocabulary=("a", "é"))))
    module = initialise(Mlp(hidden=(4,)), rows.output_shape((2,)), 3, seed=5)
    save_model(tmp_path, SavedModel(module, Mlp(hidden=(4,)), (2,), ("a", "b", "c"), rows))
    after = load_model(tmp_path)
    assert after.preprocess == rows
    inputs = after.preprocess(torch.tensor([[float("nan"), 1.0], [2.0, 0.0]]))
    assert inputs.tolist() == [[0, 1, 1, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(after.module(inputs), module(inputs))


def test_a_model_saved_before_images_were_resized_is_loaded(tmp_path):
    model = saved(tmp_path, Mlp(hidden=(4,)))
    config = json.loads((tmp_path / CONFIG).read_bytes())
    for later in ("size", "channels"):
        del config["preprocess"][later]
    weights = dict(model.module.state_dict())
    shutil.rmtree(tmp_path)
    commit_directory(tmp_path, {WEIGHTS: weights, CONFIG: encode(config)})
    assert load_model(tmp_path).preprocess == PREPROCESS


def test_a_teacher_that_was_taught_other_categories_is_refused(tmp_path):
    taught, given = (Encode(columns=(Column(name="c", vocabulary=values),)) for values in (("a", "b"), ("b", "c")))
    module = initialise(Mlp(hidden=(4,)), (2,), 2, seed=5)
    save_model(tmp_path, SavedModel(module, Mlp(hidden=(4,)), (1,), ("x", "y"), taught))
    keys = torch.zeros(2, 32, dtype=torch.uint8)
    examples = key_examples(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1]), ("x", "y"), keys)
    SavedTeacher(path=str(tmp_path)).open(Audience(examples, taught))
    with pytest.raises(DataError, match="other values; c is one of them"):
        SavedTeacher(path=str(tmp_path)).open(Audience(examples, given))
