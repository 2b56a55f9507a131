"""A safetensors file and a model of the catalogue are a teacher, or are told apart in words."""

import pytest
import torch
from asking import CLASSES, examples_of
from safetensors.torch import load_file, save_file

from limbeck.data import Preprocess
from limbeck.errors import DataError, RecipeError
from limbeck.files import digest_tensors
from limbeck.models import ConvNet, Mlp, initialise
from limbeck.recipe import recipe_from_tree
from limbeck.teachers import Audience, WeightsTeacher, ask_all

MODEL, SCALED = Mlp(hidden=(8,)), Preprocess(scale=255.0)


def saved(path, model=MODEL, change=lambda tensors: tensors, classes=3):
    """A file of fresh weights, and the network they belong to."""
    module = initialise(model, (1, 4, 4), classes, seed=3).eval()
    tensors = {name: tensor.clone().contiguous() for name, tensor in module.state_dict().items()}
    save_file(change(tensors), path)
    return module


def opened(path, examples=None, **settings):
    spec = WeightsTeacher(path=str(path), **{"model": MODEL, **settings})
    return spec.open(Audience(examples or examples_of(20), SCALED))


@pytest.mark.parametrize("model", [MODEL, ConvNet(channels=(3, 4))])
def test_the_file_answers_as_the_network_did(tmp_path, model):
    module, examples = saved(tmp_path / "w.safetensors", model), examples_of(20)
    who = opened(tmp_path / "w.safetensors", examples, model=model)
    expected = module(examples.inputs.float() / 255).detach()
    torch.testing.assert_close(ask_all(who, examples), expected, rtol=1e-5, atol=1e-6)
    assert who.size == sum(parameter.numel() for parameter in module.parameters())
    assert who.knows(examples)


def test_asking_changes_nothing_and_is_repeatable(tmp_path, open_store):
    path, examples = tmp_path / "w.safetensors", examples_of(40)
    saved(path, ConvNet(channels=(3, 4)))
    bytes_before, who = path.read_bytes(), opened(path, examples, model=ConvNet(channels=(3, 4)))
    before = digest_tensors(who.module.state_dict())
    first = ask_all(who, examples)
    assert torch.equal(ask_all(who, examples), first)
    assert not first.requires_grad
    assert digest_tensors(who.module.state_dict()) == before
    assert path.read_bytes() == bytes_before
    store = open_store(who, examples)
    assert store.manifest["examples"] == 40


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_computed_with_in_float32(tmp_path, dtype):
    path, examples = tmp_path / "w.safetensors", examples_of(10)
    module = saved(path, change=lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})
    module.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    expected = module(examples.inputs.float() / 255).detach()
    torch.testing.assert_close(ask_all(opened(path, examples), examples), expected, rtol=1e-5, atol=1e-6)


def test_the_identity_tells_an_ulp_preprocessing_and_the_order_of_classes(tmp_path):
    def ulp(tensors):
        first = next(iter(tensors.values())).view(-1)
        first[0] = torch.nextafter(first[0], torch.tensor(9.0))
        return tensors

    for name, change in (("a", lambda tensors: tensors), ("b", lambda tensors: tensors), ("c", ulp)):
        saved(tmp_path / name, change=change)
    same = opened(tmp_path / "a").identity()
    assert opened(tmp_path / "b").identity() == same
    others = [
        opened(tmp_path / "c").identity(),
        opened(tmp_path / "a", preprocess=Preprocess(scale=254.0)).identity(),
        opened(tmp_path / "a", classes=("b", "a", "c")).identity(),
        opened(tmp_path / "a", classes=("c", "b", "a")).identity(),
    ]
    assert len({str(one) for one in (same, *others)}) == 5


def test_classes_in_another_order_and_more_of_them_are_picked(tmp_path):
    path, examples = tmp_path / "w.safetensors", examples_of(10)
    module = saved(path, classes=4)
    answers = ask_all(opened(path, examples, classes=("c", "d", "a", "b")), examples)
    expected = module(examples.inputs.float() / 255).detach()[:, [2, 3, 0]]
    torch.testing.assert_close(answers, expected, rtol=1e-5, atol=1e-6)


def test_a_class_that_the_file_does_not_know_is_named(tmp_path):
    saved(tmp_path / "w")
    with pytest.raises(DataError, match="lacks c"):
        opened(tmp_path / "w", classes=("a", "b", "x"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "head.bias"}, "lacks head.bias"),
        (lambda t: {**t, "extra": torch.ones(1)}, "has unknown extra"),
        (lambda t: {**t, "head.bias": torch.ones(4)}, r"of another shape head.bias \(4,\) for \(3,\)"),
        (lambda t: {f"module.{k}": v for k, v in t.items()}, "another prefix"),
        (lambda t: {**t, "head.bias": torch.ones(3, dtype=torch.int8)}, "holds head.bias as int8"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, words):
    saved(tmp_path / "w", change=change)
    with pytest.raises(DataError, match=words):
        opened(tmp_path / "w")


def test_examples_that_the_model_cannot_take_are_refused_in_words(tmp_path):
    saved(tmp_path / "w")
    with pytest.raises(DataError, match=r"(?s)another shape .*for examples \(1, 4, 4\) of 2 classes"):
        opened(tmp_path / "w", examples_of(6, classes=("a", "b")))


@pytest.mark.parametrize("path", ["missing.safetensors", "."])
def test_a_path_without_a_file_is_named(tmp_path, path):
    with pytest.raises(DataError, match=r"does not exist|a folder"):
        opened(tmp_path / path)


def test_a_recipe_names_such_a_teacher(tmp_path):
    saved(tmp_path / "w")
    tree = {
        "data": {"source": "digits"},
        "teacher": {"kind": "weights", "path": "w", "model": {"name": "mlp", "hidden": [8]}, "classes": list(CLASSES)},
        "student": {"model": {"name": "mlp"}},
    }
    spec = recipe_from_tree(tree, {}, where="here").teacher
    assert spec == WeightsTeacher(path="w", model=MODEL, classes=CLASSES)
    with pytest.raises(RecipeError, match=r"teacher.model.name is 'vit'"):
        recipe_from_tree(tree, {"teacher.model": {"name": "vit"}}, where="here")
