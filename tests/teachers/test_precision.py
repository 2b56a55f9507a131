"""In bf16 a network is asked only where it names the same classes, and it stays what it was."""

import pytest
import torch
from asking import CPU, examples_of, net, teacher
from torch import nn

from limbeck.data import Preprocess, key_examples
from limbeck.errors import DataError
from limbeck.files import digest_tensors
from limbeck.models import ConvNet, initialise
from limbeck.teachers import EnsembleTeacher, ModuleTeacher, TableTeacher, ask_all, settle_precision
from limbeck.teachers import precision as room


def convnet(taps=()):
    module = initialise(ConvNet(channels=(4, 8)), (1, 12, 12), 3, seed=0)
    return ModuleTeacher(module, Preprocess(scale=255.0), CPU, taps)


def images(count):
    inputs = torch.randint(0, 256, (count, 1, 12, 12), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return key_examples(inputs, torch.arange(count) % 3, ("a", "b", "c"))


class Sure(nn.Module):
    """Its first choice is the brighter half, by a margin that bf16 bears."""

    def forward(self, inputs):
        return inputs.flatten(1).unflatten(1, (2, -1)).mean(dim=2) * self.scale

    def __init__(self, scale=100.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))


class Doubtful(Sure):
    """Logits near 1 that differ in their third digit at the most, which bf16 has not."""

    def forward(self, inputs):
        return 1 + 1e-6 * super().forward(inputs)


class Rigid(Sure):
    """It knows no other type than float32."""

    def forward(self, inputs):
        return super().forward(inputs) + inputs.flatten(1) @ torch.zeros(16, 2)


def halves(count=200):
    inputs = torch.randint(0, 256, (count, 1, 4, 4), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    inputs[::2, :, :2] //= 2
    inputs[1::2, :, 2:] //= 2
    return key_examples(inputs, torch.arange(count) % 2, ("a", "b"))


@pytest.mark.parametrize(("asked", "examples"), [(convnet(), images(40)), (teacher(net()), examples_of(40))])
def test_bf16_answers_in_float32_what_fp32_answers_but_for_its_digits(asked, examples):
    exact = ask_all(asked, examples)
    asked.precision = "bf16"
    rough = ask_all(asked, examples)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.03 * (exact.max() - exact.min()) + 0.01


@pytest.mark.parametrize("asked", [convnet(), teacher(net())], ids=["convnet", "linear"])
def test_bf16_leaves_the_network_as_it_was(asked):
    tensors = {**dict(asked.module.named_parameters()), **dict(asked.module.named_buffers())}
    before, types = digest_tensors(tensors), [t.dtype for t in tensors.values()]
    asked.precision = "bf16"
    ask_all(asked, images(20) if isinstance(asked.module, nn.Sequential) else examples_of(20))
    after = {**dict(asked.module.named_parameters()), **dict(asked.module.named_buffers())}
    assert digest_tensors(after) == before
    assert [t.dtype for t in after.values()] == types
    assert all(after[name] is tensors[name] for name in tensors)


def test_precision_is_part_of_the_identity():
    asked = teacher(net())
    exact = asked.identity()
    asked.precision = "bf16"
    assert asked.identity() != exact
    assert asked.without_taps().identity()["precision"] == "bf16"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_bit_of_an_answer_depends_on_how_many_are_asked_at_once(precision):
    asked, examples = convnet(("conv1",)), images(30)
    asked.precision = precision
    whole = asked.answer(examples.inputs, examples.keys)
    parts = [asked.answer(i, k) for i, k in zip(examples.inputs.split(7), examples.keys.split(7), strict=True)]
    assert torch.equal(torch.cat([part.logits for part in parts]), whole.logits)
    assert torch.equal(torch.cat([part.features["conv1"] for part in parts]), whole.features["conv1"])


def test_a_copy_is_made_anew_after_the_identity_was_asked():
    asked, examples = convnet(), images(10)
    ask_all(asked, examples)
    with torch.no_grad():
        asked.module.head.bias.add_(1.0)
    asked.identity()
    expected = asked.module(examples.inputs.float() / 255.0).detach()
    torch.testing.assert_close(ask_all(asked, examples), expected, atol=1e-5, rtol=1e-5)


def test_bf16_that_names_the_same_classes_is_taken():
    asked = ModuleTeacher(Sure(), Preprocess(), CPU)
    assert settle_precision(asked, halves(), "bf16") == {"precision": "bf16", "bf16_agreement": 1.0}
    assert asked.precision == "bf16"


def test_bf16_that_names_other_classes_is_refused_with_the_share():
    asked = ModuleTeacher(Doubtful(), Preprocess(), CPU)
    with pytest.raises(DataError, match=r"on \d\d\.\d\d% of the examples") as refused:
        settle_precision(asked, halves(), "bf16")
    assert "99.9%" in str(refused.value)


@pytest.mark.parametrize(("faster", "module", "found"), [
    (True, Sure, {"precision": "bf16", "bf16_agreement": 1.0}),
    (False, Sure, {"precision": "fp32"}),
])  # fmt: skip
def test_auto_takes_bf16_where_it_is_faster(monkeypatch, faster, module, found):
    monkeypatch.setattr(room, "_seconds", lambda asked, some: 1.0 if (asked.precision == "bf16") == faster else 2.0)
    asked = ModuleTeacher(module(), Preprocess(), CPU)
    assert settle_precision(asked, halves(), "auto") == found
    assert asked.precision == found["precision"]


@pytest.mark.parametrize("module", [Doubtful, Rigid])
def test_auto_stays_with_fp32_where_bf16_names_other_classes_or_cannot_be_had(monkeypatch, module):
    monkeypatch.setattr(room, "_seconds", lambda asked, some: 1.0 if asked.precision == "bf16" else 2.0)
    asked = ModuleTeacher(module(), Preprocess(), CPU)
    assert settle_precision(asked, halves(), "auto")["precision"] == "fp32"
    assert asked.precision == "fp32"


def test_a_network_that_knows_no_bf16_is_refused_in_words():
    with pytest.raises(DataError, match="in bf16 the teacher failed"):
        settle_precision(ModuleTeacher(Rigid(), Preprocess(), CPU), halves(), "bf16")


def test_all_networks_of_an_ensemble_are_asked_in_one_precision():
    members = [ModuleTeacher(Sure(), Preprocess(), CPU), ModuleTeacher(Sure(50.0), Preprocess(), CPU)]
    settle_precision(EnsembleTeacher(members, None, "probabilities"), halves(), "bf16")
    assert [member.precision for member in members] == ["bf16", "bf16"]


def test_a_table_has_no_precision():
    examples = halves(20)
    table = TableTeacher(torch.randn(20, 2), examples)
    assert settle_precision(table, examples, "auto") == {"precision": "fp32"}
    with pytest.raises(DataError, match="no network"):
        settle_precision(table, examples, "bf16")
