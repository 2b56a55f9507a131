"""A bundle: a delivered student in a directory of its own, sealed. It is read without torch.

model.onnx      the network (model.pt2, model.pte): one file, with the description inside it
config.json     the description, and what the file is
labels.json     the names of the classes, by their place in the logits
golden.npz      real inputs as stored, what the network is shown of them, and what the file answers
parity.json     how far the file is from the student it was made of
README.md       the card, for people
manifest.json   sizes and checksums of all of these

Dimension key: N examples, C classes.
"""

import hashlib
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import DataError
from limbeck.files import FORMAT, MANIFEST, check_format, read_json, verify
from limbeck.numpy_files import read_npz

CONFIG, LABELS, GOLDEN, PARITY, CARD = "config.json", "labels.json", "golden.npz", "parity.json", "README.md"
MODEL_FILES = {
    "onnx": "model.onnx",
    "onnx-int8": "model.onnx",
    "torch-export": "model.pt2",
    "executorch": "model.pte",
    "executorch-int8": "model.pte",
}
"""By the format of a bundle, the name of its network's file."""
EXPORT = "export"
"""The directory of a run in which its bundles lie, each under the name of its format."""
SEAL = b"limbeck-sha256:" + b"0" * 64
"""In a file of a network whose own checksum is still to be written."""
MOST_VALUES, _MOST_AXES = 2**26, 8
"""Of an example, stored or seen: a description that asks for more would fill the memory."""
_SEALED = re.compile(rb"limbeck-sha256:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a delivered student takes and gives: JSON inside its file and in config.json beside it.

    Args:
        classes: their names, by place in the logits.
        inputs: what an example is, by `kind`: images (`levels`, the stored value of white, or None where stored values
            are no pixels from 0 to white), rows (`columns`, `delimiter`, `missing`, as the source rows has them),
            texts, or numbers.
        input_shape: of one example as stored.
        input_dtype: of stored inputs, uint8 or float32.
        preprocess: from stored inputs to what the network takes: the fields of `limbeck.data.Preprocess`, or those of
            `Encode`, which have a `kind`.
        network_shape: of one example as the network takes it, float32.
        teacher: what it learnt from, in words.
        licence: of the student, as its maker states it; None where nothing was stated.
        student: sha256 of the weights of the student that the file stands for.
        limbeck: the version that made the file.
    """

    classes: tuple[str, ...]
    inputs: Mapping[str, Any]
    input_shape: tuple[int, ...]
    input_dtype: str
    preprocess: Mapping[str, Any]
    network_shape: tuple[int, ...]
    teacher: str
    licence: str | None
    student: str
    limbeck: str
    format: int = 1

    def tree(self) -> dict[str, Any]:
        """Plain JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def metadata(self) -> dict[str, str]:
        """For the file of the network: each field as JSON text, and room for a seal."""
        return {
            **{name: json.dumps(value, ensure_ascii=False) for name, value in self.tree().items()},
            "seal": SEAL.decode(),
        }


@dataclass(frozen=True)
class Golden:
    """Real examples by which a bundle is held to what it answered when it was made.

    Args:
        inputs: [N, ...] as stored.
        seen: [N, ...] float32, as the network is shown them.
        logits: [N, C] float32, what the file answered.
    """

    inputs: NDArray[Any]
    seen: NDArray[np.float32]
    logits: NDArray[np.float32]

    def encode(self) -> bytes:
        """As the bytes of golden.npz."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **vars(self))
        return buffer.getvalue()


@dataclass(frozen=True)
class Bundle:
    """A whole and undamaged bundle.

    Args:
        directory: where it lies.
        kind: its format, a key of `MODEL_FILES`.
        description: what its network takes and gives.
        golden: what it must answer.
        config: all that config.json says.
    """

    directory: Path
    kind: str
    description: Description
    golden: Golden
    config: Mapping[str, Any]

    @property
    def model(self) -> Path:
        """The file of the network."""
        return self.directory / MODEL_FILES[self.kind]


def bundles_of(run: Path) -> list[Path]:
    """Where the bundles of a run lie, by name; one that was never finished is none."""
    return sorted(path.parent for path in (run / EXPORT).glob(f"*/{MANIFEST}"))


def read_bundle(directory: Path) -> Bundle:
    """The bundle in a directory, every file of it held against its checksum.

    Raises:
        DataError: no bundle, one that was never finished, damaged, or of a newer format.
    """
    if not (directory / CONFIG).is_file() or not (directory / MANIFEST).is_file():
        raise DataError(
            f"{directory} holds no bundle",
            expected=f"a directory that limbeck export made, with {CONFIG} and {MANIFEST}",
            do="check the path: it is runs/NAME/export/onnx or the like; limbeck export makes it",
        )
    verify(directory)
    config = read_json(directory / CONFIG)
    try:
        check_format(config, directory / CONFIG)
        kind = config["kind"]
        if kind not in MODEL_FILES:
            raise ValueError(f"kind {kind!r}")
        bundle = Bundle(directory, kind, described(config["description"]), _golden(directory / GOLDEN), config)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{directory / CONFIG} lacks or mistypes a field: {error}",
            expected="a bundle as limbeck export writes it",
            do="export the student again",
        ) from None
    if read_json(directory / LABELS) != {str(place): name for place, name in enumerate(bundle.description.classes)}:
        raise DataError(
            f"{directory / LABELS} names other classes than {CONFIG}",
            expected="a bundle as limbeck export writes it",
            do="export the student again",
        )
    return bundle


def described(tree: Mapping[str, Any]) -> Description:
    """The description in plain JSON.

    Raises:
        KeyError, TypeError, ValueError: fields that are missing, of another type, or of a newer format.
    """
    values = {field.name: tree[field.name] for field in fields(Description)}
    if values["format"] != FORMAT:
        raise ValueError(f"description of format {values['format']!r}")
    for name, kind in (("classes", str), ("input_shape", int), ("network_shape", int)):
        if not _is_list(values[name], kind) or not values[name]:
            raise TypeError(name)
        values[name] = tuple(values[name])
    for name in ("teacher", "student", "limbeck"):
        if not isinstance(values[name], str):
            raise TypeError(name)
    if not isinstance(values["licence"], str | None):
        raise TypeError("licence")
    if values["input_dtype"] not in ("uint8", "float32"):
        raise ValueError("input_dtype")
    for name in ("input_shape", "network_shape"):
        if len(values[name]) > _MOST_AXES or min(values[name]) < 1 or math.prod(values[name]) > MOST_VALUES:
            raise ValueError(name)
    _check_inputs(values["inputs"], values["preprocess"], values["input_shape"])
    return Description(**values)


def described_in(metadata: Mapping[str, str]) -> Description:
    """The description in the metadata of a file, whatever else is in them.

    Raises:
        KeyError, TypeError, ValueError: see `described`, or no JSON.
    """
    try:
        return described({field.name: json.loads(metadata[field.name]) for field in fields(Description)})
    except RecursionError:
        raise ValueError("values within values without end") from None


def _check_inputs(inputs: Any, preprocess: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(inputs, Mapping) or not isinstance(preprocess, Mapping):
        raise TypeError("inputs or preprocess")
    match inputs["kind"]:
        case "images":
            levels = inputs["levels"]
            fits = len(shape) == 3 and shape[0] in (1, 3) and (levels is None or _is_level(levels))
        case "rows":
            fits = _is_list(preprocess["columns"], dict) and shape == (len(preprocess["columns"]),)
            fits = fits and "delimiter" in inputs and _is_table(inputs)
        case "texts":
            fits = len(shape) == 1 and isinstance(inputs.get("column"), str | None) and _is_table(inputs)
        case kind:
            fits = kind == "numbers"
    if not fits:
        raise ValueError(f"inputs of the kind {inputs['kind']!r}")


def _is_level(value: Any) -> bool:
    return type(value) in (int, float) and 1e-30 < value < 1e30


def _is_table(inputs: Mapping[str, Any]) -> bool:
    """Whether the table that examples are in is told in the right types, where it is told."""
    delimiter, columns = inputs.get("delimiter", ","), inputs.get("columns")
    one = isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '\r\n"'
    return one and _is_list(inputs.get("missing", []), str) and (columns is None or _is_list(columns, str))


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list | tuple) and all(type(each) is kind for each in value)


def _golden(path: Path) -> Golden:
    arrays = read_npz(path, "the golden batch of a bundle")
    return Golden(**{field.name: arrays[field.name] for field in fields(Golden)})


# --- a file of a network alone ----------------------------------------------------------------------------------------


def sealed_file(data: bytes) -> bytes:
    """A file that holds a description's metadata, with the checksum of its bytes in the place of `SEAL`.

    It keeps its length, so that what counts bytes in it stays true. A zip archive has checksums of its own and stays
    as it is.
    """
    if data.startswith(b"PK"):
        return data
    if len(_SEALED.findall(data)) != 1 or SEAL not in data:
        raise ValueError("the file has no place, or more than one, for its seal")
    return data.replace(SEAL, SEAL[:-64] + hashlib.sha256(data).hexdigest().encode())


def check_seal(data: bytes, path: Path) -> None:
    """Hold the bytes of a file against the checksum that is among them.

    Raises:
        DataError: there is none, or the file is not as it was sealed.
    """
    found = _SEALED.findall(data)
    if len(found) == 1 and found[0] != SEAL and sealed_file(data.replace(found[0], SEAL)) == data:
        return
    came = "is damaged: it does not match its own checksum" if found else "was not made by limbeck: it has no seal"
    raise DataError(
        f"{path} {came}",
        expected="the model.onnx of a bundle, as limbeck export wrote it",
        do="copy it again from where it was made, or export the student again",
    )
