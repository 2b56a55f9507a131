"""An ONNX file is a teacher: it answers as the network did, always alike, for the data's shape and classes."""

import numpy as np
import pytest
import torch
from asking import examples_of, preflight
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from limbeck.data import Preprocess
from limbeck.errors import DataError, RecipeError
from limbeck.files import describe
from limbeck.recipe import recipe_from_tree
from limbeck.teachers import Audience, OnnxTeacher, Probabilities, ask_all
from limbeck.teachers.teacher import BATCH_SIZE

SCALED = Preprocess(scale=255.0)


def network(classes=3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, classes)).eval()


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def written(path, module=None, *, batch="N", shape=(1, 4, 4), last=(), outputs=(("y", ["N", 3]),), kind="FLOAT"):
    """The network as an ONNX file; `last` are further nodes after its logits `z`, or `y` where there are none."""
    module = module or network()
    kind = getattr(TensorProto, kind)
    held = {"cw": module[0].weight, "cb": module[0].bias, "w": module[3].weight, "b": module[3].bias}
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    tensors = [numpy_helper.from_array(each.detach().numpy().astype(dtype), name) for name, each in held.items()]
    nodes = [
        helper.make_node("Conv", ["x", "cw", "cb"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["z" if last else "y"], transB=1),
        *last,
    ]
    given = [each if not isinstance(each, tuple) else value(*each, kind) for each in outputs]
    graph = helper.make_graph(nodes, "graph", [value("x", [batch, *shape], kind)], given, tensors)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    return module


def opened(path, examples=None, taps=(), **settings):
    examples = examples or examples_of(20)
    return OnnxTeacher(path=str(path), **settings).open(Audience(examples, SCALED, taps=taps))


def expected(module, examples):
    return module(examples.inputs.float() / 255).detach()


def test_the_file_answers_as_the_network_did(tmp_path):
    module, examples = written(tmp_path / "m"), examples_of(300)
    who = opened(tmp_path / "m", examples)
    torch.testing.assert_close(ask_all(who, examples), expected(module, examples), rtol=1e-5, atol=1e-6)
    assert who.size == sum(parameter.numel() for parameter in module.parameters())
    assert who.knows(examples)
    assert who.within == ()


def test_another_precision_is_fed_and_read(tmp_path):
    module, examples = written(tmp_path / "m", kind="FLOAT16"), examples_of(20)
    answers = ask_all(opened(tmp_path / "m", examples), examples)
    assert answers.dtype == torch.float32
    torch.testing.assert_close(answers, expected(module, examples), rtol=0.01, atol=0.01)


def test_what_the_runtime_has_no_operator_for_is_said_in_words(tmp_path):
    written(tmp_path / "m", kind="DOUBLE")
    with pytest.raises(DataError, match=r"cannot be run by ONNX Runtime .*Conv"):
        opened(tmp_path / "m")


@pytest.mark.parametrize("batch", [1, 16, BATCH_SIZE])
def test_a_fixed_batch_is_filled_up(tmp_path, batch):
    module, examples = written(tmp_path / "m", batch=batch, outputs=[("y", [batch, 3])]), examples_of(150)
    answers = ask_all(opened(tmp_path / "m", examples), examples)
    torch.testing.assert_close(answers, expected(module, examples), rtol=1e-5, atol=1e-6)


def test_asking_changes_nothing_is_repeatable_and_fills_a_store(tmp_path, open_store):
    written(tmp_path / "m")
    before, examples = describe(tmp_path / "m"), examples_of(40)
    kept, who = examples.inputs.clone(), opened(tmp_path / "m", examples)
    first = ask_all(who, examples)
    assert torch.equal(ask_all(who, examples), first)
    assert torch.equal(ask_all(opened(tmp_path / "m"), examples), first)
    assert not first.requires_grad
    assert torch.equal(examples.inputs, kept)
    assert describe(tmp_path / "m") == before
    assert open_store(who, examples).manifest["examples"] == 40


def test_the_identity_tells_a_byte_the_output_preprocessing_and_the_classes(tmp_path):
    soft = helper.make_node("Softmax", ["z"], ["p"]), helper.make_node("Identity", ["z"], ["y"])
    both = {"last": soft, "outputs": (("y", ["N", 3]), ("p", ["N", 3]))}
    written(tmp_path / "a", **both)
    written(tmp_path / "b", **both)
    changed = network()
    changed[3].bias.data[0] = torch.nextafter(changed[3].bias.data[0], torch.tensor(9.0))
    written(tmp_path / "c", changed, **both)
    same = opened(tmp_path / "a", output="y").identity()
    assert opened(tmp_path / "b", output="y").identity() == same
    others = [
        opened(tmp_path / "c", output="y").identity(),
        opened(tmp_path / "a", output="p").identity(),
        opened(tmp_path / "a", output="y", preprocess=Preprocess(scale=254.0)).identity(),
        opened(tmp_path / "a", output="y", classes=("b", "c", "a")).identity(),
        opened(tmp_path / "a", output="y", classes=("b", "a", "c")).identity(),
    ]
    assert len({str(one) for one in (same, *others)}) == 6


def test_classes_are_picked_by_name_and_a_missing_one_is_named(tmp_path):
    module, examples = written(tmp_path / "m", network(4), outputs=[("y", ["N", 4])]), examples_of(10)
    answers = ask_all(opened(tmp_path / "m", examples, classes=("c", "d", "a", "b")), examples)
    torch.testing.assert_close(answers, expected(module, examples)[:, [2, 3, 0]], rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError, match="lacks b"):
        opened(tmp_path / "m", classes=("a", "x", "c", "d"))


@pytest.mark.parametrize(("gives", "found"), [(None, Probabilities()), ("probabilities", Probabilities())])
def test_probabilities_become_logits_by_the_declared_rule(tmp_path, gives, found):
    last = [helper.make_node("Softmax", ["z"], ["y"])]
    module, examples = written(tmp_path / "m", last=last), examples_of(40)
    who = opened(tmp_path / "m", examples, gives=gives)
    preflight(who, examples, allow_weak=True)
    assert who.gives == found
    torch.testing.assert_close(ask_all(who, examples), expected(module, examples).log_softmax(1), rtol=1e-4, atol=1e-5)


def test_logits_that_are_declared_probabilities_are_refused(tmp_path):
    written(tmp_path / "m")
    with pytest.raises(DataError, match="is to give probabilities"):
        ask_all(opened(tmp_path / "m", gives="probabilities"), examples_of(20))


# --- a converted classifier of scikit-learn ---------------------------------------------------------------------------


def classifier(path, names, *, dictionaries):
    """A label, and probabilities as numbers or as dictionaries by name."""
    numbers = isinstance(names[0], int)
    labels = {"classlabels_int64s" if numbers else "classlabels_strings": names}
    last = [helper.make_node("Softmax", ["z"], ["p"]), helper.make_node("ArgMax", ["z"], ["label"], axis=1, keepdims=0)]
    label = helper.make_tensor_value_info("label", TensorProto.INT64, ["N"])
    if not dictionaries:
        return written(path, last=last, outputs=[label, ("p", ["N", 3])])
    last.append(helper.make_node("ZipMap", ["p"], ["probabilities"], domain="ai.onnx.ml", **labels))
    row = helper.make_map_type_proto(
        TensorProto.INT64 if numbers else TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    rows = helper.make_value_info("probabilities", helper.make_sequence_type_proto(row))
    return written(path, last=last, outputs=[label, rows])


@pytest.mark.parametrize(
    ("names", "dictionaries", "columns"),
    [((0, 1, 2), False, [0, 1, 2]), ((0, 1, 2), True, [0, 1, 2]), (("c", "a", "b"), True, [1, 2, 0])],
)
def test_a_converted_classifier_gives_its_probabilities(tmp_path, names, dictionaries, columns):
    module, examples = classifier(tmp_path / "m", names, dictionaries=dictionaries), examples_of(40)
    who = opened(tmp_path / "m", examples, gives="probabilities")
    logits = expected(module, examples).softmax(1)[:, columns].log()
    torch.testing.assert_close(ask_all(who, examples), logits, rtol=1e-4, atol=1e-5)


def test_names_of_a_converted_classifier_that_are_not_the_datas_are_refused(tmp_path):
    classifier(tmp_path / "m", ("x", "y", "z"), dictionaries=True)
    with pytest.raises(DataError, match="knows the classes x, y, z, and lacks a, b, c"):
        opened(tmp_path / "m")
    opened(tmp_path / "m", classes=("b", "a", "c"))


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "words"),
    [((1, 5, 4), "shape .1, 5, 4."), ((4, 4, 1), "height, width, channels"), ((16,), "Flatten in front")],
)
def test_another_shape_is_refused_in_words(tmp_path, shape, words):
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["y"])], "g", [value("x", ["N", *shape])], [value("y", ["N", "C"])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (tmp_path / "m").write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match=words) as caught:
        opened(tmp_path / "m")
    assert "[1, 4, 4], as the data are after preprocessing" in str(caught.value)


def test_an_output_is_named_where_there_are_several(tmp_path):
    last = [helper.make_node("Softmax", ["z"], ["p"]), helper.make_node("Identity", ["z"], ["y"])]
    module = written(tmp_path / "m", last=last, outputs=(("y", ["N", 3]), ("p", ["N", 3])))
    for output in (None, "logits"):
        with pytest.raises(DataError, match=r"gives y .*, p "):
            opened(tmp_path / "m", output=output)
    examples = examples_of(10)
    answers = ask_all(opened(tmp_path / "m", examples, output="y"), examples)
    torch.testing.assert_close(answers, expected(module, examples), rtol=1e-5, atol=1e-6)


def test_further_or_whole_inputs_are_refused(tmp_path):
    nodes = [helper.make_node("Add", ["x", "m"], ["s"]), helper.make_node("Flatten", ["s"], ["y"])]
    for inputs in (["x", "m"], ["x"]):
        kind = TensorProto.FLOAT if len(inputs) == 2 else TensorProto.INT64
        extra = [] if len(inputs) == 2 else [numpy_helper.from_array(np.ones(1, np.int64), "m")]
        given = [value(name, ["N", 1, 4, 4], kind) for name in inputs]
        graph = helper.make_graph(nodes, "g", given, [value("y", ["N", 16], kind)], extra)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        (tmp_path / "m").write_bytes(model.SerializeToString())
        with pytest.raises(DataError, match="takes x"):
            opened(tmp_path / "m")


def test_what_the_runtime_fails_on_is_an_error_in_words(tmp_path):
    last = [helper.make_node("Reshape", ["z", "s"], ["y"])]
    last.insert(0, helper.make_node("Constant", [], ["s"], value_ints=[7, 3]))
    written(tmp_path / "m", last=last)
    with pytest.raises(DataError, match=r"failed on a batch of shape \[20, 1, 4, 4\]"):
        ask_all(opened(tmp_path / "m"), examples_of(20))


def test_a_batch_norm_in_training_mode_is_refused(tmp_path):
    norm = helper.make_node("BatchNormalization", ["z", "b", "b", "b", "b"], ["y", "m", "v"], training_mode=1)
    written(tmp_path / "m", last=[norm])
    with pytest.raises(DataError, match="BatchNormalization as in training"):
        opened(tmp_path / "m")


def test_a_file_has_no_parts_to_tap(tmp_path):
    written(tmp_path / "m")
    with pytest.raises(RecipeError, match="the taps conv1 were asked of the ONNX file"):
        opened(tmp_path / "m", taps=("conv1",))


def test_a_recipe_names_such_a_teacher():
    tree = {
        "data": {"source": "digits"},
        "teacher": {"kind": "onnx", "path": "m.onnx", "output": "y", "gives": "probabilities"},
        "student": {"model": {"name": "mlp"}},
    }
    spec = recipe_from_tree(tree, {}, where="here").teacher
    assert spec == OnnxTeacher(path="m.onnx", output="y", gives="probabilities")
