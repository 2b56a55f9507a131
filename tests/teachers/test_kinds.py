"""Kinds of teacher: pure, in evaluation mode, and answering by content."""

import numpy as np
import pytest
import torch
from asking import CPU, examples_of, net, teacher
from torch import nn

from limbeck.data import Preprocess, key_examples
from limbeck.errors import DataError
from limbeck.files import digest_tensors
from limbeck.teachers import (
    Audience,
    CallableTeacher,
    Logits,
    ModuleTeacher,
    Probabilities,
    TableTeacher,
    ask_all,
    teacher_of,
)
from limbeck.teachers.teacher import BATCH_SIZE, ask


def tensors_of(module):
    return digest_tensors({**dict(module.named_parameters()), **dict(module.named_buffers())})


def test_a_module_is_asked_in_evaluation_mode_and_left_as_it_was():
    module = net().train()
    module.norm.eval()
    module.first.weight.requires_grad_(False)
    before, modes = tensors_of(module), [part.training for part in module.modules()]
    examples = examples_of(50)
    answers = ask_all(teacher(module), examples)
    assert tensors_of(module) == before
    assert [part.training for part in module.modules()] == modes
    assert not answers.requires_grad
    assert not answers.is_inference()
    assert all(parameter.grad is None for parameter in module.parameters())
    expected = module.eval()(examples.inputs.float() / 255)
    torch.testing.assert_close(answers, expected.detach())


def test_an_answer_can_be_part_of_a_loss_that_is_differentiated():
    weight = torch.ones(3, requires_grad=True)
    (ask_all(teacher(), examples_of(4)) * weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize("kind", ["module", "function"])
def test_a_teacher_that_works_in_place_does_not_change_the_data(kind):
    class InPlace(nn.Module):
        def forward(self, inputs):
            return inputs.sub_(inputs.mean())[:, :3]

    generator = torch.Generator().manual_seed(0)
    examples = key_examples(torch.rand(20, 5, generator=generator), torch.arange(20) % 3, ("a", "b", "c"))
    before = examples.inputs.clone()
    module = InPlace()
    who = teacher_of(module if kind == "module" else module.forward, Audience(examples, Preprocess()))
    ask_all(who, examples)
    assert torch.equal(examples.inputs, before)


def test_a_users_module_keeps_the_layout_its_forward_relies_on():
    class Textbook(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 4, 3)
            self.out = nn.Linear(4 * 36, 3)

        def forward(self, inputs):
            return self.out(self.conv(inputs).view(-1, 4 * 36))

    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(20, 2, 8, 8, generator=generator).to(memory_format=torch.channels_last)
    examples = key_examples(pictures.contiguous(), torch.arange(20) % 3, ("a", "b", "c"))
    module = Textbook()
    assert ask_all(ModuleTeacher(module, Preprocess(), CPU), examples).shape == (20, 3)
    assert module.conv.weight.is_contiguous()


def test_modes_come_back_when_the_forward_fails():
    module = net().train()
    with pytest.raises(RuntimeError):
        teacher(module).answer(torch.zeros(2, 7), torch.zeros(2, 32, dtype=torch.uint8))
    assert all(part.training for part in module.modules())


@pytest.mark.parametrize("size", [1, 7, 32, 64])
def test_an_answer_does_not_depend_on_the_size_of_the_batch(size):
    examples, who = examples_of(64), teacher()
    parts = zip(examples.inputs.split(size), examples.keys.split(size), strict=True)
    torch.testing.assert_close(torch.cat([ask(who, *part).logits for part in parts]), ask_all(who, examples))


def test_images_of_many_channels_are_answered_alike_in_any_memory_order():
    with torch.random.fork_rng(devices=[]):
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)).eval()
        inputs = torch.randn(5, 3, 4, 4)
    expected = module(inputs).detach()
    answers = ModuleTeacher(module, Preprocess(), CPU).answer(inputs, torch.empty(5, 32)).logits
    torch.testing.assert_close(answers, expected)


def changes():
    def ulp(module):
        weight = module.head.weight.data
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))

    def running(module):
        module.norm.running_mean[0] += 1e-6

    def hidden(module):
        module.shift[0] = 1e-6

    def structure(module):
        module.drop = nn.Dropout(0.1)

    return [ulp, running, hidden, structure]


@pytest.mark.parametrize("change", changes(), ids=lambda change: change.__name__)
def test_the_identity_of_a_module_tells_the_smallest_change(change):
    module = net()
    before = teacher(module).identity()
    assert teacher(net()).identity() == before
    change(module)
    assert teacher(module).identity() != before


def test_the_identity_tells_preprocessing():
    identities = [
        teacher(preprocess=p).identity() for p in (Preprocess(scale=255), Preprocess(), Preprocess(mean=(0.1,)))
    ]
    assert len({str(identity) for identity in identities}) == 3


# --- functions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dress",
    [
        lambda x: x,
        lambda x: x.numpy(),
        lambda x: x.numpy().astype(np.float64),
        lambda x: np.broadcast_to(x.numpy(), x.shape),
        lambda x: x.half(),
        lambda x: x.tolist(),
        lambda x: x.clone().requires_grad_(),
    ],
)
def test_a_function_may_answer_in_any_kind_of_array(dress):
    examples = examples_of(6)
    who = CallableTeacher(lambda x: dress(x.flatten(1)[:, :3].round(decimals=1)), Preprocess(scale=16.0))
    answers = ask_all(who, examples)
    assert answers.dtype == torch.float32
    assert not answers.requires_grad
    torch.testing.assert_close(
        answers, (examples.inputs.flatten(1)[:, :3] / 16).round(decimals=1), atol=5e-3, rtol=1e-3
    )


@pytest.mark.parametrize(
    "answer", [None, "abc", {"logits": 1}, object(), np.array(["a"]), torch.zeros(3), torch.zeros(5, 3), torch.zeros(4)]
)
def test_what_is_no_table_of_logits_is_refused(answer):
    with pytest.raises(DataError):
        ask_all(CallableTeacher(lambda x: answer, Preprocess()), examples_of(4))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_answers_that_are_not_finite_are_refused_with_their_keys(bad):
    examples = examples_of(1000)
    rows = torch.randn(1000, 3)
    rows[[3, 700], 1] = bad
    with pytest.raises(DataError, match=f"1 of {BATCH_SIZE}") as caught:
        ask_all(TableTeacher(rows, examples), examples)
    assert bytes(examples.keys[3].tolist()).hex()[:12] in str(caught.value)


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_table_is_looked_up_by_content():
    examples = examples_of(30)
    rows = torch.arange(90.0).reshape(30, 3)
    who = TableTeacher(rows, examples)
    index = torch.randperm(30, generator=torch.Generator().manual_seed(1)).repeat(2)
    torch.testing.assert_close(ask_all(who, examples.select(index)), rows[index])
    assert who.knows(examples.select(index))
    assert not who.knows(examples_of(5, seed=9))
    with pytest.raises(DataError, match="no row for 5 of 5"):
        ask_all(who, examples_of(5, seed=9))


def test_the_first_of_duplicates_counts():
    examples = examples_of(4).select(torch.tensor([0, 1, 0, 2]))
    who = TableTeacher(torch.arange(12.0).reshape(4, 3), examples)
    assert ask_all(who, examples)[:, 0].tolist() == [0.0, 3.0, 0.0, 9.0]


def test_the_identity_of_a_table_is_its_content_by_key():
    examples, rows = examples_of(6), torch.randn(6, 3)
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    identity = TableTeacher(rows, examples).identity()
    assert TableTeacher(rows[order], examples.select(order)).identity() == identity
    assert TableTeacher(rows[order], examples).identity() != identity
    assert TableTeacher(rows, examples_of(6, seed=1)).identity() != identity
    assert TableTeacher(torch.nextafter(rows, rows + 1), examples).identity() != identity


def test_probabilities_are_told_from_logits():
    examples, logits = examples_of(9), torch.randn(9, 3) * 20
    for table in (logits.softmax(1), logits.softmax(1).half(), logits.softmax(1).double(), torch.eye(3).repeat(3, 1)):
        assert TableTeacher(table, examples).gives == Probabilities()
    for table in (logits, logits.softmax(1) * 2, logits.softmax(1) - 0.5, logits.log_softmax(1), torch.zeros(9, 3)):
        assert TableTeacher(table, examples).gives == Logits()


@pytest.mark.parametrize("shape", [(5, 3), (7, 3), (6,), (6, 1, 3)])
def test_a_table_of_another_length_is_refused(shape):
    with pytest.raises(DataError, match="row for each training example"):
        TableTeacher(torch.zeros(shape), examples_of(6))


def test_a_python_object_becomes_the_teacher_that_it_is():
    examples = examples_of(6)

    def kind(given):
        return type(teacher_of(given, Audience(examples, Preprocess())))

    assert kind(net()) is ModuleTeacher
    assert kind(torch.zeros(6, 3, requires_grad=True)) is TableTeacher
    assert kind(np.zeros((6, 3))) is TableTeacher
    assert kind(lambda x: x) is CallableTeacher
    for nonsense in (None, "resnet18", 3, np.array(["a"] * 6)):
        with pytest.raises(DataError):
            kind(nonsense)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_in_another_precision_gets_its_inputs_so(dtype):
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).to(dtype)
    answer = teacher(module).answer(examples_of(4).inputs, examples_of(4).keys)
    assert answer.logits.dtype == torch.float32
    wanted = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    wanted.load_state_dict({name: value.float() for name, value in module.state_dict().items()})
    expected = wanted(examples_of(4).inputs / 255).detach()
    torch.testing.assert_close(answer.logits, expected, rtol=0.02, atol=0.02)
