"""A folder in the form of the Hugging Face hub, made by a stranger: looked at before any library opens it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limbeck.errors import DataError
from limbeck.foreign import foreign_file
from limbeck.teachers.weights import MOST_BYTES, check_header

CONFIG, IMAGES, TOKENS = "config.json", "preprocessor_config.json", "tokenizer.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
FETCHED = (CONFIG, IMAGES, TOKENS, "tokenizer_config.json", WEIGHTS, INDEX, "model-*.safetensors")
"""What of a repository is fetched: nothing else in it is ever looked at."""

MOST_SETTINGS, MOST_TOKENS = 8 * 2**20, 64 * 2**20
"""Bytes of a file of settings, and of a tokenizer."""

_CODE = re.compile(
    r"auto_map|trust_remote_code|custom_pipelines|quantization_config|_experts_implementation|use_kernels|kernel_config"
)
_ATTENTION = re.compile(r"attn_implementation")
_PLAIN_ATTENTION = (None, "eager", "sdpa")
_MOST_OF = ((re.compile(r"labels?$"), 2**17), (re.compile(r"(layers?|depths?|stages|blocks|experts)$"), 4096))
"""What a network has many of -> how many: each takes memory before any weight is read."""
_MOST_NUMBER = 2**31
_SHARD = re.compile(r"[\w-]+(\.[\w-]+)*\.safetensors", re.ASCII)


class HubFolder:
    """The files of a model that are read, each an ordinary file in its place, and none that asks for code.

    Args:
        path: of the folder.

    Raises:
        DataError: no such folder, files that are too large, lie elsewhere or cannot be read, settings that name code,
            weights that are pickles or an adapter's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir():
            raise DataError(
                f"{path} is no folder",
                expected=f"a folder with {CONFIG} and {WEIGHTS}, as save_pretrained writes it",
                do="check the path, or fetch a repository of the hub by `name` and `revision`",
            )
        # In the cache of the hub a snapshot's files are links to blobs beside it.
        self._root = (path.parents[1] if path.absolute().parent.name == "snapshots" else path).resolve()
        self.config = self.settings(CONFIG)
        self._refuse_bombs()
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            if (path / name).exists():
                raise DataError(
                    f"{path} holds an adapter, {name}",
                    expected="the weights of a whole model",
                    do="merge it into its model, by merge_and_unload() of peft, and save that",
                )
        self.weights = self._weights()
        for file in self.weights:
            check_header(file, foreign_file(file, what="a safetensors file", most=MOST_BYTES))

    def settings(self, name: str) -> dict[str, Any]:
        """The JSON object in a small file, {} where there is no such file but for the config."""
        if name != CONFIG and not (self.path / name).exists():
            return {}
        file = self.file(name, MOST_SETTINGS)
        try:
            value = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise self._unfit(name, f"is no readable JSON ({error})", "download it again") from None
        if not isinstance(value, dict):
            raise self._unfit(name, f"holds one {type(value).__name__}", "download it again")
        self._refuse_code(name, value)
        return value

    def file(self, name: str, most: int) -> Path:
        """An ordinary file of the folder, of at most so many bytes."""
        file = self.path / name
        foreign_file(file, what=f"the {name} of a model in the form of the hub", most=most)
        if not file.resolve().is_relative_to(self._root):
            raise self._unfit(name, f"is a link out of the folder, to {file.resolve()}", "put the file itself there")
        return file

    def _refuse_code(self, name: str, value: dict[str, Any]) -> None:
        for key, inner in _pairs(value):
            if _CODE.search(key) and inner not in (None, False):
                do = "take a model whose code is part of transformers, in plain precision"
                raise self._unfit(name, f"has {key}, which would have further code fetched and run", do)
            if _ATTENTION.search(key) and inner not in _PLAIN_ATTENTION:
                do = f"remove {key} from the file: eager and sdpa are what transformers brings along"
                raise self._unfit(name, f"has {key} {str(inner)[:60]!r}, which would have code fetched and run", do)

    def _refuse_bombs(self) -> None:
        for key, inner in _pairs(self.config):
            most = next((most for name, most in _MOST_OF if name.search(key)), _MOST_NUMBER)
            numbers = [each for each in (inner if isinstance(inner, list) else [inner]) if isinstance(each, int)]
            if any(number > most for number in numbers):
                raise self._unfit(CONFIG, f"has {key} {str(inner)[:60]}, above {most:,}", "download it again")

    def _weights(self) -> list[Path]:
        if (self.path / WEIGHTS).exists():
            return [self.file(WEIGHTS, MOST_BYTES)]
        if not (self.path / INDEX).exists():
            found = sorted(each.name for each in self.path.iterdir() if each.suffix in (".bin", ".pt", ".pth", ".ckpt"))
            came = f"has its weights in {found[0]}, a pickle" if found else f"has no {WEIGHTS}"
            raise DataError(
                f"{self.path} {came}",
                expected="weights in safetensors; limbeck reads no pickles",
                do="if you trust it, load it once by from_pretrained of transformers and write it by save_pretrained",
            )
        shards = self.settings(INDEX).get("weight_map")
        names = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else []
        for name in names:
            if not _SHARD.fullmatch(name):
                raise self._unfit(INDEX, f"names the file {name[:80]!r}", "download it again from its author")
        if not names:
            raise self._unfit(INDEX, "names no files", "download it again")
        return [self.file(name, MOST_BYTES) for name in names]

    def _unfit(self, name: str, why: str, do: str) -> DataError:
        expected = "the files of a classifier as save_pretrained of transformers writes them, and nothing that runs"
        return DataError(f"{self.path / name} {why}", expected=expected, do=do)


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """All keys of a JSON value with what stands there, however deep."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield from each.items()
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
