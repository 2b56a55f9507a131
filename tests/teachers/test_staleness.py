"""Never stale: what changed since a label store was made is asked about anew, or refused; no old answer is passed off.

Each case is a story in two steps: what is labelled first, and what afterwards, under one directory of stores.
"""

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
import torch
from asking import CPU, Net, examples_of, net, teacher
from onnx import numpy_helper
from safetensors.torch import load_file, save_file
from sklearn.ensemble import RandomForestClassifier
from torch import nn

import hostile
import limbeck.teachers.labelling as labelling
from limbeck.data import Augment, Examples, ImagePreprocess, Preprocess, Views, key_examples
from limbeck.errors import DataError
from limbeck.files import MANIFEST, digest_tensors, read_manifest, sealed, write_json
from limbeck.models import ConvNet, Mlp, initialise
from limbeck.teachers import (
    AnswersTeacher,
    Audience,
    CallableTeacher,
    Encoding,
    EnsembleTeacher,
    Labels,
    Logits,
    ModuleTeacher,
    OnnxTeacher,
    Picked,
    Probabilities,
    ProgramTeacher,
    SavedModel,
    SavedTeacher,
    SklearnTeacher,
    TableTeacher,
    Teacher,
    Votes,
    WeightsTeacher,
    save_model,
    teacher_of,
)
from limbeck.teachers.precision import networks_of
from limbeck.teachers.signals import encoded
from limbeck.teachers.teacher import ask

PROBES = labelling.PROBES
SCALED = Preprocess(scale=255.0)
EXAMPLES = examples_of(100)
MODEL = Mlp(hidden=(8,))

REKEYED, ANEW, HELD = "another store", "only new examples", "nothing"
REFUSED = "otherwise than when"


@dataclass(frozen=True)
class Scene:
    """Who is asked about what, and how."""

    who: Teacher
    examples: Examples = EXAMPLES
    views: Views | None = None
    encoding: Encoding = field(default_factory=Encoding)


Story = Iterator[Scene]
STORIES: dict[str, tuple[str, Any]] = {}
"""Name -> what is asked about at the second step, or the words of the refusal; and the story of a folder for files."""


def story(outcome: str) -> Any:
    def add(tell: Any) -> Any:
        name = tell.__name__.replace("_", " ").strip()
        assert name not in STORIES
        STORIES[name] = outcome, tell
        return tell

    return add


def stories(outcome: str, changes: dict[str, Any], tell: Any) -> None:
    """Several that differ in one thing: `tell(change)` begins the story, which is handed no folder."""
    for name, change in changes.items():
        assert name not in STORIES
        STORIES[name] = outcome, lambda _, change=change: tell(change)


# --- a network -------------------------------------------------------------------------------------------------------


def up(values: torch.Tensor) -> None:
    """One ulp more in the first of them."""
    first = values.detach().reshape(-1)[:1]
    first.copy_(torch.nextafter(first, torch.tensor(9.0)))


def mutated(change: Any) -> Story:
    """The very object that was labelled, changed under its teacher's feet."""
    module = net()
    who = teacher(module)
    yield Scene(who)
    change(module)
    yield Scene(who)


class Other(Net):
    """Another name for the same."""


def hooked(module: nn.Module) -> None:
    module.register_forward_hook(lambda *seen: seen[2] + 0.05)


def pre_hooked(module: nn.Module) -> None:
    module.head.register_forward_pre_hook(lambda _, given: (given[0] * 1.1,))


def turned(module: nn.Module) -> None:
    real = module.forward
    module.forward = lambda inputs: real(inputs).roll(1, dims=1)


stories(
    REKEYED,
    {
        "one ulp of a weight": lambda m: up(m.head.weight),
        "the sign of a zero": lambda m: m.shift.neg_(),
        "a running variance": lambda m: m.norm.running_var[2].mul_(1.0001),
        "a count that no answer shows": lambda m: m.norm.num_batches_tracked.add_(1),
        "a buffer that no state dict holds": lambda m: m.shift[0].add_(1e-5),
        "the p of dropout": lambda m: setattr(m.drop, "p", 0.1),
        "the eps of a norm": lambda m: setattr(m.norm, "eps", 1.1e-5),
        "a new layer": lambda m: m.add_module("extra", nn.Identity()),
        "a layer of another width": lambda m: (
            setattr(m, "head", nn.Sequential(nn.Linear(8, 5), nn.Linear(5, 3))),
            torch.nn.init.constant_(m.head[0].weight, 0.1),
        ),
        "an activation for another": lambda m: setattr(m, "drop", nn.ReLU()),
        "weights through half and back": lambda m: setattr(m.head.weight, "data", m.head.weight.data.half().float()),
        "weights of two units exchanged": lambda m: setattr(m.head.weight, "data", m.head.weight.data.flip(1)),
        "weights in double precision": lambda m: m.double(),
        "another class of module": lambda m: setattr(m, "__class__", Other),
    },
    mutated,
)
stories(
    REFUSED,
    {
        "an attribute of Python": lambda m: setattr(m, "factor", 1.01),
        "a tensor that is no buffer": lambda m: setattr(m, "factor", torch.tensor([1.0, 1.0, 1.02])),
        "an edited forward": turned,
        "a forward hook": hooked,
        "a hook before a part": pre_hooked,
        "the forward of a part": lambda m: setattr(m.first, "forward", lambda x: x[:, :8]),
        "outputs exchanged": lambda m: m.head.register_forward_hook(lambda *seen: seen[2][:, [1, 0, 2]]),
        "a constant": lambda m: setattr(m, "forward", lambda x: torch.zeros(len(x), 3)),
    },
    mutated,
)
stories(
    HELD,
    {
        "training mode": lambda m: m.train(),
        "weights that need no gradient": lambda m: m.requires_grad_(False),
        "a gradient that lies about": lambda m: setattr(m.head.weight, "grad", torch.ones(3, 8)),
    },
    mutated,
)


def convolutions() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
        return nn.Sequential(*layers).eval()


def quick(change: Any) -> Story:
    """A network that is asked through a quicker copy, which must follow it."""
    module = convolutions()
    who = teacher(module)
    yield Scene(who)
    change(module)
    yield Scene(who)


stories(REKEYED, {"a weight behind a quicker copy": lambda m: m[0].weight.data.mul_(1.5)}, quick)
stories(REKEYED, {"a running mean behind a quicker copy": lambda m: m[1].running_mean.add_(0.5)}, quick)
stories(REFUSED, {"a hook behind a quicker copy": lambda m: m[4].register_forward_hook(lambda *x: x[2] + 0.1)}, quick)


# --- how it is asked -------------------------------------------------------------------------------------------------


def otherwise(change: dict[str, Any]) -> Story:
    yield Scene(teacher())
    yield Scene(teacher(preprocess=Preprocess(**{"scale": 255.0, **change})))


stories(REKEYED, {"scale": {"scale": 254.0}, "mean": {"mean": (0.1,)}, "std": {"std": (1.0001,)}}, otherwise)


def pooled(change: dict[str, Any]) -> Story:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, 3)
    first: dict[str, Any] = {"scale": 255.0, "channels": 1, "resize": 8, "crop": (6, 6)}
    for settings in (first, {**first, **change}):
        yield Scene(teacher(nn.Sequential(*layers), ImagePreprocess(**settings)))


changes = {"size": {"resize": 7}, "crop": {"crop": (5, 5)}, "interpolation": {"interpolation": "bicubic"}}
stories(REKEYED, changes, pooled)


@story(REKEYED)
def taps(_: Path) -> Story:
    yield Scene(teacher())
    yield Scene(teacher(taps=("first",)))


@story(REKEYED)
def another_tap(_: Path) -> Story:
    yield Scene(teacher(taps=("first",)))
    yield Scene(teacher(taps=("norm",)))


@story(REFUSED)
def what_a_tap_shows_alone(_: Path) -> Story:
    module = net()
    who = teacher(module, taps=("first",))
    yield Scene(who)
    module.first.register_forward_hook(lambda *seen: seen[2] + 1)
    module.norm.register_forward_pre_hook(lambda _, given: (given[0] - 1,))
    yield Scene(who)


@story(REKEYED)
def precision(_: Path) -> Story:
    who = teacher()
    yield Scene(who)
    who.precision = "bf16"
    yield Scene(who)


def kept(change: tuple[Encoding, Encoding]) -> Story:
    for encoding in change:
        yield Scene(teacher(), encoding=encoding)


TOP = Encoding(Labels(encoding="top-k", k=2), (1.0, 4.0))
encodings = {
    "fp32 for auto": (Encoding(), Encoding(Labels(encoding="fp32"))),
    "fp16 for fp32": (Encoding(Labels(encoding="fp32")), Encoding(Labels(encoding="fp16"))),
    "top-k for auto": (Encoding(), TOP),
    "k": (TOP, Encoding(Labels(encoding="top-k", k=1), (1.0, 4.0))),
    "the temperatures of a tail": (TOP, Encoding(TOP.labels, (1.0, 2.0))),
}
stories(REKEYED, encodings, kept)
stories(HELD, {"temperatures without a tail": (Encoding(), Encoding(Labels(), (1.0, 9.0)))}, kept)


def behind_top(change: Any) -> Story:
    for scene in mutated(change):
        yield replace(scene, encoding=TOP)


stories(REFUSED, {"a factor behind top-k": lambda m: setattr(m, "factor", 1.05)}, behind_top)
stories(REFUSED, {"another order behind top-k": turned}, behind_top)


def seen(options: dict[str, Any]) -> Views:
    given: dict[str, Any] = {"examples": EXAMPLES, "augment": Augment(shift=1), "seed": 5, "cycle": 3, **options}
    return Views(given.pop("examples"), given.pop("augment"), **given)


def viewed(change: dict[str, Any]) -> Story:
    yield Scene(teacher(), views=seen({}))
    yield Scene(teacher(), views=seen(change))


views = {
    "the number of views": {"cycle": 4},
    "the seed of the views": {"seed": 6},
    "a wider shift": {"augment": Augment(shift=2)},
    "a flip more": {"augment": Augment(shift=1, flip=True)},
    "a crop": {"augment": Augment(crop=0.5)},
    "mixup": {"augment": Augment(shift=1, mixup=0.2)},
}
stories(REKEYED, views, viewed)


@story(REKEYED)
def views_for_plain_examples(_: Path) -> Story:
    yield Scene(teacher())
    yield Scene(teacher(), views=seen({}))


@story(REKEYED)
def an_example_more_among_the_partners(_: Path) -> Story:
    more = joined(EXAMPLES, examples_of(3, seed=9))
    for examples in (EXAMPLES, more):
        yield Scene(teacher(), examples, seen({"examples": examples, "augment": Augment(mixup=0.2)}))


@story(REFUSED)
def an_attribute_behind_views(_: Path) -> Story:
    for scene in mutated(lambda module: setattr(module, "factor", 1.05)):
        yield replace(scene, views=seen({}))


# --- the examples ----------------------------------------------------------------------------------------------------


def joined(*sets: Examples) -> Examples:
    parts = torch.cat([each.inputs for each in sets]), torch.cat([each.labels for each in sets])
    return key_examples(*parts, sets[0].classes)


def rekeyed(examples: Examples, **change: Any) -> Examples:
    given = {"inputs": examples.inputs, "labels": examples.labels, "classes": examples.classes, **change}
    return key_examples(**given)


def flipped(row: int) -> Examples:
    inputs = EXAMPLES.inputs.clone()
    inputs[row, 0, 1, 1] ^= 1
    return rekeyed(EXAMPLES, inputs=inputs)


def shown(examples: Examples) -> Story:
    who = teacher()
    yield Scene(who)
    yield Scene(who, examples)


data = {
    "the type of the inputs": rekeyed(EXAMPLES, inputs=EXAMPLES.inputs.float()),
    "the shape of the inputs": rekeyed(EXAMPLES, inputs=EXAMPLES.inputs.reshape(-1, 1, 2, 8)),
    "the name of a class": rekeyed(EXAMPLES, classes=("a", "b", "d")),
    "the order of the classes": rekeyed(EXAMPLES, classes=("b", "a", "c")),
    "a class more": rekeyed(EXAMPLES, classes=("a", "b", "c", "d")),
}
stories(REKEYED, data, shown)
additions = {
    "one byte of one example": flipped(7),
    "one byte of the last example": flipped(99),
    "three examples more": joined(EXAMPLES, examples_of(3, seed=9)),
    "other examples altogether": examples_of(100, seed=9),
}
stories(ANEW, additions, shown)
selections = {
    "the order of the rows": EXAMPLES.select(torch.randperm(100, generator=torch.Generator().manual_seed(3))),
    "an example less": EXAMPLES.select(torch.arange(100) != 41),
    "the first half": EXAMPLES.select(torch.arange(50)),
    "rows twice": EXAMPLES.select(torch.arange(130) % 100),
    "other labels": rekeyed(EXAMPLES, labels=EXAMPLES.labels.flip(0)),
}
stories(HELD, selections, shown)


# --- other kinds of teacher ------------------------------------------------------------------------------------------


def rows(seed: int = 0) -> torch.Tensor:
    return torch.randn(100, 3, generator=torch.Generator().manual_seed(seed))


def tabled(change: Any) -> Story:
    yield Scene(TableTeacher(rows(), EXAMPLES))
    values = rows()
    change(values)
    yield Scene(TableTeacher(values, EXAMPLES))


changes = {"one value of a table": lambda x: x[41, 1].add_(1e-3), "rows of a table": lambda x: x.copy_(x.roll(1, 0))}
stories(REKEYED, changes, tabled)


@story(HELD)
def the_order_of_a_table_with_its_examples(_: Path) -> Story:
    order = torch.randperm(100, generator=torch.Generator().manual_seed(3))
    yield Scene(TableTeacher(rows(), EXAMPLES))
    yield Scene(TableTeacher(rows()[order], EXAMPLES.select(order)), EXAMPLES.select(order))


@story("has no row for")
def an_example_that_a_table_does_not_know(_: Path) -> Story:
    who = TableTeacher(rows(), EXAMPLES)
    yield Scene(who)
    yield Scene(who, flipped(7))


def ruled(change: Any) -> Story:
    who = TableTeacher(torch.eye(3).repeat(34, 1)[:100], EXAMPLES)
    assert who.gives == Probabilities()
    yield Scene(who)
    who.gives = change
    yield Scene(who)


rules = {"the floor": Probabilities(1e-3), "votes": Votes(100), "votes counted": Votes(), "logits": Logits()}
stories(REKEYED, rules, ruled)


@story(REKEYED)
def the_number_of_votes(_: Path) -> Story:
    who = TableTeacher(torch.eye(3).repeat(34, 1)[:100], EXAMPLES)
    for count in (100, 10):
        who.gives = Votes(count)
        yield Scene(who)


def function(answer: Any) -> CallableTeacher:
    return CallableTeacher(answer, SCALED)


@story(REFUSED)
def what_a_function_closes_over(_: Path) -> Story:
    factor = [1.0]
    who = function(lambda inputs: inputs.flatten(1)[:, :3] * factor[0])
    yield Scene(who)
    factor[0] = 1.1
    yield Scene(who)


@story(REFUSED)
def weights_that_a_function_hides(_: Path) -> Story:
    hidden = nn.Linear(16, 3)
    torch.nn.init.constant_(hidden.weight, 0.1)
    torch.nn.init.zeros_(hidden.bias)
    who = function(lambda inputs: hidden(inputs.flatten(1)))
    yield Scene(who)
    hidden.bias.data += 0.1
    yield Scene(who)


@story(REKEYED)
def another_function(_: Path) -> Story:
    def first(inputs: torch.Tensor) -> torch.Tensor:
        return inputs.flatten(1)[:, :3]

    def second(inputs: torch.Tensor) -> torch.Tensor:
        return inputs.flatten(1)[:, 3:6]

    yield Scene(function(first))
    yield Scene(function(second))


@story(REKEYED)
def a_function_for_its_network(_: Path) -> Story:
    yield Scene(teacher(net()))
    yield Scene(function(net().eval()))


def together(change: Any) -> Story:
    yield Scene(EnsembleTeacher([teacher(net(0)), teacher(net(1))], [1.0, 2.0], "probabilities"))
    yield Scene(change([teacher(net(0)), teacher(net(1))]))


def with_weights_of_the_second_raised(members: list[ModuleTeacher]) -> EnsembleTeacher:
    up(members[1].module.head.weight)
    return EnsembleTeacher(members, [1.0, 2.0], "probabilities")


def with_other_code_in_the_second(members: list[ModuleTeacher]) -> EnsembleTeacher:
    members[1].module.factor = 1.2
    return EnsembleTeacher(members, [1.0, 2.0], "probabilities")


ensembles = {
    "the weights of an ensemble": lambda m: EnsembleTeacher(m, [1.0, 2.5], "probabilities"),
    "the mean of an ensemble": lambda m: EnsembleTeacher(m, [1.0, 2.0], "logits"),
    "the order of members": lambda m: EnsembleTeacher(m[::-1], [1.0, 2.0], "probabilities"),
    "a member less": lambda m: EnsembleTeacher(m[:1], None, "probabilities"),
    "a member more": lambda m: EnsembleTeacher([*m, teacher(net(2))], [1.0, 2.0, 1.0], "probabilities"),
    "one ulp of a member": with_weights_of_the_second_raised,
    "a member alone": lambda m: m[0],
}
stories(REKEYED, ensembles, together)
stories(REFUSED, {"other code in a member": with_other_code_in_the_second}, together)


@story(REKEYED)
def what_a_member_gives(_: Path) -> Story:
    member = TableTeacher(torch.eye(3).repeat(34, 1)[:100], EXAMPLES)
    who = EnsembleTeacher([member, teacher()], None, "probabilities")
    yield Scene(who)
    member.gives = Votes(100)
    yield Scene(who)


def picked(change: tuple[int, ...]) -> Story:
    yield Scene(Picked(teacher(), (0, 1, 2)))
    yield Scene(Picked(teacher(), change))


stories(REKEYED, {"picked columns": (1, 0, 2)}, picked)


def audience() -> Audience:
    return Audience(EXAMPLES, SCALED)


def weights_file(folder: Path) -> Path:
    path = folder / "w.safetensors"
    save_file({k: v.contiguous() for k, v in initialise(MODEL, (1, 4, 4), 3, seed=3).state_dict().items()}, path)
    return path


def read(folder: Path, change: Any) -> Story:
    """A file of weights, changed where it lies."""
    spec = WeightsTeacher(path=str(weights_file(folder)), model=MODEL)
    yield Scene(spec.open(audience()))
    yield Scene(change(spec).open(audience()))


@story(REKEYED)
def one_byte_of_a_file_of_weights(folder: Path) -> Story:
    def change(spec: WeightsTeacher) -> WeightsTeacher:
        data = bytearray(Path(spec.path).read_bytes())
        data[-1] ^= 1  # of an exponent
        Path(spec.path).write_bytes(data)
        return spec

    return read(folder, change)


@story(REKEYED)
def one_ulp_in_a_file_of_weights(folder: Path) -> Story:
    def change(spec: WeightsTeacher) -> WeightsTeacher:
        tensors = load_file(spec.path)
        up(next(iter(tensors.values())))
        save_file(tensors, spec.path)
        return spec

    return read(folder, change)


@story(REKEYED)
def the_names_of_a_files_outputs(folder: Path) -> Story:
    return read(folder, lambda spec: replace(spec, classes=("b", "a", "c")))


@story(REKEYED)
def one_initialiser_of_an_onnx_file(folder: Path) -> Story:
    nodes, tensors = hostile.onnx_linear()
    for step in range(2):
        values = numpy_helper.to_array(tensors[0]).copy()
        values[3, 1] += 0.5 * step
        path = hostile.onnx_file(folder, nodes, [numpy_helper.from_array(values, "w")])
        yield Scene(OnnxTeacher(path=str(path)).open(audience()))


@story(REKEYED)
def one_operator_of_an_onnx_file(folder: Path) -> Story:
    nodes, tensors = hostile.onnx_linear()
    for step in range(2):
        more = [hostile.helper.make_node(("Neg", "Abs")[step], ["z"], ["y"])]
        nodes, tensors = hostile.onnx_linear(more, last="z")
        path = hostile.onnx_file(folder, nodes, tensors)
        yield Scene(OnnxTeacher(path=str(path)).open(audience()))


@story(REKEYED)
def one_weight_of_a_program(folder: Path) -> Story:
    def change(entries: hostile.Entries) -> None:
        values = bytearray(entries["data/weights/weight_0"])
        values[-1] ^= 1
        entries["data/weights/weight_0"] = bytes(values)

    for each in (lambda entries: None, change):
        yield Scene(ProgramTeacher(path=str(hostile.program_file(folder, each))).open(audience()))


@story(REKEYED)
def one_operator_of_a_program(folder: Path) -> Story:
    def change(model: Any) -> None:
        add = next(n for n in hostile.graph_of(model)["nodes"] if n["target"] == "torch.ops.aten.add.Tensor")
        add["target"] = "torch.ops.aten.sub.Tensor"

    for each in (lambda entries: None, lambda entries: hostile.changed(entries, hostile.MODEL, change)):
        yield Scene(ProgramTeacher(path=str(hostile.program_file(folder, each))).open(audience()))


def saved_in(folder: Path, seed: int = 0, preprocess: Preprocess = SCALED) -> SavedTeacher:
    module = initialise(MODEL, (1, 4, 4), 3, seed=seed).eval()
    save_model(folder / "saved", SavedModel(module, MODEL, (1, 4, 4), ("a", "b", "c"), preprocess))
    return SavedTeacher(path=str(folder / "saved"))


@story(REKEYED)
def another_model_in_a_folder(folder: Path) -> Story:
    for seed in range(2):
        yield Scene(saved_in(folder, seed).open(audience()))


@story(REKEYED)
def another_transform_in_a_folder(folder: Path) -> Story:
    for scale in (255.0, 254.0):
        yield Scene(saved_in(folder, preprocess=Preprocess(scale=scale)).open(audience()))


@story("model.safetensors has")
def one_byte_of_a_model_in_a_folder(folder: Path) -> Story:
    spec = saved_in(folder)
    yield Scene(spec.open(audience()))
    path = folder / "saved" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    yield Scene(spec.open(audience()))


# --- the table -------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Four batches of eight in a shard."""
    monkeypatch.setattr(labelling, "SHARD_SIZE", 32)
    monkeypatch.setattr(labelling, "BATCH_SIZE", 8)


@pytest.fixture
def questions(monkeypatch):
    """The keys that were asked about, question by question."""
    keys: list[bytes] = []

    def noted(who, inputs, given):
        keys.extend(names(given))
        return ask(who, inputs, given)

    monkeypatch.setattr(labelling, "ask", noted)
    return keys


def names(keys: torch.Tensor) -> list[bytes]:
    return [bytes(key) for key in keys.tolist()]


def files(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def check_true(signals: Any, scene: Scene) -> None:
    """What a fit will hear is what the teacher of the scene says now, of every view of every example, written down."""
    every = torch.arange(len(scene.examples))
    for number in range(1 if scene.views is None else scene.views.cycle or 1):
        numbers = torch.full_like(every, number)
        inputs = scene.examples.inputs if scene.views is None else scene.views.seen(every, numbers).inputs
        said = ask(scene.who, inputs, scene.examples.keys)
        true = scene.encoding.decode(encoded(scene.encoding, said), said.logits.shape[1])
        found = signals.fetch(every, inputs, numbers)
        torch.testing.assert_close(found.logits, true.logits, rtol=2**-8, atol=2**-8)
        assert found.features.keys() == true.features.keys()
        for tap, values in true.features.items():
            torch.testing.assert_close(found.features[tap], values, rtol=2**-8, atol=2**-8)
        assert (found.top is None) == (true.top is None)
        if true.top is not None:
            assert torch.equal(found.top.ids, true.top.ids)
            assert found.top.tails.keys() == true.top.tails.keys()


def opened(open_store, scene: Scene) -> Any:
    return open_store(scene.who, scene.examples, views=scene.views, encoding=scene.encoding)


def test_at_least_twenty_five_mutations_are_tried():
    outcomes = [outcome for outcome, _ in STORIES.values()]
    assert sum(outcome not in (HELD, ANEW) for outcome in outcomes) >= 60
    assert len(STORIES) >= 90


@pytest.mark.parametrize("name", STORIES)
def test_nothing_old_is_passed_off(name, open_store, questions, tmp_path):
    outcome, tell = STORIES[name]
    told = tell(tmp_path)
    before = next(told)
    first = opened(open_store, before)
    check_true(first.signals, before)
    held, written = set(names(before.examples.keys)), files(tmp_path / "labels")
    questions.clear()
    if outcome not in (REKEYED, ANEW, HELD):
        with pytest.raises(DataError, match=outcome) as caught:
            opened(open_store, next(told))
        assert caught.value.exit_status == 3
        assert written.items() <= files(tmp_path / "labels").items()  # nothing of the old was touched
        if outcome == REFUSED:  # it is there for the old teacher, and the new one may add nothing to it
            old = next(tell(tmp_path))
            check_true(opened(open_store, old).signals, old)
            if old.views is None:
                changed = next(each for number, each in enumerate(tell(tmp_path)) if number)
                with pytest.raises(DataError, match=outcome):
                    opened(open_store, replace(changed, examples=joined(EXAMPLES, examples_of(3, seed=9))))
        return
    after = next(told)
    store, wanted = opened(open_store, after), set(names(after.examples.keys))
    views = store.manifest["views"]
    if outcome == REKEYED:
        assert store.directory != first.directory
        assert wanted <= set(questions)
        assert len(questions) >= len(wanted) * views
    else:
        new = wanted - held
        assert store.directory == first.directory
        assert new <= set(questions)
        assert bool(new) == (outcome == ANEW)
        assert len(questions) <= len(new) * views + 3 * PROBES
        assert store.manifest["distinct"] == len(wanted | held)
    check_true(store.signals, after)
    # What was there before is as it was, but for the manifest of a store that was added to.
    now = files(tmp_path / "labels")
    changed = {path for path, content in written.items() if now.get(path) != content}
    assert changed <= ({str(first.directory / MANIFEST)} if outcome == ANEW else set())


# --- the known limit -------------------------------------------------------------------------------------------------


def test_code_that_changes_few_answers_is_seen_as_often_as_sixteen_probes_can(open_store):
    """The known limit: where no weights show it, a change of a share s of the answers is missed (1 - s)^16 of times."""
    changed: set[bytes] = set()

    def answer(inputs):
        moved = torch.tensor([row.tobytes() in changed for row in inputs.numpy()])
        return inputs.flatten(1)[:, :3] + moved[:, None].float()

    who, every = CallableTeacher(answer, Preprocess()), [row.tobytes() for row in EXAMPLES.inputs.float().numpy()]
    open_store(who, EXAMPLES)
    chance = random.Random(0)

    def missed(count: int, trials: int) -> float:
        times = 0
        for _ in range(trials):
            changed.clear()
            changed.update(chance.sample(every, count))
            with suppress(DataError):
                open_store(who, EXAMPLES)
                times += 1
        return times / trials

    for count in (1, 5, 15):
        exact = comb(100 - count, PROBES) / comb(100, PROBES)  # drawn without putting back
        assert exact == pytest.approx((1 - count / 100) ** PROBES, abs=0.035)
        assert missed(count, 100) == pytest.approx(exact, abs=0.15)  # three standard deviations
    assert missed(50, 20) == missed(100, 1) == 0


# --- after the seal --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sealed:
    """Two stores of the same examples, by teachers that differ in one ulp."""

    own: Path
    other: Path

    def swapped(self, name: str) -> None:
        (self.own / name).write_bytes((self.other / name).read_bytes())


def edited(path: Path, change: Any, *, resealed: bool = False) -> None:
    manifest = read_manifest(path)
    change(manifest)
    write_json(path / MANIFEST, sealed(manifest) if resealed else {**manifest, "sha256": "0" * 64})


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def exchanged(stores: Sealed) -> None:
    first, second = (stores.own / f"shard-0000{number}.safetensors" for number in (0, 1))
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])


def replaced(stores: Sealed) -> None:
    for path in stores.other.iterdir():
        (stores.own / path.name).write_bytes(path.read_bytes())


SHARD = "shard-00001.safetensors"
TAMPERINGS = {
    "a shard of another store": (SHARD, lambda s: s.swapped(SHARD)),
    "two shards exchanged": ("shard-0000[01]", exchanged),
    "a bit of an answer": (SHARD, lambda s: flip(s.own / SHARD, -5)),
    "a bit of the header": (SHARD, lambda s: flip(s.own / SHARD, 30)),
    "a shard cut short": (SHARD, lambda s: cut_short(s.own / SHARD)),
    "a shard that is gone": (SHARD, lambda s: (s.own / SHARD).unlink()),
    "an edited manifest": ("its own checksum", lambda s: edited(s.own, lambda m: m.update(examples=7))),
    "the manifest of another store": (MANIFEST, lambda s: s.swapped(MANIFEST)),
    "a whole store under another's name": (MANIFEST, replaced),
    "a fingerprint written anew": (
        MANIFEST,
        lambda s: edited(s.own, lambda m: m["fingerprint"].update(classes=["b", "a", "c"]), resealed=True),
    ),
    "a manifest cut short": (MANIFEST, lambda s: cut_short(s.own / MANIFEST)),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_sealed_store_that_was_tampered_with_is_refused_by_name(name, open_store):
    words, tamper = TAMPERINGS[name]
    raised = net()
    up(raised.head.weight)
    own, other = open_store(teacher(), EXAMPLES), open_store(teacher(raised), EXAMPLES)
    tamper(Sealed(own.directory, other.directory))
    with pytest.raises(DataError, match=words) as caught:
        open_store(teacher(), EXAMPLES)
    assert str(own.directory) in caught.value.came
    check_true(open_store(teacher(raised), EXAMPLES).signals, Scene(teacher(raised)))


# --- purity ----------------------------------------------------------------------------------------------------------


def hiding(module: nn.Module) -> CallableTeacher:
    return CallableTeacher(module.eval(), SCALED)


def lowered() -> ModuleTeacher:
    return ModuleTeacher(net(), SCALED, CPU, precision="bf16")


def convolved() -> nn.Module:
    return initialise(ConvNet(channels=(3, 4)), (1, 4, 4), 3, seed=0)


def onnx_in(folder: Path) -> OnnxTeacher:
    return OnnxTeacher(path=str(hostile.onnx_file(folder, *hostile.onnx_linear())))


def program_in(folder: Path) -> ProgramTeacher:
    return ProgramTeacher(path=str(hostile.program_file(folder, lambda _: None)))


def fitted() -> RandomForestClassifier:
    return RandomForestClassifier(3, random_state=0).fit(EXAMPLES.inputs.flatten(1).numpy(), EXAMPLES.labels.numpy())


def sklearn_in(folder: Path) -> SklearnTeacher:
    skops.io.dump(fitted(), folder / "forest.skops")
    return SklearnTeacher(path=str(folder / "forest.skops"))


def answers_in(folder: Path) -> AnswersTeacher:
    lines = [",".join(map(repr, row)) for row in rows().tolist()]
    (folder / "answers.csv").write_text("\n".join([",".join(EXAMPLES.classes), *lines]) + "\n")
    return AnswersTeacher(path=str(folder / "answers.csv"))


KINDS = {
    "module": lambda _: teacher(),
    "module with taps": lambda _: teacher(taps=("first",)),
    "module in bf16": lambda _: lowered(),
    "module behind a quicker copy": lambda _: teacher(convolved()),
    "function": lambda _: hiding(net()),
    "table": lambda _: TableTeacher(rows(), EXAMPLES),
    "ensemble": lambda _: EnsembleTeacher([teacher(), hiding(net(1)), TableTeacher(rows(), EXAMPLES)], None, "logits"),
    "picked": lambda _: Picked(teacher(), (2, 0, 1)),
    "saved": lambda folder: saved_in(folder).open(audience()),
    "weights": lambda folder: WeightsTeacher(path=str(weights_file(folder)), model=MODEL).open(audience()),
    "program": lambda folder: program_in(folder).open(audience()),
    "onnx": lambda folder: onnx_in(folder).open(audience()),
    "estimator": lambda _: teacher_of(fitted(), audience()),
    "sklearn": lambda folder: sklearn_in(folder).open(audience()),
    "answers": lambda folder: answers_in(folder).open(audience()),
}


def flat(who: Teacher) -> list[Teacher]:
    return [who, *(inner for each in who.within for inner in flat(each))]


def state_of_the_world() -> list[Any]:
    """What asking might disturb and nobody would look for."""
    return [
        torch.random.get_rng_state().tolist(),
        random.getstate(),
        str(np.random.get_state()),  # the global one
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("views", [None, "mixed"])
def test_asking_changes_nothing(kind, views, open_store, tmp_path):
    who = KINDS[kind](tmp_path)
    modules = [network.module for network in networks_of(who)]
    modules += [each.function for each in flat(who) if isinstance(each, CallableTeacher)]
    for module in modules:
        for number, part in enumerate(module.modules()):
            part.training = bool(number % 2)  # a pattern that no train() or eval() makes
        for number, parameter in enumerate(module.parameters()):
            if kind != "program":  # whose weights are constants
                parameter.requires_grad_(bool(number % 2))
                parameter.grad = torch.full_like(parameter, 7.0)
    for each in flat(who):
        if isinstance(each, CallableTeacher):
            each.function.eval()  # its own affair

    def content() -> list[Any]:
        found: list[Any] = [who.identity(), [name for name in files(tmp_path) if "labels" not in name]]
        found += [content for name, content in files(tmp_path).items() if "labels" not in name]
        for module in modules:
            tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
            found += [digest_tensors(tensors), [part.training for part in module.modules()]]
            found += [tensor.data_ptr() for tensor in tensors.values()]
            found += [parameter.requires_grad for parameter in module.parameters()]
            found += [None if p.grad is None else p.grad.tolist() for p in module.parameters()]
        found += [digest_tensors({"rows": each.rows_NC}) for each in flat(who) if isinstance(each, TableTeacher)]
        return [*found, digest_tensors({"x": EXAMPLES.inputs, "y": EXAMPLES.labels, "k": EXAMPLES.keys})]

    before, world = content(), state_of_the_world()
    seen_in = None if views is None else seen({"augment": Augment(shift=1, mixup=0.2)})
    first = open_store(who, EXAMPLES, views=seen_in)
    again = open_store(who, EXAMPLES, views=seen_in)
    assert content() == before
    assert state_of_the_world() == world
    assert not any(values.requires_grad for values in again.signals.tensors.values())
    assert torch.equal(again.signals.tensors["logits"], first.signals.tensors["logits"])
