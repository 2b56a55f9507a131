"""A classifier of the hub, of images or texts, teaches as transformers has it answer, and runs no code of its own."""

import json
import logging
import os
import random
import shutil
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch
import transformers
from asking import preflight
from PIL import Image
from safetensors.torch import load_file, save_file

import hostile
import hub_models
from hub_models import bytes_of, pictures, texts
from limbeck.data import Preprocess, key_examples
from limbeck.errors import DataError, LimbeckError, MissingError, RecipeError
from limbeck.files import digest_tensors
from limbeck.recipe import recipe_from_tree
from limbeck.teachers import Audience, HubTeacher, Picked, ask_all
from limbeck.teachers.hub_images import image_preprocess

SCALED, PLAIN = Preprocess(scale=255.0), Preprocess()
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A ViT and a BERT as they were saved, and the models themselves; tests only read them."""
    root = tmp_path_factory.mktemp("hub")
    return {name: (root / name, build(root / name)) for name, build in BUILDERS.items()}


BUILDERS = {"vit": hub_models.vit, "bert": hub_models.sequence}
EXAMPLES = {"vit": pictures, "bert": texts}


@pytest.fixture(params=BUILDERS)
def kind(request):
    return request.param


@pytest.fixture
def copied(folders, tmp_path):
    """A copy of a folder, to be spoilt."""

    def copy(kind, name="copy"):
        return shutil.copytree(folders[kind][0], tmp_path / name)

    return copy


def opened(path, examples, taps=(), **settings):
    scale = SCALED if examples.inputs.ndim == 4 else PLAIN
    return HubTeacher(path=str(path), **settings).open(Audience(examples, scale, taps=taps))


def edited(path, name, **changes):
    (path / name).write_text(json.dumps(json.loads((path / name).read_text()) | changes))
    return path


def by_transformers(model, path, said, **more):
    """One text at a time, so that nothing is filled up."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    with torch.no_grad():
        return torch.cat(
            [
                model(
                    **{k: v for k, v in tokenizer(text, return_tensors="pt", **more).items() if k != "token_type_ids"}
                ).logits
                for text in said
            ]
        )


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [hub_models.vit, hub_models.resnet])
def test_images_are_seen_and_answered_as_by_transformers(build, tmp_path):
    model, examples = build(tmp_path), pictures()
    who = opened(tmp_path, examples)
    answers = ask_all(who, examples)
    seen = who.preprocess(examples.inputs)
    with torch.no_grad():
        torch.testing.assert_close(answers, model(pixel_values=seen).logits, rtol=1e-4, atol=1e-4)
    assert answers.std(dim=0).min() > 0.01
    assert who.size == sum(parameter.numel() for parameter in model.parameters())


PROCESSORS = {
    "vit": lambda: transformers.ViTImageProcessorPil(size={"height": 20, "width": 30}, image_mean=[0.1, 0.2, 0.3]),
    "bit": lambda: transformers.BitImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 20, "width": 16}),
    "convnext": lambda: transformers.ConvNextImageProcessorPil(size={"shortest_edge": 28}),
    "convnext, large": lambda: transformers.ConvNextImageProcessorPil(size={"shortest_edge": 384}),
    "deit": lambda: transformers.DeiTImageProcessorPil(size={"height": 30, "width": 30}, crop_size=20),
    "not normalised": lambda: transformers.ViTImageProcessorPil(size={"height": 20, "width": 20}, do_normalize=False),
    "not rescaled": lambda: transformers.ViTImageProcessorPil(do_rescale=False, do_normalize=False, do_resize=False),
    "to -1 and 1": lambda: transformers.SiglipImageProcessorPil(rescale_factor=1 / 127.5, image_mean=[1, 1, 1]),
}


@pytest.mark.parametrize("processor", PROCESSORS)
def test_images_are_prepared_as_by_the_image_processor(processor, tmp_path):
    theirs = PROCESSORS[processor]()
    theirs.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    mine = image_preprocess(settings, 3, SCALED, "here")
    rough = pictures(3, side=44).inputs[:, :, :36].float()
    stored = torch.nn.functional.avg_pool2d(rough, 3, stride=1, padding=1).to(torch.uint8)  # as smooth as photographs
    expected = torch.stack(
        [
            torch.as_tensor(np.asarray(theirs(Image.fromarray(one.permute(1, 2, 0).numpy()))["pixel_values"][0]))
            for one in stored
        ]
    )
    got = mine(stored)
    assert got.shape == expected.shape
    level = 1 if "rescaled" in processor else (1 / 127.5 if "-1" in processor else 1 / 255)
    spread = min(mine.std or (1,))
    assert (got - expected).abs().max() <= 2.01 * level / spread
    assert (got - expected).abs().mean() <= 0.1 * level / spread


@pytest.mark.parametrize(
    "change",
    [
        {"image_processor_type": "EvilImageProcessor"},
        {"image_processor_type": None},
        {"resample": 1},
        {"do_pad": True},
        {"size": {"longest_edge": 20}},
        {"size": {"height": 10**9, "width": 10}},
        {"size": None},
        {"image_mean": [0.5, 0.5]},
        {"image_std": [0, 0.5, 0.5]},
        {"image_mean": "evil"},
        {"rescale_factor": 0},
    ],
)
def test_an_image_processor_that_is_not_understood_is_refused_in_words(copied, change):
    path = edited(copied("vit"), "preprocessor_config.json", **change)
    with pytest.raises(DataError, match=r"preprocessor_config\.json cannot be followed"):
        opened(path, pictures())


def test_settings_from_before_sizes_had_names_are_understood():
    old = {"do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2}
    mine = image_preprocess({**old, "size": 20, "feature_extractor_type": "ViTFeatureExtractor"}, 3, SCALED, "here")
    assert (mine.resize, mine.crop, mine.scale) == ((20, 20), None, 255.0)
    mine = image_preprocess(
        {**old, "size": 20, "feature_extractor_type": "ConvNextFeatureExtractor"}, 3, SCALED, "here"
    )
    assert (mine.resize, mine.crop) == (22, (20, 20))


def test_a_preprocess_of_ones_own_goes_before_the_processor(folders):
    path, model = folders["vit"]
    examples = pictures(side=16)
    who = opened(path, examples, preprocess=SCALED)
    with torch.no_grad():
        expected = model(pixel_values=examples.inputs / 255).logits
    torch.testing.assert_close(ask_all(who, examples), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match=r"failed on an example of shape \(3, 40, 40\)"):
        opened(path, pictures(), preprocess=SCALED)


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["bert", "distilbert", "roberta", "gpt2"])
def test_texts_are_read_and_answered_as_by_transformers(network, tmp_path):
    model, examples = hub_models.sequence(tmp_path, network), texts(30)
    said = [bytes(row).rstrip(b"\0").decode() for row in examples.inputs.numpy()]
    answers = ask_all(opened(tmp_path, examples), examples)
    torch.testing.assert_close(answers, by_transformers(model, tmp_path, said), rtol=1e-4, atol=1e-5)
    assert answers.std(dim=0).min() > 1e-3


def test_the_texts_of_a_batch_change_nothing_in_each_others_answers(folders):
    examples = texts(128)
    who = opened(folders["bert"][0], examples)
    together = who.answer(examples.inputs, examples.keys).logits
    alone = torch.cat(
        [who.answer(i[None], k[None]).logits for i, k in zip(examples.inputs, examples.keys, strict=True)]
    )
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", ["bert", "roberta"])
def test_texts_that_are_too_long_are_cut_and_counted(network, tmp_path, caplog):
    model = hub_models.sequence(tmp_path, network, most=20)
    long = ["the teacher knows what the student does not " * 3, "x " * 45, "short"]
    examples = key_examples(bytes_of(long, 200), torch.tensor([0, 1, 2]), hub_models.NAMES)
    with caplog.at_level(logging.WARNING, "limbeck"):
        who = opened(tmp_path, examples)
    most = 20 if network == "bert" else 19
    assert f"2 of 3 texts are longer than the teacher's {most} tokens" in caplog.text
    expected = by_transformers(model, tmp_path, long, truncation=True, max_length=most)
    torch.testing.assert_close(ask_all(who, examples), expected, rtol=1e-4, atol=1e-5)


ODD_TEXTS = [b"", b"\0\0", b"\xff\xfe", b"a\0b", "né 标签 🙂".encode(), b"\xe6\xa0", b"[CLS] [PAD] [SEP]", b" " * 40]


def test_odd_texts_have_finite_answers(folders):
    rows = torch.zeros(len(ODD_TEXTS), 48, dtype=torch.uint8)
    for row, text in zip(rows, ODD_TEXTS, strict=True):
        row[: len(text)] = torch.tensor(list(text), dtype=torch.uint8)
    examples = key_examples(rows, torch.arange(len(ODD_TEXTS)) % 3, hub_models.NAMES)
    answers = ask_all(opened(folders["bert"][0], examples), examples)
    assert torch.isfinite(answers).all()
    torch.testing.assert_close(answers[0], answers[1])


def test_a_text_without_any_token_is_answered(tmp_path):
    """Of a tokenizer that puts no ends to a text."""
    hub_models.sequence(tmp_path)
    edited(tmp_path, "tokenizer.json", post_processor=None)
    examples = key_examples(bytes_of(["", " ", "x"]), torch.tensor([0, 1, 2]), hub_models.NAMES)
    who = opened(tmp_path, examples)
    assert torch.isfinite(ask_all(who, examples)).all()
    assert torch.isfinite(who.answer(examples.inputs[:1], examples.keys[:1]).logits).all()


def test_what_is_no_text_is_refused_in_words(folders):
    for inputs in (torch.rand(6, 8), torch.zeros(6, 1, 4, 4, dtype=torch.uint8)):
        examples = key_examples(inputs, torch.arange(6) % 3, hub_models.NAMES)
        with pytest.raises(DataError, match="a text classifier was given examples of shape"):
            opened(folders["bert"][0], examples)
    with pytest.raises(RecipeError, match=r"teacher\.preprocess came with a classifier of texts"):
        opened(folders["bert"][0], texts(), preprocess=PLAIN)
    with pytest.raises(DataError, match="an image network was given examples"):
        opened(folders["vit"][0], texts())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: (path / "tokenizer.json").unlink(), r"has no tokenizer\.json"),
        (lambda path: (path / "tokenizer.json").write_text("[" * 100_000), "cannot be read by the tokenizers library"),
        (lambda path: (path / "tokenizer.json").write_text('{"model": 1}'), "cannot be read by the tokenizers library"),
        (lambda path: os.truncate(path / "tokenizer.json", 2**30), "has 1,073,741,824 bytes"),
        (lambda path: edited(path, "tokenizer_config.json", auto_map={"A": "evil.E"}), "has auto_map"),
        (lambda path: edited(path, "tokenizer_config.json", pad_token="[NONE]"), "names no padding token"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_refused_in_words(copied, spoil, words):
    path = copied("bert")
    spoil(path)
    with pytest.raises(DataError, match=words):
        opened(path, texts())


# --- both -------------------------------------------------------------------------------------------------------------


def test_asking_changes_nothing_and_leaves_no_gradient(folders, kind, open_store):
    path, examples = folders[kind][0], EXAMPLES[kind]()
    files = {file.name: file.read_bytes() for file in path.iterdir()}
    stored = examples.inputs.clone()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    who = opened(path, examples)
    weights = digest_tensors({**dict(who.module.named_parameters()), **dict(who.module.named_buffers())})
    who.module.train()
    first = ask_all(who, examples)
    assert all(part.training for part in who.module.modules())
    who.module.eval()
    assert torch.equal(ask_all(who, examples), first)
    assert torch.equal(ask_all(opened(path, examples), examples), first)
    assert digest_tensors({**dict(who.module.named_parameters()), **dict(who.module.named_buffers())}) == weights
    assert not first.requires_grad
    assert all(parameter.grad is None for parameter in who.module.parameters())
    assert torch.equal(examples.inputs, stored)
    assert torch.equal(torch.get_rng_state(), state)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == files
    assert open_store(who, examples).manifest["examples"] == len(examples)


def ulp(path):
    tensors = load_file(path / "model.safetensors")
    tensors["classifier.bias"][0] = torch.nextafter(tensors["classifier.bias"][0], torch.tensor(9.0))
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


def order(path):
    edited(path, "config.json", **hub_models.settings(("b", "a", "c")))


CHANGES = {
    "vit": [
        ulp,
        order,
        lambda path: edited(path, "config.json", layer_norm_eps=1e-6),
        lambda path: edited(path, "preprocessor_config.json", image_mean=[0.4, 0.5, 0.61]),
        lambda path: edited(path, "preprocessor_config.json", resample=3),
    ],
    "bert": [
        ulp,
        order,
        lambda path: edited(path, "config.json", layer_norm_eps=1e-6),
        lambda path: edited(path, "tokenizer.json", normalizer=None),
        lambda path: edited(path, "tokenizer_config.json", model_max_length=8),
    ],
}


def test_the_identity_tells_the_smallest_change(folders, copied, kind):
    examples = EXAMPLES[kind]()
    identities = [opened(folders[kind][0], examples).identity(), opened(copied(kind), examples).identity()]
    assert identities[0] == identities[1]
    for number, change in enumerate(CHANGES[kind]):
        path = copied(kind, str(number))
        change(path)
        identities.append(opened(path, examples).identity())
    assert len({str(identity) for identity in identities}) == 1 + len(CHANGES[kind])


def test_classes_are_picked_by_name(tmp_path):
    model, examples = hub_models.vit(tmp_path, names=("c", "x", "a", "b")), pictures()
    who = opened(tmp_path, examples)
    assert isinstance(who, Picked)
    with torch.no_grad():
        expected = model(pixel_values=who.teacher.preprocess(examples.inputs)).logits
    torch.testing.assert_close(ask_all(who, examples), expected[:, [2, 3, 0]], rtol=1e-4, atol=1e-4)
    answers = ask_all(opened(tmp_path, examples, classes=("a", "b", "y", "c")), examples)
    torch.testing.assert_close(answers, expected[:, [0, 1, 3]], rtol=1e-4, atol=1e-4)
    with pytest.raises(DataError, match="lacks b"):
        opened(tmp_path, examples, classes=("a", "z", "y", "c"))
    with pytest.raises(DataError, match="has 4 outputs, and `classes` names 3"):
        opened(tmp_path, examples, classes=("a", "b", "c"))


def test_outputs_that_nobody_named_are_the_datas(copied):
    path = edited(copied("vit"), "config.json", **hub_models.settings(("LABEL_0", "LABEL_1", "LABEL_2")))
    examples = pictures()
    assert not isinstance(opened(path, examples), Picked)


def test_parts_are_tapped_by_their_own_names(folders):
    path, model = folders["bert"]
    examples = texts(20)
    who = opened(path, examples, taps=("bert.pooler", "bert.encoder.layer.0"))
    features = who.answer(examples.inputs, examples.keys).features
    with torch.no_grad():
        expected = model.classifier(features["bert.pooler"])
    torch.testing.assert_close(who.without_taps().answer(examples.inputs, examples.keys).logits, expected)
    assert features["bert.encoder.layer.0"].shape[::2] == (20, 16)
    with pytest.raises(RecipeError, match="no part of the teacher"):
        opened(path, examples, taps=("nonsense",))


@pytest.mark.parametrize("kind_of_network", ["vit", "bert"])
def test_bf16_is_near(folders, kind_of_network):
    examples = EXAMPLES[kind_of_network]()
    who = opened(folders[kind_of_network][0], examples)
    exact = ask_all(who, examples)
    who.precision = "bf16"
    torch.testing.assert_close(ask_all(who, examples), exact, rtol=0.05, atol=0.05)


def test_a_random_head_is_caught_before_any_training(folders):
    examples = pictures(300, side=16)
    with pytest.raises(DataError, match="clearly above the commonest class's share"):
        preflight(opened(folders["vit"][0], examples), examples, allow_weak=False)


def spoilt(path, kind):
    tensors = load_file(path / "model.safetensors")
    if kind == "no head":
        tensors = {name: tensor for name, tensor in tensors.items() if "classifier" not in name}
    elif kind == "other shape":
        tensors["classifier.bias"] = torch.zeros(5)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: spoilt(path, "no head"), r"has no weights for classifier\.bias, classifier\.weight"),
        (lambda path: spoilt(path, "other shape"), "cannot be loaded"),
        (lambda path: edited(path, "config.json", architectures=["BertForMaskedLM"]), "is of .'BertForMaskedLM'."),
        (lambda path: edited(path, "config.json", architectures=None), "is of None"),
        (lambda path: edited(path, "config.json", model_type="evil"), "cannot be loaded"),
        (lambda path: edited(path, "config.json", hidden_size="evil"), "cannot be loaded"),
        (lambda path: edited(path, "config.json", intermediate_size=10**9), "describes a network of"),
        (lambda path: edited(path, "config.json", vocab_size=2**30), "describes a network of"),
        (lambda path: (path / "config.json").unlink(), "does not exist"),
        (lambda path: shutil.rmtree(path), "is no folder"),
    ],
)
def test_a_model_that_is_not_whole_is_refused_in_words(copied, spoil, words):
    path = copied("bert")
    spoil(path)
    with pytest.raises(DataError, match=words) as caught:
        opened(path, texts())
    assert str(path) in caught.value.came


ODD = (None, -1, 0, 2**63, 2**70, 1.5, "", "x", [], {}, [1], {"a": 3}, True)


def test_settings_with_anything_anywhere_are_refused_or_followed(copied, kind):
    chance, examples, path = random.Random(0), EXAMPLES[kind](), copied(kind)
    names = sorted(file.name for file in path.glob("*.json") if file.name != "tokenizer.json")
    good = {name: (path / name).read_bytes() for name in names}
    opened_ones = 0
    for _ in range(80):
        name = chance.choice(names)
        tree = json.loads(good[name])
        tree[chance.choice(sorted(tree))] = chance.choice(ODD)
        (path / name).write_text(json.dumps(tree))
        with suppress(LimbeckError):
            opened(path, examples)
            opened_ones += 1
        (path / name).write_bytes(good[name])
    assert opened_ones < 80


def test_code_in_the_folder_is_not_run(copied):
    """Not even where the settings do not name it."""
    path = copied("bert")
    hostile.canary_code(path)
    for name in ("modeling_bert.py", "configuration_bert.py", "tokenization_bert.py", "__init__.py"):
        shutil.copy(path / "evil.py", path / name)
    (path / "pytorch_model.bin").write_bytes(b"nobody looks at this")
    assert ask_all(opened(path, texts()), texts()).shape == (12, 3)
    assert not (path / "canary").exists()


def test_weights_in_parts_and_a_snapshot_of_links_are_read(folders, tmp_path):
    path, _ = folders["vit"]
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / COMMIT
    shutil.copytree(path, blobs)
    tensors = load_file(blobs / "model.safetensors")
    (blobs / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for name, held in parts.items():
        save_file({each: tensors[each] for each in held}, blobs / name, metadata={"format": "pt"})
    where = {each: name for name, held in parts.items() for each in held}
    (blobs / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    examples = pictures()
    assert torch.equal(ask_all(opened(snapshot, examples), examples), ask_all(opened(path, examples), examples))


# --- the hub ----------------------------------------------------------------------------------------------------------


def test_a_repository_is_read_from_the_cache_by_its_commit(monkeypatch, tmp_path, folders):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    shutil.copytree(folders["bert"][0], tmp_path / "models--owner--name" / "snapshots" / COMMIT)
    examples = texts()
    who = HubTeacher(name="owner/name", revision=COMMIT).open(Audience(examples, PLAIN))
    assert torch.equal(ask_all(who, examples), ask_all(opened(folders["bert"][0], examples), examples))


def test_without_the_hub_the_way_out_is_given(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingError, match="give its folder by `path`"):
        HubTeacher(name="owner/name", revision=COMMIT).open(Audience(texts(), PLAIN))


def test_a_name_that_is_none_is_refused(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="the hub does not give a/b/c"):
        HubTeacher(name="a/b/c", revision=COMMIT).open(Audience(texts(), PLAIN))


@pytest.mark.parametrize("revision", [None, "main", "v1", COMMIT[:12], COMMIT.upper(), COMMIT + "0"])
def test_only_a_full_commit_is_a_revision(revision):
    with pytest.raises(RecipeError, match=r"teacher\.revision is"):
        HubTeacher(name="owner/name", revision=revision).open(Audience(texts(), PLAIN))


def test_without_the_package_the_way_to_it_is_given(monkeypatch, folders):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingError, match=r"pip install 'limbeck\[hf\]'"):
        opened(folders["bert"][0], texts())


def tree(**teacher):
    teacher = {"kind": "huggingface", **teacher}
    return {"data": {"source": "digits"}, "teacher": teacher, "student": {"model": {"name": "mlp"}}}


def test_a_recipe_names_such_a_teacher_by_one_of_two_ways():
    assert recipe_from_tree(tree(path="p"), {}, where="here").teacher == HubTeacher(path="p")
    spec = recipe_from_tree(tree(name="owner/name", revision=COMMIT), {}, where="here").teacher
    assert spec == HubTeacher(name="owner/name", revision=COMMIT)
    for wrong in ({}, {"path": "p", "name": "owner/name"}, {"path": "p", "revision": COMMIT}):
        with pytest.raises(RecipeError):
            recipe_from_tree(tree(**wrong), {}, where="here")
    with pytest.raises(RecipeError, match="trust_remote_code"):
        recipe_from_tree(tree(path="p", trust_remote_code=True), {}, where="here")
