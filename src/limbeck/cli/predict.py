"""`limbeck predict BUNDLE FILE...`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limbeck.cli.output import on_one_line, print_json
from limbeck.errors import RecipeError

if TYPE_CHECKING:
    from limbeck.prediction import Predictor


def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle, a run that was exported, or a model.onnx alone.")],
    files: Annotated[list[Path], typer.Argument(help="What to answer about.", metavar="FILE...")],
    temperature: Annotated[float, typer.Option("--temperature", "-T", help="Divides logits before softmax.")] = 1.0,
    top: Annotated[int, typer.Option("--top", help="How many classes to name for each example.")] = 3,
    threads: Annotated[int | None, typer.Option("--threads", help="To compute with; one a core if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with all probabilities.")] = False,
) -> None:
    """Ask a delivered student about files, without torch; a line for each example, the most probable class first.

    Images: any image file, or a .npz or .npy file. Rows: a CSV or Parquet file with the columns that the student was
    trained on, in any order; others, a label among them, are passed over. Texts: a text file with a text a line, or
    a table with a column of them. Numbers: a .npz, .npy or CSV file. In a .npz file the array is called inputs, images,
    x or x_test, or is the only one.

    Examples:
        limbeck predict runs/digits seven.png

        limbeck predict runs/rows/export/onnx customers.csv --json

        limbeck predict model.onnx photos/*.jpg --top 1
    """
    from limbeck.prediction import load_bundle

    for name, number in (("--top", top), ("--threads", threads)):
        if number is not None and number < 1:
            raise RecipeError(f"{name} {number}", expected="1 or more", do="leave it out, or raise it")
    predictor = load_bundle(bundle, threads=threads)
    answers = _answers(predictor, files, temperature, top)
    if as_json:
        print_json([_tree(answer, predictor.classes) for answer in answers])
        return
    for file, row, order, probabilities in answers:
        named = "  ".join(f"{predictor.classes[place]} {probabilities[place]:.4f}" for place in order)
        print(on_one_line(f"{file}{'' if row is None else f':{row}'}  {named}"))


_Answer = tuple[Path, int | None, list[int], list[float]]
"""File, row, places of the most probable classes, probabilities."""


def _answers(predictor: "Predictor", files: list[Path], temperature: float, top: int) -> Iterator[_Answer]:
    from limbeck.prediction import choices

    reader = predictor.reader()
    for part in reader.parts(files):
        probabilities_NC = predictor.about(part, temperature)
        for (file, row), probabilities_C in zip(part.places, probabilities_NC, strict=True):
            yield file, row, choices(probabilities_C, top), probabilities_C.tolist()
    reader.tell()


def _tree(answer: _Answer, classes: tuple[str, ...]) -> dict[str, Any]:
    file, row, order, probabilities = answer
    return {
        "file": str(file),
        "row": row,
        "label": classes[order[0]],
        "probability": probabilities[order[0]],
        "probabilities": dict(zip(classes, probabilities, strict=True)),
    }
