"""What the documents show is true: commands parse, code runs, links lead somewhere, tables are complete."""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import typing
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from typer.main import get_command

import limbeck
from limbeck.cli import app
from limbeck.data import SOURCES
from limbeck.models import MODELS
from limbeck.objectives import CATALOGUE
from limbeck.recipe import Recipe, recipe_from_tree, tree_of
from limbeck.recipe_text import parse_yaml
from limbeck.testing import broken_promises
from test_architecture import FLOORS

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
READMES = [ROOT / "README.md", ROOT / "README.ru.md"]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RECIPE = {
    "data": {"source": "digits"},
    "teacher": {"kind": "saved", "path": "x"},
    "student": {"model": {"name": "mlp"}},
}


def blocks(text, *languages):
    return [(language, code) for language, code in FENCE.findall(text) if language in languages]


def section(path, title):
    return re.search(rf"^## {title}$(.*?)(?=^## |\Z)", path.read_text(), re.MULTILINE | re.DOTALL)[1]


def uncommented(code):
    """Code without its comments and the spaces before them: they may be in another language."""
    return [line for line in (re.sub(r"\s*#.*", "", line) for line in code.splitlines()) if line]


def named(path):
    return str(path.relative_to(ROOT))


# ------------------------------------------------------------------------------------------------ commands


def commands():
    return sorted(
        {
            (named(document), line)
            for document in DOCUMENTS
            for _, code in blocks(document.read_text(), "sh")
            for line in uncommented(code)
        }
    )


@pytest.mark.parametrize(("document", "line"), [c for c in commands() if " limbeck " in f" {c[1]} "])
def test_a_command_has_the_verbs_options_and_settings_it_shows(document, line):
    words = shlex.split(line)
    verb, *rest = words[words.index("limbeck") + 1 :]
    command = get_command(app).commands[verb]
    context = command.make_context(verb, list(rest))
    recipe = context.params.get("recipe")
    if recipe and recipe.parts[0] != "runs":  # what limbeck has written there is another test's business
        changes = dict(text.split("=", 1) for text in context.params["settings"] or [])
        tree = parse_yaml((ROOT / recipe).read_text(), where=line)
        recipe_from_tree(tree, {key: parse_yaml(text, where=key) for key, text in changes.items()}, where=line)
    if verb == "list":
        assert context.params["kind"] in {None, "sources", "teachers", "models", "objectives", "arms"}


def test_every_verb_is_in_the_readme():
    shown = " ".join(line for document, line in commands() if document == "README.md")
    for verb in get_command(app).commands:
        assert f"limbeck {verb}" in shown or verb == "demo", verb


def test_the_targets_of_make_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        for target in re.findall(r"(?:^|`)make ([\w-]+)", document.read_text(), re.MULTILINE):
            assert target in targets, f"{named(document)}: make {target}"


# ---------------------------------------------------------------------------------------------------- code


@pytest.fixture
def supplied(tmp_path, monkeypatch):
    """What the documents' Python blocks take for granted: a teacher, data, a batch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)  # one thread, beside other tests
    data = load_digits()
    images, labels = data.images[:400, None].astype("uint8"), data.target[:400]
    test_images, test_labels = data.images[400:600, None].astype("uint8"), data.target[400:600]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        optimizer = torch.optim.AdamW(teacher.parameters(), lr=0.03)
        for _ in range(60):
            optimizer.zero_grad()
            inputs = torch.from_numpy(images).float() / 255
            nn.functional.cross_entropy(teacher(inputs), torch.from_numpy(labels)).backward()
            optimizer.step()
    return {
        "__name__": "documents",
        "teacher": teacher,
        "images": images,
        "labels": labels,
        "test_images": test_images,
        "test_labels": test_labels,
        "batch": torch.from_numpy(test_images[:5]),
        "batch_labels": torch.from_numpy(test_labels[:5]),
    }


def test_the_python_of_the_readme_runs(supplied, capsys):
    for _, code in blocks((ROOT / "README.md").read_text(), "python"):
        exec(compile(code, "README.md", "exec"), supplied)
    assert "scratch" in capsys.readouterr().out
    assert supplied["student"](supplied["inputs"]).shape == (5, 10)


def test_the_objectives_of_contributing_keep_their_promises_and_distil(supplied, capsys):
    found = blocks(section(ROOT / "CONTRIBUTING.md", "Adding an objective"), "python")
    assert len(found) == 6
    for _, code in found:
        exec(compile(code, "CONTRIBUTING.md", "exec"), supplied)
    assert "scratch" in capsys.readouterr().out
    loss = supplied["result"].record["arms"]["distilled"][0]["loss"]
    assert [term["objective"]["name"] for term in loss] == ["cross-entropy", "hellinger"]


def test_the_mutants_of_contributing_die_of_the_promises_it_names(supplied):
    text = section(ROOT / "CONTRIBUTING.md", "Adding an objective")
    for _, code in blocks(text, "python")[:4]:
        exec(compile(code, "CONTRIBUTING.md", "exec"), supplied)
    killed_by = eval("{" + added(blocks(text, "diff")[-1][1]) + "}", supplied)
    assert len(killed_by) == 2
    for mutant, promises in killed_by.items():
        assert mutant.spoils == supplied["Hellinger"]()
        assert set(broken_promises(mutant(), supplied["hellinger_distance"](4.0))) == promises


def test_a_new_objective_costs_one_file_and_its_name_in_the_catalogue(tmp_path):
    text = section(ROOT / "CONTRIBUTING.md", "Adding an objective")
    shutil.copytree(ROOT / "src" / "limbeck", tmp_path / "limbeck")
    file = re.search(r"`src/(limbeck/objectives/logits/\w+\.py)`:", text)[1]
    (tmp_path / file).write_text(blocks(text, "python")[0][1])
    catalogue = tmp_path / "limbeck" / "objectives" / "__init__.py"
    for _, diff in blocks(text, "diff")[:2]:
        patch(catalogue, diff)
    program = """
import json, limbeck.cli
from limbeck.recipe import recipe_from_tree, tree_of
tree = json.loads(input())
tree["distill"] = {"objective": {"name": "hellinger"}, "terms": [{"weight": 2, "objective": {"name": "hellinger"}}]}
print(json.dumps(tree_of(recipe_from_tree(tree, {}, where="here"))["distill"]))
limbeck.cli.app(["list", "objectives", "--json"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(RECIPE),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    line, listed = done.stdout.split("\n", 1)
    resolved = {"name": "hellinger", "standardise": False, "temperature": 4.0}
    assert json.loads(line)["objective"] == resolved
    assert json.loads(line)["terms"] == [{"weight": 2, "objective": resolved}]
    assert "hellinger" in json.loads(listed)["objectives"]


def test_the_other_diffs_of_contributing_apply(tmp_path):
    found = blocks(section(ROOT / "CONTRIBUTING.md", "Adding an objective"), "diff")[2:]
    for path, (_, diff) in zip(("objectives/definitions/logits.py", "mutants/logits.py"), found, strict=True):
        copy = tmp_path / "logits.py"
        shutil.copy(ROOT / "tests" / path, copy)
        patch(copy, diff)


def patch(path, diff):
    """Add the + lines of a diff after its context lines, which must be in the file once."""
    context = "\n".join(line[1:] for line in diff.splitlines() if line.startswith(" ")) + "\n"
    text = path.read_text()
    assert text.count(context) == 1, f"{path.name} has not exactly one {context!r}"
    path.write_text(text.replace(context, context + added(diff)))


def added(diff):
    return "\n".join(line[1:] for line in diff.splitlines() if line.startswith("+")) + "\n"


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_the_yaml_of_a_document_is_a_recipe(document):
    for _, code in blocks(document.read_text(), "yaml"):
        recipe_from_tree(parse_yaml(code, where=document.name), {}, where=document.name)


def test_both_readmes_show_the_same_code_and_the_same_output():
    english, russian = (path.read_text() for path in READMES)
    kinds = ("sh", "python", "yaml")
    assert [uncommented(code) for _, code in blocks(english, *kinds)] == [
        uncommented(code) for _, code in blocks(russian, *kinds)
    ]
    assert blocks(english, "text")[0] == blocks(russian, "text")[0]
    assert [kind for kind, _ in FENCE.findall(english)] == [kind for kind, _ in FENCE.findall(russian)]
    assert len(re.findall("^## ", english, re.MULTILINE)) == len(re.findall("^## ", russian, re.MULTILINE))


# --------------------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target.split("#")[0]).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_files_that_are_named_exist(document):
    for name in re.findall(r"`((?:src|tests|docs|examples)/[\w./-]*\w)`", document.read_text()):
        new = name.endswith("hellinger.py")
        assert new or (ROOT / name).exists(), name


# -------------------------------------------------------------------------------------------------- recipe


TAGS = ("data.source", "teacher.kind", "student.model.name", "distill.alpha.name", "distill.objective.name")
"""Keys that choose an entry of a catalogue; the page gives the choice, not each entry's own name."""

ELSEWHERE = (
    "teacher.model",
    "teacher.preprocess",
    "teacher.fit",
    "teacher.members",
    "student.assistants",
    "tune.student",
    "distill.student_weight",
    "distill.distillation_weight",
    "distill.temperature",
    "distill.terms.weight",
    "distill.terms.objective",
)
"""Keys whose own keys the page describes once, in another place."""

ALIASES = ("distill.distillation_temp",)


def table(path):
    """Key -> default, as the tables of a page give them."""
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]*) \|", path.read_text(), re.MULTILINE)
    assert len({key for key, _ in rows}) == len(rows), "a key has two rows"
    return dict(rows)


def defaults_below(kind, name=""):
    """Pairs of a dotted key and its default, as the page spells it, for all classes that may stand there."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for part in fields(kind):
        key = f"{name}.{part.name}".lstrip(".")
        members = [] if key in ELSEWHERE else dataclasses_in(hints[part.name])
        if key == "data.source" and members:  # in a file the keys of a source stand beside those of data
            key = "data"
        elif part.default is not MISSING:
            yield key, spelt(part.default)
        elif part.default_factory is MISSING and not members:
            yield key, "required"
        elif not members or key == "distill.terms":
            yield key, ""
        for member in members:
            yield from defaults_below(member, key)


def dataclasses_in(hint):
    """The classes in a type, however deep, but for those that only Python can hand over."""
    if isinstance(hint, type) and is_dataclass(hint):
        return [] if hint.__name__.startswith("Given") else [hint]
    return [member for inner in typing.get_args(hint) for member in dataclasses_in(inner)]


def spelt(default):
    """A default as YAML has it."""
    if isinstance(default, tuple):
        return f"[{', '.join(map(spelt, default))}]"
    return default if isinstance(default, str) else json.dumps(default)


def test_the_page_on_recipes_has_every_key_and_no_other():
    known = {key for key, _ in defaults_below(Recipe)}
    assert set(table(ROOT / "docs" / "recipe.md")) == known | set(ALIASES)


def test_the_page_on_recipes_has_every_key_of_a_resolved_recipe():
    page = set(table(ROOT / "docs" / "recipe.md"))
    changes = {"student.preprocess": {"scale": 2}, "distill.terms": []}
    assert set(leaves(tree_of(recipe_from_tree(RECIPE, changes, where="here")))) <= page


def leaves(tree, name=""):
    """The dotted keys of a tree."""
    if not isinstance(tree, dict):
        return [name]
    return [leaf for key, value in tree.items() for leaf in leaves(value, f"{name}.{key}".lstrip("."))]


def test_the_page_on_recipes_has_every_default():
    page = table(ROOT / "docs" / "recipe.md")
    for key, default in defaults_below(Recipe):
        if key not in TAGS and not key.endswith((".optimizer.name", ".schedule.name")):
            assert default in page[key], f"{key}: {default} is not in {page[key]!r}"


def test_the_page_on_recipes_names_every_entry_of_the_catalogues():
    text = (ROOT / "docs" / "recipe.md").read_text()
    for name in (*SOURCES, *MODELS, *CATALOGUE):
        assert f"`{name}`" in text, name


def test_the_readmes_name_every_source_and_model():
    for readme in READMES:
        for name in (*SOURCES, *MODELS):
            assert f"`{name}`" in readme.read_text(), f"{readme.name}: {name}"


# --------------------------------------------------------------------------------------------------- words


def test_words_have_every_class_that_a_room_exports():
    text = (ROOT / "docs" / "words.md").read_text()
    rooms = [path.parent.name for path in (ROOT / "src" / "limbeck").glob("*/__init__.py")]
    modules = [importlib.import_module(f"limbeck.{room}") for room in rooms]
    exported = {name for module in (limbeck, *modules) for name in getattr(module, "__all__", ())}
    classes = {name for name in exported if name[0].isupper() and (not name.isupper() or name == "SGD")}
    assert [name for name in sorted(classes) if f"`{name}`" not in text] == []


def test_a_word_and_a_class_have_one_line():
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([^|]*)\|$", (ROOT / "docs" / "words.md").read_text(), re.MULTILINE)
    nouns = [noun.strip() for words_, _ in rows if words_ not in ("word", "---") for noun in words_.split(",")]
    classes = [name for _, cell in rows for name in re.findall(r"`(\w+)`", cell)]
    for listed in (nouns, classes):
        assert sorted(listed) == sorted(set(listed))


# -------------------------------------------------------------------------------------------------- floors


def test_the_decision_on_floors_lists_the_floors_as_they_are():
    text = (ROOT / "docs" / "decisions" / "0001-doors-above-report.md").read_text()
    rows = re.findall(r"^\| (\d) \| (.*) \|$", text, re.MULTILINE)
    assert [(int(number), set(re.findall("`(\\w+)`", rooms))) for number, rooms in rows] == list(enumerate(FLOORS))
