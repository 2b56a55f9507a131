import pytest
import torch

from limbeck.errors import RecipeError
from limbeck.models import TextCnn, initialise, parameters


def texts(length):
    """Bytes [5, length] that end after 9 of them."""
    rows = torch.zeros(5, length)
    rows[:, :9] = torch.randint(1, 256, (5, 9), generator=torch.Generator().manual_seed(0)).float()
    return rows


def test_parameters_by_hand():
    network = TextCnn(width=8, channels=(16, 24), kernel=5).build((40,), 3)
    assert parameters(network) == 256 * 8 + 8 * 16 * 5 + 16 * 24 * 5 + 24 * 3 + 3


def test_layers_in_order():
    names = [name for name, _ in TextCnn(channels=(4,), dropout=0.5).build((9,), 2).named_children()]
    assert names == ["embedding", "conv1", "relu1", "pool1", "maximum", "flatten", "dropout", "head"]


@pytest.mark.parametrize("length", [10, 11, 17, 64])
def test_the_zeros_that_fill_a_text_up_are_nothing_to_it(length):
    network = initialise(TextCnn(), (9,), 4, seed=0).eval()
    torch.testing.assert_close(network(texts(length)), network(texts(9)))


def test_another_byte_and_another_order_are_other_texts():
    network, rows = initialise(TextCnn(), (9,), 4, seed=0).eval(), texts(9)
    other = rows.clone()
    other[:, 4] = (rows[:, 4] + 1).clamp(max=254) % 255 + 1
    assert ((network(rows) - network(other)).abs().amax(dim=1) > 1e-4).all()
    assert ((network(rows) - network(rows.flip(1))).abs().amax(dim=1) > 1e-4).all()


@pytest.mark.parametrize("length", [1, 2, 3])
def test_texts_of_any_length_also_empty_ones(length):
    network = TextCnn(kernel=7).build((length,), 3)
    assert network(torch.zeros(2, length, dtype=torch.uint8)).shape == (2, 3)


def test_the_filling_stays_zero_in_training():
    network = initialise(TextCnn(width=4, channels=(8,)), (12,), 3, seed=0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        network(texts(12)).square().sum().backward()
        optimizer.step()
    assert not network.embedding.weight[0].any()


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8)])
def test_what_is_no_text_is_refused_in_words(shape):
    with pytest.raises(RecipeError, match=r"textcnn got examples of shape .*\n.*UTF-8 bytes"):
        TextCnn().build(shape, 3)


@pytest.mark.parametrize(
    "fields", [{"width": 0}, {"channels": ()}, {"channels": (4, 0)}, {"kernel": 0}, {"dropout": 1.0}]
)
def test_fields_out_of_range_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        TextCnn(**fields)
