"""Texts as a sequence classifier of the Hugging Face hub reads them.

Dimension key: N examples, T tokens.
"""

import logging
from dataclasses import InitVar, dataclass
from typing import Any

import torch
from torch import Tensor

from limbeck.data import Examples, Preprocess, texts_of
from limbeck.errors import DataError
from limbeck.extras import package
from limbeck.files import describe
from limbeck.teachers.hub_folder import MOST_TOKENS, TOKENS, HubFolder

_log = logging.getLogger(__name__)
_UNLIMITED = 10**6
"""Tokens: tokenizers without a limit declare one beyond this."""
_COUNTED = 1024
_BESIDE = 8
"""Tokens of a text that stand for none of its bytes: those that begin and end it."""


@dataclass(frozen=True, kw_only=True)
class Tokens(Preprocess):
    """From stored texts, UTF-8 bytes [N, L] filled up with zeros, to tokens.

    Args:
        sha256: of the tokenizer's file.
        padding: the token that shorter texts of a batch are filled up with.
        most: tokens of a text; what is longer is cut. None cuts nothing.
        reader: the tokenizer.
    """

    sha256: str
    padding: int
    most: int | None
    reader: InitVar[Any]

    def __post_init__(self, reader: Any) -> None:
        super().__post_init__()
        # No field: whatever has this checksum reads alike.
        object.__setattr__(self, "_reader", reader)

    def __call__(self, inputs: Any) -> Tensor:
        """Whole numbers [N, 3, T]: tokens, which of them are no filling, which text of a pair they are of."""
        read = self._read(inputs, self.most)
        rows = torch.tensor([[each.ids, each.attention_mask, each.type_ids] for each in read]).view(len(read), 3, -1)
        if not rows.shape[2]:
            rows = torch.tensor([[self.padding], [0], [0]]).repeat(len(read), 1, 1)
        # A text without any token is one of filling, and seen: attention to nothing at all is not a number.
        rows[rows[:, 1].sum(dim=1) == 0, 1, 0] = 1
        return rows.to(inputs.device)

    def count_cut(self, examples: Examples) -> None:
        """Say once in the log how many texts of the data are cut."""
        if self.most is None:
            return
        # A token is a byte at least.
        long = ((examples.inputs != 0).sum(dim=1) > self.most - _BESIDE).nonzero()[:, 0]
        parts = [self._read(examples.inputs[rows], None) for rows in long.split(_COUNTED) if len(rows)]
        cut = sum(sum(each.attention_mask) > self.most for part in parts for each in part)
        if cut:
            _log.warning("%s of %s texts are longer than the teacher's %s tokens: cut", cut, len(examples), self.most)

    def _read(self, inputs: Tensor, most: int | None) -> list[Any]:
        reader: Any = self.__dict__["_reader"]
        reader.enable_padding(pad_id=self.padding)
        if most is None:
            reader.no_truncation()
        else:
            reader.enable_truncation(most)
        read: list[Any] = reader.encode_batch(_texts(inputs))
        return read


def tokens_of(folder: HubFolder, positions: int | None, padding: int | None) -> Tokens:
    """How a model's folder reads texts: `tokenizer.json` alone decides.

    Args:
        folder: of the model.
        positions: how many tokens the network can take; None if it says nothing.
        padding: the token that fills up, if the network's settings name one.

    Raises:
        DataError: no such file, one that the library cannot read, or no token to fill up with.
    """
    settings = folder.settings("tokenizer_config.json")
    if not (folder.path / TOKENS).exists():
        raise DataError(
            f"{folder.path} has no {TOKENS}",
            expected="a tokenizer in the format of the tokenizers library",
            do="load it once by AutoTokenizer.from_pretrained of transformers and write it by save_pretrained",
        )
    path = folder.file(TOKENS, MOST_TOKENS)
    try:
        reader = package("tokenizers", "hf").Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more special
        raise DataError(
            f"{path} cannot be read by the tokenizers library ({str(error)[:200]})",
            expected="a tokenizer as save_pretrained of transformers writes it",
            do="download it again, or write it anew by a transformers of this age",
        ) from None
    name = settings.get("pad_token")
    name = name.get("content") if isinstance(name, dict) else name
    found = reader.token_to_id(name) if isinstance(name, str) else padding
    if not isinstance(found, int):
        raise DataError(
            f"{folder.path} names no padding token",
            expected="pad_token in tokenizer_config.json, or pad_token_id in config.json, as it was trained with",
            do="set it, as in the code that trained the model: texts of a batch are filled up with it",
        )
    limits = [each for each in (positions, settings.get("model_max_length")) if isinstance(each, int | float)]
    most = min((int(each) for each in limits if 0 < each < _UNLIMITED), default=None)
    return Tokens(sha256=describe(path)["sha256"], padding=found, most=most, reader=reader)


def _texts(inputs: Tensor) -> list[str]:
    """The texts in stored bytes [N, L]; what is no UTF-8 becomes the replacement character.

    Raises:
        DataError: no bytes [N, L].
    """
    if inputs.ndim != 2 or inputs.dtype != torch.uint8:
        raise DataError(
            f"a text classifier was given examples of shape {tuple(inputs.shape[1:])}, {inputs.dtype}",
            expected="texts, stored as UTF-8 bytes (uint8) of shape [length]",
            do="take a source of texts, or another kind of teacher",
        )
    return texts_of(inputs)
