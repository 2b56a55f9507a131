"""Before any hour is spent: is this a teacher, and of these classes?"""

import time

import pytest
import torch
from asking import examples_of, net, preflight, teacher

from limbeck.data import UNLABELLED, Preprocess
from limbeck.errors import DataError
from limbeck.teachers import CallableTeacher, Logits, Probabilities, TableTeacher, ask_some

CLASSES = tuple("abcdefghij")


def scene(right=0.95, count=500, seed=0):
    """Examples, and logits that are right on that share of them."""
    examples = examples_of(count, seed, CLASSES)
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, 10, generator=generator)
    sure = torch.rand(count, generator=generator) < right
    logits[sure, examples.labels[sure]] += 10
    return examples, logits


def look(examples, logits, allow_weak=False):
    return preflight(TableTeacher(logits, examples), examples, allow_weak=allow_weak)


def test_a_good_teacher_passes_with_its_figures():
    examples, logits = scene()
    found = look(examples, logits)
    expected = float((logits.argmax(1) == examples.labels).double().mean())
    calibration = found.pop("calibration")
    assert 0 < calibration["nll_at_temperature"] <= calibration["nll"]
    low, high = found.pop("temperatures")
    assert 1 < low < high < 10
    assert 0 < found.pop("entropy") < 0.2
    assert found == {
        "asked": 500,
        "gives": "logits",
        "rule": None,
        "looks_like": None,
        "chance": 0.1,
        "train_accuracy": pytest.approx(expected),
        "exchanged": None,
        "never_said": (),
        "remarks": (),
    }


def test_at_most_a_thousand_examples_are_asked():
    examples, logits = scene(count=2500)
    asked = []
    who = CallableTeacher(lambda x: asked.append(len(x)) or logits[: len(x)], Preprocess())
    preflight(who, examples, allow_weak=True)
    assert sum(asked) == 1000


@pytest.mark.parametrize("classes", [1, 9, 11])
def test_another_number_of_classes_is_refused_with_both_numbers(classes):
    examples, logits = scene()
    with pytest.raises(DataError, match=f"gives {classes} classes, the data have 10"):
        look(examples, logits.repeat(1, 2)[:, :classes], allow_weak=True)


def test_a_constant_teacher_is_refused():
    examples, _ = scene()
    with pytest.raises(DataError, match="same answer"):
        look(examples, torch.arange(10.0).repeat(500, 1), allow_weak=True)


@pytest.mark.parametrize("seed", range(5))
def test_a_random_head_is_refused_unless_it_is_wanted(seed):
    examples = examples_of(600, 1, ("a", "b", "c"))
    who = teacher(net(seed))
    with pytest.raises(DataError, match=r"never trained.*--allow-weak-teacher"):
        preflight(who, examples, allow_weak=False)
    assert preflight(who, examples, allow_weak=True)["train_accuracy"] < 0.45


def test_a_teacher_that_always_names_the_commonest_class_is_refused():
    examples, logits = scene()
    skewed = examples.labels.clone()
    skewed[:400] = 3
    examples = type(examples)(examples.inputs, skewed, examples.keys, CLASSES)
    logits = torch.randn(500, 10)
    logits[:, 3] += 10
    with pytest.raises(DataError, match="share"):
        look(examples, logits)


def test_permuted_classes_are_named():
    examples, logits = scene()
    order = torch.tensor([1, 0, 2, 3, 4, 5, 6, 7, 9, 8])
    found = look(examples, logits[:, order])
    assert found["train_accuracy"] < 0.7, "a few swapped classes are no random head"
    assert set(found["exchanged"]["pairs"]) == {(0, 1), (1, 0), (8, 9), (9, 8)}
    assert found["exchanged"]["accuracy"] > 0.9
    assert "0 (a) -> 1 (b)" in found["remarks"][0]
    order = torch.arange(10).roll(1)
    with pytest.raises(DataError, match="permuted") as caught:
        look(examples, logits[:, order])
    assert "1 (b) -> 0 (a)" in str(caught.value)
    assert "0 (a) -> 9 (j)" in str(caught.value)


def test_softmaxed_logits_are_found_out():
    examples, logits = scene()
    who = CallableTeacher(lambda x: logits.softmax(1)[: len(x)], Preprocess())
    assert who.gives == Logits()
    assert preflight(who, examples.select(torch.arange(500)), allow_weak=True)["gives"] == "probabilities"
    assert who.gives == Probabilities()


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_few_labels_do_not_condemn_a_perfect_teacher(count):
    examples, logits = scene(right=1.0)
    labels = torch.full_like(examples.labels, UNLABELLED)
    labels[:count] = examples.labels[:count]
    found = look(type(examples)(examples.inputs, labels, examples.keys, CLASSES), logits)
    assert found["train_accuracy"] == 1.0


@pytest.mark.parametrize("label", [UNLABELLED, 4])
def test_no_label_or_one_class_alone_tells_nothing(label):
    examples, logits = scene()
    labels = torch.full_like(examples.labels, label)
    assert look(type(examples)(examples.inputs, labels, examples.keys, CLASSES), logits)["asked"] == 500


def test_an_answer_that_is_not_finite_is_refused():
    examples, logits = scene()
    logits[7, 2] = float("nan")
    with pytest.raises(DataError, match="NaN"):
        look(examples, logits, allow_weak=True)


def test_a_wrong_teacher_that_is_sure_is_not_called_untrained():
    examples, logits = scene(right=0.0)
    with pytest.raises(DataError, match="check its preprocessing") as caught:
        look(examples, 10 * logits)
    assert "never trained" not in str(caught.value)


def test_log_probabilities_are_logits_and_said_to_be_such():
    examples, logits = scene()
    found = look(examples, logits.log_softmax(1))
    assert (found["gives"], found["looks_like"]) == ("logits", "log-probabilities")
    assert found["temperatures"] == pytest.approx(look(examples, logits)["temperatures"], rel=1e-4)


def test_sigmoids_are_remarked_on():
    examples, logits = scene()
    found = look(examples, logits.sigmoid())
    assert found["looks_like"] == "sigmoids"
    assert "sigmoid" in found["remarks"][0]
    assert look(examples, logits)["looks_like"] is None


def test_a_class_that_is_never_named_is_found():
    examples, logits = scene()
    logits[:, 6] = -20.0
    found = look(examples, logits)
    assert found["never_said"] == (6,)
    assert found["remarks"] == ("the teacher never names g",)


def test_a_slow_teacher_is_asked_for_as_long_as_there_is_time():
    examples, logits = scene(count=600)
    asked = []

    def slow(inputs):
        asked.append(len(inputs))
        time.sleep(0.01 * len(inputs))
        return logits[: len(inputs)]

    found = ask_some(CallableTeacher(slow, Preprocess()), examples, seconds=0.4)
    assert 8 <= sum(asked) < 60
    assert len(found.logits_NC) == len(found.examples) == sum(asked)
    assert 0.01 <= found.seconds_each < 0.1
    assert len(found.examples.labels.unique()) > 3, "the first asked are of all kinds"


def test_one_question_at_least_is_asked_whatever_the_time():
    examples, logits = scene(count=600)
    assert len(ask_some(TableTeacher(logits, examples), examples, seconds=0.0).logits_NC) == 8


def test_the_answers_belong_to_the_examples_asked():
    examples, logits = scene(count=2000)
    found = ask_some(TableTeacher(logits, examples), examples, most=100, seconds=60.0)
    rows = {bytes(key.tolist()): row for key, row in zip(examples.keys, logits, strict=True)}
    expected = torch.stack([rows[bytes(key.tolist())] for key in found.examples.keys])
    assert len(found.examples) == 100
    assert torch.equal(found.logits_NC, expected)
