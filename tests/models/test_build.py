import pytest
import torch
from torch import nn

from limbeck.errors import RecipeError
from limbeck.models import ConvNet, Mlp, ResNet, check_output, initialise


@pytest.mark.parametrize("spec", [Mlp(hidden=(4,)), ConvNet(), ResNet(name="resnet8x4")])
def test_the_seed_alone_decides_the_weights(spec):
    first = initialise(spec, (1, 8, 8), 3, seed=0).state_dict()
    torch.rand(5)
    again = initialise(spec, (1, 8, 8), 3, seed=0).state_dict()
    other = initialise(spec, (1, 8, 8), 3, seed=1).state_dict()

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_callers_randomness_is_untouched():
    before = torch.get_rng_state()
    initialise(Mlp(), (4,), 2, seed=3)

    assert torch.equal(torch.get_rng_state(), before)


def test_a_factory_is_called_under_the_seed():
    made = initialise(lambda: nn.Linear(4, 2), (4,), 2, seed=0)
    again = initialise(lambda: nn.Linear(4, 2), (4,), 2, seed=0)

    assert torch.equal(made.weight, again.weight)


def test_a_factory_that_makes_something_else_is_refused():
    with pytest.raises(RecipeError, match="factory gave a str"):
        initialise(lambda: "convnet", (4,), 2, seed=0)


def test_a_fitting_model_passes_and_keeps_the_mode_of_each_part():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.9))
    model[1].eval()

    check_output(model, torch.randn(8, 4), classes=4)

    assert [part.training for part in model.modules()] == [True, True, False, True]


def test_the_model_is_asked_in_eval_mode_without_gradients_about_two_examples():
    asked = []

    class Spy(nn.Module):
        def forward(self, x):
            asked.append((len(x), self.training, torch.is_grad_enabled()))
            return x

    check_output(Spy(), torch.randn(8, 4), classes=4)

    assert asked == [(2, False, False)]


def test_wrong_number_of_classes_names_both():
    with pytest.raises(RecipeError, match=r"shape \(2, 10\)\n.*100 classes\n.*layer of 100 outputs"):
        check_output(nn.Linear(4, 10), torch.randn(2, 4), classes=100)


def test_classes_instead_of_logits_are_refused():
    with pytest.raises(RecipeError, match=r"torch.int64 numbers of shape \(2, 4\)"):
        check_output(_Returning(lambda x: x.long()), torch.randn(2, 4), classes=4)


def test_other_than_one_tensor_is_refused():
    with pytest.raises(RecipeError, match=r"shape \(2, 4\) with a tuple"):
        check_output(_Returning(lambda x: (x, x)), torch.randn(2, 4), classes=4)


def test_a_model_for_another_shape_is_refused_with_its_own_words():
    model = nn.Linear(5, 2)

    with pytest.raises(RecipeError, match=r"failed on a batch of shape \(2, 4\): mat1 and mat2"):
        check_output(model, torch.randn(2, 4), classes=2)
    assert model.training


class _Returning(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)
