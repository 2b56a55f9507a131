"""A program of torch.export is a teacher: walked by limbeck itself, it answers as the network did."""

import json
import warnings

import pytest
import torch
from asking import examples_of
from torch import nn

from hostile import MODEL, changed, graph_of, program_file
from limbeck.data import Preprocess, key_examples
from limbeck.errors import DataError, RecipeError
from limbeck.files import describe, digest_tensors
from limbeck.models import ConvNet, ResNet, initialise
from limbeck.recipe import recipe_from_tree
from limbeck.teachers import Audience, ProgramTeacher, ask_all, settle_precision

SCALED = Preprocess(scale=255.0)
BATCH = torch.export.Dim("batch")


class Many(nn.Module):
    """Operators in place, several outputs, lists, constants, sizes, types."""

    def __init__(self, classes=3):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.SiLU(inplace=True)
        self.drop, self.attend = nn.Dropout(0.5), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.recur, self.head = nn.GRU(4, 6, batch_first=True), nn.Linear(6, classes)
        self.register_buffer("shift", torch.linspace(0, 1, classes), persistent=False)

    def forward(self, x):
        y = self.drop(self.act(self.norm(self.conv(x))))
        y = y.view(x.shape[0], 4, -1).transpose(1, 2)
        y = self.attend(y + torch.arange(16).to(y.dtype)[:, None] / 16)
        best, _ = y.topk(2, dim=1)
        left, right = torch.cat([best, y.amax(1, keepdim=True)], 1).chunk(2, dim=1)
        y, _ = self.recur(torch.cat([left, right, torch.zeros(x.shape[0], 1, 4)], 1))
        y = torch.where(y > 0, y, y.exp() - 1).mean(1)
        return self.head(y) * torch.tensor(2.0) + self.shift


def made(module, seed=0):
    """The module in evaluation mode, with other statistics than a fresh one's."""
    generator = torch.Generator().manual_seed(seed)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean") or name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return module.eval()


def many(classes=3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return made(Many(classes))


def written(path, module, shape=(1, 4, 4), sizes=({0: BATCH},), batch=2, dtype=torch.float32, dressed=lambda e: e):
    inputs = torch.zeros(batch, *shape, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of recurrent layers and of weights in channels_last
        torch.export.save(dressed(torch.export.export(module, (inputs,), dynamic_shapes=sizes)), path)
    return module


def opened(path, examples=None, taps=(), **settings):
    examples = examples or examples_of(20)
    return ProgramTeacher(path=str(path), **settings).open(Audience(examples, SCALED, taps=taps))


def expected(module, examples):
    with torch.no_grad():
        return module(examples.inputs.float() / 255)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Of `many()`; tests only read it."""
    path = tmp_path_factory.mktemp("programs") / "m.pt2"
    written(path, many())
    return path


@pytest.mark.parametrize("size", [7, 129, 300])
def test_the_file_answers_as_the_network_did(file, size):
    examples = examples_of(size)
    who = opened(file, examples)
    torch.testing.assert_close(ask_all(who, examples), expected(many(), examples), rtol=1e-5, atol=1e-6)
    assert who.size == sum(parameter.numel() for parameter in many().parameters())


@pytest.mark.parametrize("spec", [ConvNet(channels=(3, 4)), ResNet(name="resnet20")])
def test_the_catalogues_networks_come_back(tmp_path, spec):
    module = made(initialise(spec, (3, 12, 12), 3, seed=2))
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (9, 3, 12, 12), generator=generator, dtype=torch.uint8)
    examples = key_examples(inputs, torch.arange(9) % 3, ("a", "b", "c"))
    written(tmp_path / "m.pt2", module, (3, 12, 12))
    answers = ask_all(opened(tmp_path / "m.pt2", examples), examples)
    torch.testing.assert_close(answers, expected(module, examples), rtol=1e-4, atol=1e-5)


def test_a_program_of_decomposed_operators_answers_alike(tmp_path):
    written(tmp_path / "m.pt2", many(), dressed=lambda exported: exported.run_decompositions())
    examples = examples_of(20)
    answers = ask_all(opened(tmp_path / "m.pt2", examples), examples)
    torch.testing.assert_close(answers, expected(many(), examples), rtol=1e-5, atol=1e-6)


def test_a_fixed_batch_is_filled_up(tmp_path):
    module = written(tmp_path / "m.pt2", many(), sizes=None, batch=16)
    examples = examples_of(40)
    answers = ask_all(opened(tmp_path / "m.pt2", examples), examples)
    torch.testing.assert_close(answers, expected(module, examples), rtol=1e-5, atol=1e-6)


def test_the_bounds_of_an_open_batch_are_kept(tmp_path):
    sizes = ({0: torch.export.Dim("batch", min=4, max=16)},)
    module = written(tmp_path / "m.pt2", many(), sizes=sizes, batch=8)
    examples = examples_of(18)
    who = opened(tmp_path / "m.pt2", examples)
    assert (who.module.least, who.module.most) == (4, 16)
    torch.testing.assert_close(ask_all(who, examples), expected(module, examples), rtol=1e-5, atol=1e-6)


def test_half_precision_is_answered_in_float32(tmp_path):
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).half().eval()
    written(tmp_path / "m.pt2", module, dtype=torch.float16)
    examples = examples_of(10)
    answers = ask_all(opened(tmp_path / "m.pt2", examples), examples)
    assert answers.dtype == torch.float32
    torch.testing.assert_close(answers, module((examples.inputs / 255).half()).detach().float(), rtol=0, atol=0)


def test_a_program_is_asked_in_bf16_too(tmp_path):
    examples, who = examples_of(20), opened(program_file(tmp_path, lambda entries: None))
    plain = ask_all(who, examples)
    who.precision = "bf16"
    lowered = ask_all(who, examples)
    assert not torch.equal(lowered, plain)
    torch.testing.assert_close(lowered, plain, rtol=0.02, atol=0.02)


def test_a_program_that_names_the_types_of_its_values_is_not_asked_in_bf16(file):
    examples = examples_of(20)
    with pytest.raises(DataError, match="in bf16 the teacher failed"):
        settle_precision(opened(file, examples), examples, "bf16")


def test_asking_changes_nothing_is_repeatable_and_fills_a_store(file, open_store):
    before, examples = describe(file), examples_of(40)
    kept, who = examples.inputs.clone(), opened(file, examples)
    tensors = digest_tensors(dict(who.module.state_dict()))
    first = ask_all(who, examples)
    assert torch.equal(ask_all(who, examples), first)
    assert torch.equal(ask_all(opened(file), examples), first)
    assert not first.requires_grad
    assert not any(parameter.requires_grad for parameter in who.module.parameters())
    assert torch.equal(examples.inputs, kept)
    assert digest_tensors(dict(who.module.state_dict())) == tensors
    assert describe(file) == before
    assert open_store(who, examples).manifest["examples"] == 40


def test_the_identity_tells_an_ulp_the_graph_preprocessing_and_the_classes(tmp_path, file):
    changed_weight, scaled = many(), many()
    bias = changed_weight.head.bias.data
    bias[0] = torch.nextafter(bias[0], torch.tensor(9.0))
    scaled.norm.eps = 1.1e-5
    written(tmp_path / "ulp.pt2", changed_weight)
    written(tmp_path / "eps.pt2", scaled)
    written(tmp_path / "same.pt2", many())
    same = opened(file).identity()
    assert opened(tmp_path / "same.pt2").identity() == same
    others = [
        opened(tmp_path / "ulp.pt2").identity(),
        opened(tmp_path / "eps.pt2").identity(),
        opened(file, preprocess=Preprocess(scale=254.0)).identity(),
        opened(file, classes=("b", "c", "a")).identity(),
        opened(file, classes=("b", "a", "c")).identity(),
    ]
    assert len({str(one) for one in (same, *others)}) == 6


def test_the_order_of_operators_and_their_arguments_are_part_of_the_identity(tmp_path):
    def turned(model):
        add = next(node for node in graph_of(model)["nodes"] if node["target"] == "torch.ops.aten.add.Tensor")
        add["target"] = "torch.ops.aten.sub.Tensor"

    (tmp_path / "b").mkdir()
    plain = opened(program_file(tmp_path, lambda entries: None))
    other = opened(program_file(tmp_path / "b", lambda entries: changed(entries, MODEL, turned)))
    assert plain.identity() != other.identity()


def test_where_a_program_was_written_is_no_part_of_its_identity(tmp_path):
    def moved(model):
        for node in graph_of(model)["nodes"]:
            node["metadata"] = {"stack_trace": json.dumps(node["target"])}

    (tmp_path / "b").mkdir()
    plain = opened(program_file(tmp_path, lambda entries: None))
    other = opened(program_file(tmp_path / "b", lambda entries: changed(entries, MODEL, moved)))
    assert plain.identity() == other.identity()


def test_classes_are_picked_by_name_and_a_missing_one_is_named(tmp_path):
    module, examples = written(tmp_path / "m.pt2", many(4)), examples_of(10)
    answers = ask_all(opened(tmp_path / "m.pt2", examples, classes=("c", "d", "a", "b")), examples)
    torch.testing.assert_close(answers, expected(module, examples)[:, [2, 3, 0]], rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError, match="lacks b"):
        opened(tmp_path / "m.pt2", classes=("a", "x", "c", "d"))


# --- what is refused --------------------------------------------------------------------------------------------------


class Wrong(nn.Module):
    """A network that is no teacher, by the given `forward`."""

    def __init__(self, forward):
        super().__init__()
        self.linear, self.answer = nn.Linear(16, 3), forward
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x):
        return self.answer(self, x.flatten(1))


def counted(self, x):
    self.count.add_(1)
    return self.linear(x) + self.count


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (lambda self, x: (self.linear(x), x), "it gives 2 outputs"),
        (lambda self, x: self.linear(x).sum(), r"answers 2 examples with \[\]"),
        (lambda self, x: self.linear(x).sum(0, keepdim=True), r"answers 2 examples with \[1, 3\]"),
        (lambda self, x: self.linear(x) + torch.rand(3), r"calls 'torch.ops.aten.rand.default'"),
        (lambda self, x: nn.functional.dropout(self.linear(x), 0.5, training=True), "as in training: model.eval"),
        (counted, "it changes its own weights"),
    ],
)
def test_a_program_that_is_no_teacher_is_refused(tmp_path, forward, words):
    written(tmp_path / "m.pt2", Wrong(forward).eval())
    with pytest.raises(DataError, match=words):
        opened(tmp_path / "m.pt2")


def test_a_program_exported_in_training_mode_is_refused(tmp_path):
    written(tmp_path / "m.pt2", many().train())
    with pytest.raises(DataError, match=r"model\.eval\(\) first"):
        opened(tmp_path / "m.pt2")


@pytest.mark.parametrize(
    ("shape", "words"),
    [((1, 5, 4), r"shape \[1, 5, 4\]"), ((4, 4, 1), "height, width, channels"), ((16,), "Flatten in front")],
)
def test_another_shape_is_refused_in_words(tmp_path, shape, words):
    written(tmp_path / "m.pt2", nn.Sequential(nn.Flatten()), shape)
    with pytest.raises(DataError, match=words) as caught:
        opened(tmp_path / "m.pt2")
    assert "[1, 4, 4], as the data are after preprocessing" in str(caught.value)


def test_a_batch_that_must_be_a_multiple_is_refused(tmp_path):
    def change(graph):
        size = graph["tensor_values"]["x"]["sizes"][0]["as_expr"]
        size["expr_str"] = f"Mul(Integer(2), {size['expr_str']})"

    path = program_file(tmp_path, lambda entries: changed(entries, MODEL, lambda model: change(graph_of(model))))
    with pytest.raises(DataError, match=r"takes batches of .Mul"):
        opened(path)


def test_a_program_has_no_parts_to_tap(file):
    with pytest.raises(RecipeError, match="the taps conv1 were asked of the program"):
        opened(file, taps=("conv1",))


def test_a_recipe_names_such_a_teacher():
    tree = {
        "data": {"source": "digits"},
        "teacher": {"kind": "program", "path": "m.pt2", "classes": ["a", "b"]},
        "student": {"model": {"name": "mlp"}},
    }
    spec = recipe_from_tree(tree, {}, where="here").teacher
    assert spec == ProgramTeacher(path="m.pt2", classes=("a", "b"))
