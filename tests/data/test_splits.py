import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data import UNLABELLED, choose, hold_out, key_examples, labelled_subset, overlap
from limbeck.errors import RecipeError

CLASSES = ("a", "b", "c")

# Rows as (content, label): few contents, so that there are many duplicates, some with unlike labels.
rows = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), min_size=3, max_size=60)


def keyed(pairs):
    inputs = torch.tensor([[float(content)] for content, _ in pairs])
    return key_examples(inputs, torch.tensor([label for _, label in pairs]), CLASSES)


def contents(examples, index):
    return sorted((examples.inputs[row].item(), examples.labels[row].item()) for row in index.tolist())


@settings(max_examples=60, deadline=None)
@given(rows, st.data())
def test_the_order_of_rows_does_not_matter(pairs, data):
    count = data.draw(st.integers(1, len(pairs)))
    shuffled = data.draw(st.permutations(pairs))
    first, second = keyed(pairs), keyed(shuffled)
    assert contents(first, choose(first, count, "s")) == contents(second, choose(second, count, "s"))


@settings(max_examples=60, deadline=None)
@given(rows, st.data())
def test_duplicates_are_chosen_together_and_never_too_many(pairs, data):
    count = data.draw(st.integers(1, len(pairs)))
    examples = keyed(pairs)
    chosen = choose(examples, count, "s")
    assert len(chosen) <= count
    assert torch.equal(chosen, chosen.sort().values)
    left = torch.ones(len(examples), dtype=torch.bool)
    left[chosen] = False
    assert len(overlap(examples.select(chosen), examples.select(left))) == 0


@settings(max_examples=60, deadline=None)
@given(rows, st.data())
def test_the_two_sides_share_no_key_and_lose_no_row(pairs, data):
    examples = keyed(pairs)
    classes = len(examples.labels.unique())
    count = data.draw(st.integers(classes, len(pairs)))
    try:
        rest, held = hold_out(examples, count, "validation")
    except RecipeError:
        return
    assert torch.equal(torch.cat([rest, held]).sort().values, torch.arange(len(examples)))
    assert len(held) <= count
    assert len(rest) > 0
    assert len(overlap(examples.select(rest), examples.select(held))) == 0


def test_without_duplicates_the_count_is_exact_and_every_class_has_its_share(make_examples):
    labels = [0] * 60 + [1] * 30 + [2] * 10
    examples = make_examples(100, labels=labels)
    chosen = choose(examples, 20, "s")
    assert torch.bincount(examples.labels[chosen]).tolist() == [12, 6, 2]


def test_the_largest_remainder_is_rounded_up(make_examples):
    # Shares of 10: 4.7, 2.9, 2.4.
    examples = make_examples(100, labels=[0] * 47 + [1] * 29 + [2] * 24)
    assert torch.bincount(examples.labels[choose(examples, 10, "s")]).tolist() == [5, 3, 2]


def test_a_rare_class_is_chosen_when_the_count_allows(make_examples):
    examples = make_examples(100, labels=[0] * 98 + [1, 2])
    assert torch.bincount(examples.labels[choose(examples, 3, "s")]).tolist() == [1, 1, 1]
    assert len(choose(examples, 2, "s")) == 2


def test_the_last_example_of_a_class_is_not_held_out(make_examples):
    examples = make_examples(100, labels=[0] * 70 + [1] * 29 + [2])
    rest, held = hold_out(examples, 10, "validation")
    assert len(held) == 10
    assert 2 in examples.labels[rest]


def test_another_salt_is_another_choice(make_examples):
    examples = make_examples(300)
    assert choose(examples, 30, "one").tolist() != choose(examples, 30, "two").tolist()


def test_new_rows_leave_most_choices_alone(make_examples):
    few, more = make_examples(300), make_examples(330)
    before = set(choose(few, 60, "s").tolist())
    after = set(choose(more, 66, "s").tolist())
    assert len(before & after) > 45


def test_unlabelled_examples_are_a_class_of_their_own(make_examples):
    examples = make_examples(40, labels=[0, 1, 2, UNLABELLED] * 10)
    chosen = examples.labels[choose(examples, 8, "s")]
    assert sorted(chosen.tolist()) == [UNLABELLED] * 2 + [0, 0, 1, 1, 2, 2]


def test_a_labelled_subset_takes_only_what_has_a_label(make_examples):
    examples = make_examples(40, labels=[0, 1, 2, UNLABELLED] * 10)
    subset = labelled_subset(examples, 6, "labels")
    assert sorted(examples.labels[subset].tolist()) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda e: choose(e, 0, "s"), ["0 examples", "of 30 in 3 classes", "1 to 30"]),
        (lambda e: choose(e, 31, "s"), ["31 examples", "1 to 30"]),
        (lambda e: hold_out(e, 2, "s"), ["2 examples are to be held out", "at least 3"]),
        (lambda e: hold_out(e, 28, "s"), ["28 examples", "1 to 27, which leaves 1 of each class"]),
        (lambda e: labelled_subset(e, 2, "s"), ["2 examples are to be labelled", "at least 3"]),
        (lambda e: labelled_subset(e, 31, "s"), ["31 examples", "1 to 30"]),
    ],
)
def test_counts_that_cannot_be_had_are_refused_with_the_numbers(make_examples, ask, words):
    with pytest.raises(RecipeError) as caught:
        ask(make_examples(30))
    for word in words:
        assert word in str(caught.value)
