"""The house: floors import only floors below, rooms on one floor are blind to each other, and manners are kept."""

import ast
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "limbeck"

FLOORS = (
    {
        "errors",
        "extras",
        "quiet",
        "files",
        "bundle",
        "locks",
        "foreign",
        "decoding",
        "numpy_files",
        "cells",
        "tabular",
        "signal",
        "record",
        "progress",
    },
    {"objectives", "data", "models", "runtime"},
    {"teachers", "prediction", "conversion"},
    {"training"},
    {"measurement"},
    {
        "search_space",
        "guess",
        "recipe_text",
        "recipe",
        "rundir",
        "preparation",
        "students",
        "assistants",
        "teaching",
        "proof",
        "pipeline",
        "estimate",
        "finished",
    },
    {"report", "examination", "tuning", "export", "benchmark"},
    {"cli", "distillation", "functional", "testing"},
)
"""Rooms from the ground up; docs/decisions/0001 says why the doors lie above the report."""

ONE_ROOM = (FLOORS[0], FLOORS[5])
"""Floors whose files are one room, and may see each other."""

FILE_LINES, FUNCTION_LINES = 400, 60
WRITERS = {"files", "rundir"}
"""Whoever else wants a file written asks `files`; `rundir` opens a log and empties a directory."""

FILES = sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def floor_of(room: str) -> int | None:
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), None)


def imports(path: Path) -> list[str]:
    """Rooms of limbeck that a file imports, inside functions too, but for what only a type checker sees."""
    tree = ast.parse(path.read_text())
    unseen = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and room_of(path) == "__init__"
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "limbeck":
            parts = node.module.split(".")
            found += [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [a.name.split(".")[1] for a in node.names if a.name.startswith("limbeck.")]
    return found


def test_every_room_has_a_floor():
    rooms = {room_of(path) for path in FILES} - {"__init__", "__main__"}
    assert rooms == set().union(*FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down(path: Path):
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    floor = floor_of(room)
    assert floor is not None
    for other in imports(path):
        if other == room or any({room, other} <= rooms for rooms in ONE_ROOM):
            continue
        below = floor_of(other)
        assert below is not None, f"{path} imports limbeck.{other}, which has no floor"
        assert below < floor, f"{path} on floor {floor} imports limbeck.{other} on floor {below}"


def test_objectives_are_pure_tensor_mathematics():
    allowed = {"abc", "torch", "limbeck", "math", "dataclasses", "typing", "collections"}
    for path in SOURCE.glob("objectives/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            assert {name.split(".")[0] for name in names} <= allowed, path
        assert set(imports(path)) <= {"objectives", "signal"}, path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_are_short(path: Path):
    text = path.read_text()
    assert len(text.splitlines()) <= FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[0]
            documented = ast.get_docstring(node, clean=False) is not None
            docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            length = (node.end_lineno or 0) - node.lineno + 1 - docstring
            assert length <= FUNCTION_LINES, f"{node.name} has {length} lines"


def calls(path: Path) -> set[str]:
    nodes = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return {ast.unparse(node.func) for node in nodes}


def test_only_the_command_line_prints():
    for path in FILES:
        if room_of(path) != "cli":
            assert not {"print", "sys.stdout.write", "sys.stderr.write"} & calls(path), path


def test_only_files_writes():
    for path in FILES:
        if room_of(path) in WRITERS:
            continue
        for call in calls(path):
            name = call.split(".")[-1]
            assert name not in ("write_text", "write_bytes", "save_file", "mkdir", "rename") or call == name, (
                path,
                call,
            )


def test_nothing_is_unpickled():
    for path in FILES:
        used = calls(path)
        assert (
            not {"torch.load", "torch.export.load", "torch.save", "pickle.load", "pickle.loads", "eval", "exec"} & used
        ), path


WITHOUT_TORCH = ("bundle", "errors", "files", "foreign", "runtime", "prediction", "cli")
"""Rooms whose doors open where torch is not installed: `limbeck predict` needs onnxruntime and numpy alone."""
ALLOWED = {"limbeck", "numpy", "onnxruntime", "PIL", "typer", "rich", "click"} | sys.stdlib_module_names


def first_imports(path: Path) -> list[str]:
    """Modules that are imported when a file is, in full."""
    waiting, found = [ast.parse(path.read_text())], []
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)
    return found


def files_of(module: str) -> list[Path]:
    """The files that an import of a module of limbeck runs, those of the rooms around it too."""
    parts = module.split(".")[1:]
    places = [SOURCE.joinpath(*parts[:end], "__init__.py") for end in range(len(parts) + 1)]
    return [place for place in (*places, SOURCE.joinpath(*parts).with_suffix(".py")) if parts and place.is_file()]


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_what_answers_from_a_bundle_is_imported_without_torch(room: str):
    waiting, seen = files_of(f"limbeck.{room}"), set()
    assert waiting
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for module in first_imports(path):
            assert module.split(".")[0] in ALLOWED, f"{path} imports {module}"
            waiting += files_of(module) if module.startswith("limbeck.") else []
