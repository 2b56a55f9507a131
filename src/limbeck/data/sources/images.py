"""Folders of image files, one folder a class."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from limbeck.data.examples import Examples, key_examples
from limbeck.data.preprocess import Preprocess
from limbeck.data.sources.base import Splits, check_share, existing, own_splits
from limbeck.decoding import SUFFIXES, Colour, decode_all
from limbeck.errors import DataError, name_some

_LAYOUT = "FOLDER/train/CLASS/*.png and FOLDER/test/CLASS/*.png (or val/), or FOLDER/CLASS/*.png alone"
_LITTER = ("thumbs.db", "desktop.ini")  # left by file managers, as .DS_Store, whose name begins with a dot


@dataclass(frozen=True, kw_only=True)
class Images:
    """A folder of images. The key of an image is that of its decoded and resized pixels, not of its file.

    Args:
        path: the folder: `train/CLASS/*` and `test/CLASS/*` (or `val`), or `CLASS/*`.
        size: height and width that every image is stretched to (one number for both); None if all are of one
            size.
        colour: three channels or one. Transparency is dropped.
        test_share: the share held out for the test when the folder has no test set.

    Raises:
        ValueError: a size that is not positive, test_share outside (0, 1).
    """

    source: Literal["images"] = "images"
    path: str
    size: int | tuple[int, int] | None = None
    colour: Colour = "rgb"
    test_share: float = 0.2

    def __post_init__(self) -> None:
        check_share(self.test_share)
        if self._height_width is not None and min(self._height_width) < 1:
            raise ValueError(f"size must be at least 1 pixel, not {self.size}")

    @property
    def _height_width(self) -> tuple[int, int] | None:
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def load(self) -> Splits:
        """Inputs [N, C, H, W] uint8."""
        folder = existing(self.path, folder=True, expected=_LAYOUT)
        preprocess = Preprocess(scale=255.0)
        if not (folder / "train").is_dir():
            return own_splits(self._read(folder, _class_names(folder)), preprocess, self.test_share)
        train = folder / "train"
        test = next((folder / name for name in ("test", "val") if (folder / name).is_dir()), None)
        if test is None:
            raise DataError(
                f"{folder} has a folder train, but neither test nor val",
                expected=_LAYOUT,
                do="add the test images, or set `path` to the folder train, and a part is held out",
            )
        classes = _class_names(train)
        if set(classes) != set(_class_names(test)):
            unlike = sorted(set(classes) ^ set(_class_names(test)))
            raise DataError(
                f"{len(unlike)} class folders are in only one of {train} and {test}: {name_some(unlike)}",
                expected="the same class folders in both",
                do="add or remove these folders",
            )
        return Splits(self._read(train, classes), self._read(test, classes), preprocess, official=True)

    def _read(self, folder: Path, classes: tuple[str, ...]) -> Examples:
        files = [_image_files(folder / name) for name in classes]
        labels = torch.arange(len(classes)).repeat_interleave(torch.tensor([len(some) for some in files]))
        paths = [path for some in files for path in some]
        pixels = torch.from_numpy(decode_all(paths, self._height_width, self.colour))
        return key_examples(pixels, labels, classes)


def _class_names(folder: Path) -> tuple[str, ...]:
    """The sorted names of the class folders; beside them a README may be, but no images."""
    entries = _visible(folder)
    stray = [entry.name for entry in entries if entry.is_file() and entry.suffix.lower() in SUFFIXES]
    names = tuple(entry.name for entry in entries if entry.is_dir())
    if stray or len(names) < 2:
        raise DataError(
            f"{folder} has {len(names)} class folders, and {len(stray)} images in none of them"
            + (f": {name_some(stray)}" if stray else ""),
            expected=f"at least two class folders and no images beside them: {_LAYOUT}",
            do="move each image into the folder of its class, or correct `path`",
        )
    return names


def _image_files(folder: Path) -> list[Path]:
    """The images of one class, sorted by name."""
    entries = _visible(folder)
    unknown = [entry.name for entry in entries if not entry.is_file() or entry.suffix.lower() not in SUFFIXES]
    if unknown or not entries:
        raise DataError(
            f"{folder} holds {name_some(unknown)}" if unknown else f"{folder} is empty",
            expected=f"images and nothing else: {', '.join(sorted(SUFFIXES))}",
            do="convert or remove these files" if unknown else "add images, or remove the folder",
        )
    return entries


def _visible(folder: Path) -> list[Path]:
    return sorted(
        entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name.lower() not in _LITTER
    )
