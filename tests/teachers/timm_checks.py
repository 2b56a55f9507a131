"""A network of timm teaches by its own head and eyes. Run by test_timm.py, where torchvision can be imported."""

import pytest
import timm
import torch
from asking import preflight
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import ImageNetInfo

import hostile
from limbeck.data import Preprocess, key_examples
from limbeck.errors import DataError, MissingError, RecipeError
from limbeck.files import digest_tensors
from limbeck.teachers import Audience, Picked, TimmTeacher, ask_all

CLASSES = ("a", "b", "c")
SCALED = Preprocess(scale=255.0)


def pictures(count=12, channels=3, side=40, classes=CLASSES):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8)
    return key_examples(inputs, torch.arange(count) % len(classes), classes)


def written(path, network="test_resnet", outputs=3, change=lambda tensors: None):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = timm.create_model(network, pretrained=False, num_classes=outputs)
        for name, buffer in module.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
        for parameter in module.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))  # some layers begin at 0
    tensors = module.state_dict()
    change(tensors)
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    return module.eval()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.safetensors"


def opened(path, examples=None, name="test_resnet", taps=(), **settings):
    spec = TimmTeacher(name=name, path=str(path), **settings)
    return spec.open(Audience(examples or pictures(), SCALED, taps=taps))


def seen_by_timm(examples, module):
    """By timm's own transform, picture by picture."""
    config = timm.data.resolve_model_data_config(module)
    transform = timm.data.create_transform(**config, is_training=False)
    return torch.stack([transform(Image.fromarray(one.permute(1, 2, 0).numpy())) for one in examples.inputs])


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_it_answers_as_timm_does_by_its_own_transform(path, name):
    module, examples = written(path, name), pictures()
    answers, seen = ask_all(opened(path, examples, name), examples), seen_by_timm(examples, module)
    who = opened(path, examples, name)
    assert (who.preprocess(examples.inputs) - seen).abs().mean() < 0.2 / 255 / 0.5  # a fifth of a level of 255
    torch.testing.assert_close(answers, module(who.preprocess(examples.inputs)).detach(), rtol=1e-4, atol=1e-4)
    assert answers.std(dim=0).min() > 0.01


def test_asking_changes_nothing_and_leaves_no_gradient(path):
    written(path)
    before, examples = path.read_bytes(), pictures()
    who = opened(path, examples)
    weights, stored = digest_tensors(who.module.state_dict()), examples.inputs.clone()
    first = ask_all(who, examples)
    assert torch.equal(ask_all(who, examples), first)
    assert torch.equal(ask_all(opened(path), examples), first)
    assert digest_tensors(who.module.state_dict()) == weights
    assert not first.requires_grad
    assert all(parameter.grad is None for parameter in who.module.parameters())
    assert torch.equal(examples.inputs, stored)
    assert path.read_bytes() == before
    assert not any(part.training for part in who.module.modules())
    torch.testing.assert_close(who.answer(examples.inputs[3:4], examples.keys[3:4]).logits, first[3:4])


def test_the_global_randomness_is_left_alone(path):
    written(path)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    opened(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_identity_tells_one_ulp_preprocessing_and_the_order_of_classes(path, tmp_path):
    written(path)
    tensors = load_file(path)
    tensors["fc.bias"][0] = torch.nextafter(tensors["fc.bias"][0], torch.tensor(9.0))
    save_file(tensors, tmp_path / "ulp.safetensors")
    tensors = load_file(path)
    tensors["bn1.running_mean"][0] += 1e-6
    save_file(tensors, tmp_path / "buffer.safetensors")
    assert opened(path).identity() == opened(path).identity()
    identities = [
        opened(path).identity(),
        opened(tmp_path / "ulp.safetensors").identity(),
        opened(tmp_path / "buffer.safetensors").identity(),
        opened(path, preprocess=SCALED).identity(),
        opened(path, classes=("b", "a", "c")).identity(),
        opened(path, classes=("b", "c", "a")).identity(),
    ]
    assert len({str(identity) for identity in identities}) == 6


def test_classes_are_picked_by_name(path):
    module, examples = written(path, outputs=4), pictures()
    who = opened(path, examples, classes=("c", "x", "a", "b"))
    seen = who.teacher.preprocess(examples.inputs)
    torch.testing.assert_close(ask_all(who, examples), module(seen).detach()[:, [2, 3, 0]], rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="lacks b"):
        opened(path, classes=("c", "x", "a", "y"))


def test_a_part_of_it_can_be_tapped(path):
    module, examples = written(path), pictures()
    who = opened(path, examples, taps=("layer2",))
    features = who.answer(examples.inputs, examples.keys).features["layer2"]
    seen = who.preprocess(examples.inputs)
    with torch.no_grad():
        expected = module.layer2(module.layer1(module.maxpool(module.act1(module.bn1(module.conv1(seen))))))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_grey_pictures_are_shown_to_a_network_of_colours(path):
    written(path)
    examples = pictures(channels=1)
    assert ask_all(opened(path, examples), examples).shape == (12, 3)


def test_a_preprocess_of_ones_own_goes_before_timms(path):
    module, examples = written(path), pictures()
    who = opened(path, examples, preprocess=SCALED)
    torch.testing.assert_close(ask_all(who, examples), module(examples.inputs / 255).detach(), rtol=1e-4, atol=1e-5)
    written(path, "test_vit")
    with pytest.raises(DataError, match=r"failed on an example of shape \(3, 40, 40\)"):
        opened(path, examples, "test_vit", preprocess=SCALED)


@pytest.mark.parametrize("shape", [(3, 64), (12, 8)])
def test_what_is_no_picture_is_refused_in_words(path, shape):
    written(path)
    examples = key_examples(torch.rand(12, *shape), torch.arange(12) % 3, CLASSES)
    with pytest.raises(DataError, match="an image network was given examples"):
        opened(path, examples)


def test_a_head_of_another_width_is_never_made_anew(path):
    written(path, outputs=5)
    with pytest.raises(DataError, match=r"of another shape fc.weight \(5, 96\) for \(3, 96\)"):
        opened(path)
    with pytest.raises(DataError, match="1000 outputs, and 3 are asked for"):
        TimmTeacher(name="test_resnet").open(Audience(pictures(), SCALED))


def test_weights_without_a_head_are_refused(path):
    written(path, change=lambda tensors: tensors.pop("fc.weight"))
    with pytest.raises(DataError, match=r"lacks fc\.weight"):
        opened(path)


def test_a_random_head_is_caught_before_any_training(path):
    written(path)
    examples = pictures(300, side=24)
    with pytest.raises(DataError, match="clearly above the commonest class's share"):
        preflight(opened(path, examples), examples, allow_weak=False)


def test_a_store_is_filled_by_it(path, open_store):
    written(path)
    examples = pictures()
    assert open_store(opened(path, examples), examples).manifest["examples"] == 12


@pytest.mark.parametrize("name", ["nonsense", "test_resnet.nonsense", "hf-hub:timm/test_resnet.r160_in1k", "a/b"])
def test_an_unknown_name_is_refused_with_what_there_is(name, path):
    with pytest.raises(RecipeError, match=r"teacher\.name is") as caught:
        opened(path, name=name)
    assert ("test_resnet.r160_in1k" in str(caught.value)) or not name.startswith("test")


@pytest.mark.parametrize("builder", [hostile.weights_named_bin, hostile.weights_that_are_a_torch_file])
def test_pickled_weights_are_refused_and_not_executed(builder, tmp_path):
    path, words = builder(tmp_path)
    with pytest.raises(DataError) as caught:
        opened(path)
    assert words in str(caught.value)
    assert not (tmp_path / "canary").exists()


def test_synsets_are_the_names_of_imagenets_outputs(monkeypatch, path):
    """The pretrained weights themselves are behind the network: a file of the same width stands for what is fetched."""
    module = written(path, outputs=1000)
    monkeypatch.setattr("limbeck.teachers.timm_model.fetch_file", lambda *_: path)
    names = ImageNetInfo("imagenet-1k").label_names()
    examples = pictures(classes=(names[7], names[3], names[900]))
    who = TimmTeacher(name="test_resnet").open(Audience(examples, SCALED))
    assert isinstance(who, Picked)
    expected = module(who.teacher.preprocess(examples.inputs)).detach()[:, [7, 3, 900]]
    torch.testing.assert_close(ask_all(who, examples), expected, rtol=1e-4, atol=1e-5)


def test_without_the_hub_the_way_out_is_given(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    names = tuple(ImageNetInfo("imagenet-1k").label_names()[:3])
    with pytest.raises(MissingError, match=r"download model\.safetensors of timm/test_resnet\.r160_in1k elsewhere"):
        TimmTeacher(name="test_resnet").open(Audience(pictures(classes=names), SCALED))
