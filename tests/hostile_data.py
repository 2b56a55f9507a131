"""Data, recipes and saved models that a stranger might send, and paths that a recipe might name; see `hostile`."""

import gzip
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hostile import Canary, code
from limbeck.data import Preprocess
from limbeck.data.sources import Idx, Images, Npz
from limbeck.files import FORMAT, MANIFEST, describe, sealed, write_json
from limbeck.models import Mlp, initialise
from limbeck.recipe_text import read_yaml
from limbeck.teachers import SavedModel, load_model, save_model

Case = tuple[Callable[[], Any], str]
"""What opens the file, and words of its refusal."""
Builder = Callable[[Path], Case]
CASES: dict[str, Builder] = {}

SECRET = "/etc/passwd"
BOMB = 300 * 2**20


def case(build: Builder) -> Builder:
    CASES[build.__name__] = build
    return build


def cases(prefix: str, many: dict[str, Any], build: Callable[[Path, Any], Case]) -> None:
    for name, given in many.items():
        CASES[f"{prefix}: {name}"] = lambda folder, given=given: build(folder, given)


@cache
def zeros(count: int, wbits: int) -> bytes:
    """So many zeros, deflated."""
    pack, megabyte = zlib.compressobj(1, zlib.DEFLATED, wbits), bytes(2**20)
    return b"".join(pack.compress(megabyte) for _ in range(count >> 20)) + pack.flush()


# --- npz -------------------------------------------------------------------------------------------------------------


def npy(array: Any, **options: Any) -> bytes:
    file = BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def npy_header(text: str) -> bytes:
    header = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def npz(folder: Path, **members: bytes) -> Callable[[], Any]:
    path = folder / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {
            "x": npy(np.arange(120.0).reshape(30, 4)),
            "y": npy(np.arange(30) % 3),
            **members,
        }.items():
            archive.writestr(f"{name}.npy", content)
    return Npz(path=str(path)).load


def npz_of(folder: Path, content: bytes) -> Callable[[], Any]:
    (folder / "x.npz").write_bytes(content)
    return Npz(path=str(folder / "x.npz")).load


@case
def npz_with_objects(folder: Path) -> Case:
    return npz(folder, x=npy(np.array([Canary(folder)] * 9), allow_pickle=True)), "Object arrays cannot be loaded"


@case
def npz_with_objects_for_names(folder: Path) -> Case:
    return npz(folder, classes=npy(np.array([Canary(folder)] * 3), allow_pickle=True)), "Object arrays cannot be load"


@case
def npz_whose_array_is_a_pickle(folder: Path) -> Case:
    return npz(folder, x=pickle.dumps(Canary(folder))), "not as numpy writes"


@case
def npz_that_is_a_pickle(folder: Path) -> Case:
    return npz_of(folder, pickle.dumps(Canary(folder))), "cannot be read"


@case
def npz_that_is_a_torch_file(folder: Path) -> Case:
    file = BytesIO()
    torch.save({"x": Canary(folder)}, file)
    return npz_of(folder, file.getvalue()), "not as numpy writes"


@case
def npz_whose_header_is_code(folder: Path) -> Case:
    return npz(folder, x=npy_header(f"{{'descr': {code(folder)}, 'shape': (9, 4)}}")), "cannot be read"


@case
def npz_whose_header_is_long(folder: Path) -> Case:
    header = b"(" * 60_000 + b"\n"
    return npz(folder, x=b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header), "cannot be read"


@case
def npz_whose_header_is_nested(folder: Path) -> Case:
    header = b"{'descr': " + b"(" * 8_000 + b"\n"
    return npz(folder, x=b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header), "cannot be read"


def huge(shape: str) -> bytes:
    return npy_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape},), }}")


cases(
    "npz that declares",
    {
        "a terabyte": "2, 137438953472",
        "more than there can be": "4294967296, 4294967296, 16",
        "less than none": "-9, 4",
    },
    lambda folder, shape: (npz(folder, x=huge(shape)), "cannot be read"),
)


@case
def npz_that_is_a_bomb(folder: Path) -> Case:
    head = huge(f"9, {BOMB // 36}")
    path = folder / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("x.npy", "w") as member:
            member.write(head)
            for _ in range(BOMB >> 20):
                member.write(bytes(2**20))
        archive.writestr("y.npy", npy(np.arange(9) % 3))
    return Npz(path=str(path)).load, "unpacks to"


@case
def npz_that_names_files_up_the_tree(folder: Path) -> Case:
    path = folder / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../canary.npy", npy(np.zeros(3)))
        archive.writestr("/etc/canary.npy", npy(np.zeros(3)))
    return Npz(path=str(path)).load, "lacks x, y"


# --- idx -------------------------------------------------------------------------------------------------------------


def idx(shape: tuple[int, ...], values: bytes = b"") -> bytes:
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + values


def idx_folder(folder: Path, name: str = "", content: bytes = b"", fill: Callable[[Path], Any] | None = None) -> Any:
    good = {"images-idx3": idx((9, 2, 2), bytes(range(36))), "labels-idx1": idx((9,), bytes([0, 1, 2] * 3))}
    for side in ("train", "t10k"):
        for kind, values in good.items():
            (folder / f"{side}-{kind}-ubyte").write_bytes(values)
    if name:
        (folder / "train-images-idx3-ubyte").unlink()
        path = folder / f"train-images-idx3-ubyte{name}"
        fill(path) if fill else path.write_bytes(content)
    return Idx(path=str(folder)).load


@case
def idx_that_is_a_bomb(folder: Path) -> Case:
    head = idx((BOMB // 10_000, 100, 100))
    content = gzip.compress(head) + zeros(BOMB, 31)
    return idx_folder(folder, ".gz", content), "unpacks to"


cases(
    "idx that declares",
    {
        "a terabyte": (idx((2**20, 2**10, 2**10), bytes(99)), "99 bytes for an array"),
        "more than there can be": (idx((2**32 - 1,) * 3, bytes(99)), "99 bytes for an array"),
        "two hundred dimensions": (idx((1,) * 200, b"x"), "begins with the bytes"),
        "nothing": (idx((0, 2**31, 2**31)), "labels"),
    },
    lambda folder, given: (idx_folder(folder, "", b"", None) and _idx_plain(folder, given[0]), given[1]),
)


def _idx_plain(folder: Path, content: bytes) -> Any:
    (folder / "train-images-idx3-ubyte").write_bytes(content)
    return Idx(path=str(folder)).load


@case
def idx_that_is_a_pickle(folder: Path) -> Case:
    idx_folder(folder)
    return _idx_plain(folder, pickle.dumps(Canary(folder))), "begins with the bytes 80 0"


@case
def idx_that_is_a_pickle_in_gzip(folder: Path) -> Case:
    return idx_folder(folder, ".gz", gzip.compress(pickle.dumps(Canary(folder)))), "begins with the bytes 80 0"


@case
def idx_that_is_a_pipe(folder: Path) -> Case:
    return idx_folder(folder, ".gz", fill=os.mkfifo), "has no file"


@case
def idx_that_never_ends(folder: Path) -> Case:
    return idx_folder(folder, ".gz", fill=lambda path: path.symlink_to("/dev/zero")), "has no file"


@case
def idx_that_is_a_file_of_the_system(folder: Path) -> Case:
    return idx_folder(folder, ".gz", fill=lambda path: path.symlink_to(SECRET)), "cannot be decompressed"


# --- images ----------------------------------------------------------------------------------------------------------


def picture(path: Path, kind: str = "PNG", size: tuple[int, int] = (8, 8), **options: Any) -> None:
    Image.new("1" if kind == "PNG" else "L", size).save(path, kind, **options)


def pictures(folder: Path, name: str, fill: Callable[[Path], Any]) -> Callable[[], Any]:
    for label in ("cat", "dog"):
        (folder / "pictures" / label).mkdir(parents=True)
        for number in range(10):
            Image.effect_noise((8, 8), 10 + number).save(folder / "pictures" / label / f"{number}.png")
    fill(folder / "pictures" / "cat" / name)
    return Images(path=str(folder / "pictures")).load


def declared(path: Path, width: int, height: int) -> None:
    """A PNG whose header alone says how large it is."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0" * 20
    )


def frames(path: Path) -> None:
    images = [Image.new("L", (8, 8), shade) for shade in range(200)]
    images[0].save(path, "GIF", save_all=True, append_images=images[1:])


def text_bomb(path: Path) -> None:
    """Compressed text that nobody asked for."""
    Image.new("L", (8, 8)).save(path)
    data = path.read_bytes()
    chunk = b"zTXt" + b"k\0\0" + zeros(BOMB, 15)
    at = 33
    path.write_bytes(
        data[:at] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[at:]
    )


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(canary) (w) file closefile\nshowpage\n"
bombs = {
    "of one bit a pixel": ("a.png", lambda path: picture(path, size=(7_900, 7_900)), "pixels in"),
    "of a header alone": ("a.png", lambda path: declared(path, 50_000, 50_000), "a.png"),
    "of no sense": ("a.png", lambda path: declared(path, 2**31 - 1, 2**31 - 1), "a.png"),
    "of text": ("a.png", text_bomb, "a.png"),
    "as gif": ("a.gif", lambda path: picture(path, "GIF", (7_900, 7_900)), "pixels in"),
    "as tiff": ("a.tif", lambda path: picture(path, "TIFF", (7_900, 7_900), compression="tiff_deflate"), "pixels in"),
    "of frames": ("a.gif", frames, "200 frames"),
    "as a pickle": ("a.png", lambda path: path.write_bytes(pickle.dumps(Canary(path.parents[2]))), "a.png"),
    "as postscript": ("a.png", lambda path: path.write_bytes(POSTSCRIPT), "cannot identify"),
    "as a pipe": ("a.png", os.mkfifo, "holds a.png"),
    "as a device": ("a.png", lambda path: path.symlink_to("/dev/zero"), "holds a.png"),
    "as a file of the system": ("a.png", lambda path: path.symlink_to(SECRET), "cannot identify"),
    "as a folder that holds itself": ("a.png", lambda path: path.symlink_to(path.parent), "holds a.png"),
}
cases("image", bombs, lambda folder, given: (pictures(folder, given[0], given[1]), given[2]))


# --- saved models ----------------------------------------------------------------------------------------------------


def saved(folder: Path) -> Path:
    path = folder / "saved"
    model = Mlp(hidden=(4,))
    module = initialise(model, (1, 4, 4), 3, seed=0)
    save_model(path, SavedModel(module, model, (1, 4, 4), ("a", "b", "c"), Preprocess(scale=255.0)))
    return path


def resealed(path: Path, **files: Any) -> None:
    """As a stranger would: the sums fit."""
    entries = {p.name: describe(p) for p in path.iterdir() if p.name != MANIFEST and p.is_file()}
    write_json(path / MANIFEST, sealed({"format": FORMAT, "files": {**entries, **files}}))


def with_config(folder: Path, change: Callable[[Any], Any]) -> Callable[[], Any]:
    path = saved(folder)
    config = json.loads((path / "config.json").read_bytes())
    change(config)
    (path / "config.json").write_text(json.dumps(config))
    resealed(path)
    return lambda: load_model(path)


def with_file(folder: Path, name: str, fill: Callable[[Path], Any], *, sums: bool = True) -> Callable[[], Any]:
    path = saved(folder)
    (path / name).unlink()
    fill(path / name)
    if sums:
        resealed(path)
    return lambda: load_model(path)


def with_entry(folder: Path, name: str) -> Callable[[], Any]:
    path = saved(folder)
    resealed(path, **{name: {"bytes": 1, "sha256": "0" * 64}})
    return lambda: load_model(path)


cases(
    "manifest that names",
    {"a file up the tree": "../../../../../.." + SECRET, "a file of the system": SECRET, "a device": "/dev/zero"},
    lambda folder, name: (with_entry(folder, name), "names the file"),
)
cases(
    "manifest",
    {
        "without files": {"format": FORMAT},
        "with files that are none": {"format": FORMAT, "files": [1]},
        "with a file without sums": {"format": FORMAT, "files": {"config.json": None}},
    },
    lambda folder, body: (
        with_file(folder, MANIFEST, lambda path: write_json(path, sealed(body)), sums=False),
        MANIFEST,
    ),
)
configs = {
    "of a hidden width of a billion": lambda c: c["model"].update(hidden=[10**9, 10**9]),
    "of a thousand layers": lambda c: c["model"].update(hidden=[2**14] * 1000),
    "of endless inputs": lambda c: c.update(input_shape=[2**40]),
    "of more inputs than numbers": lambda c: c.update(input_shape=[2**62, 2**62]),
    "of inputs less than none": lambda c: c.update(input_shape=[-1, 4, 4]),
    "of inputs that are words": lambda c: c.update(input_shape=["a"]),
    "of an unknown model": lambda c: c.update(model={"name": "__import__"}),
    "of a model that is a path": lambda c: c.update(model={"name": "../../x"}),
    "of a mistyped scale": lambda c: c["preprocess"].update(scale="__import__('os')"),
    "of a preprocess that is a list": lambda c: c.update(preprocess=[]),
    "of classes that are none": lambda c: c.update(classes=[]),
    "of a model that is a number": lambda c: c.update(model=7),
    "of a convolution of a billion": lambda c: c.update(model={"name": "convnet", "channels": [2**30, 2**30]}),
}
cases("config", configs, lambda folder, change: (with_config(folder, change), "cannot be loaded"))
saved_files = {
    "weights that are a pickle": ("model.safetensors", lambda p: p.write_bytes(pickle.dumps(Canary(p.parents[1]))), 1),
    "weights of a torch file": ("model.safetensors", lambda p: torch.save(Canary(p.parents[1]), p), 1),
    "weights that are a pipe": ("model.safetensors", os.mkfifo, 0),
    "weights that never end": ("model.safetensors", lambda p: p.symlink_to("/dev/zero"), 0),
    "weights whose header is a bomb": (
        "model.safetensors",
        lambda p: p.write_bytes(struct.pack("<Q", 40 * 2**20) + b'{"__metadata__":{' + b" " * (40 * 2**20 - 17)),
        1,
    ),
    "a manifest that is a pipe": (MANIFEST, os.mkfifo, 0),
    "a manifest that never ends": (MANIFEST, lambda p: p.symlink_to("/dev/zero"), 0),
    "a manifest that is large": (MANIFEST, lambda p: p.write_bytes(b"[" + b"[]," * 12_000_000 + b"0]"), 0),
    "a manifest that is nested": (MANIFEST, lambda p: p.write_bytes(b"[" * 100_000), 0),
    "a manifest that is a pickle": (MANIFEST, lambda p: p.write_bytes(pickle.dumps(Canary(p.parents[1]))), 0),
    "a config that is nested": ("config.json", lambda p: p.write_bytes(b"[" * 100_000), 1),
    "a config that is a list": ("config.json", lambda p: p.write_bytes(b"[]"), 1),
}
cases("folder with", saved_files, lambda folder, f: (with_file(folder, f[0], f[1], sums=bool(f[2])), f[0]))


# --- recipes ---------------------------------------------------------------------------------------------------------

LAUGHS = "a: &a [x, x]\n" + "\n".join(f"{b}: &{b} [*{a}, *{a}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
recipes = {
    "an object": ("a: !!python/object/apply:os.mkdir [canary]", "the tag"),
    "a name of Python": ("a: !!python/name:os.system", "the tag"),
    "a module": ("a: !!python/module:os", "the tag"),
    "a tag of its own": ("%TAG ! tag:yaml.org,2002:python/\n---\na: !object/apply:os.mkdir [canary]", "the tag"),
    "a tag of a string": ("a: !<tag:yaml.org,2002:python/object/new:os.mkdir> [canary]", "the tag"),
    "binary": ("a: !!binary gASVAAAA", "the tag"),
    "an include": (f"a: !include {SECRET}", "the tag"),
    "an alias": ("a: &x [1]\nb: *x", "an anchor or alias"),
    "a merge": ("a: &x {b: 1}\nc: {<<: *x}", "an anchor or alias"),
    "a billion laughs": (LAUGHS, "an anchor or alias"),
    "an alias of itself": ("&a [*a]", "an anchor or alias"),
    "nested lists": ("[" * 5_000, "nesting deeper"),
    "nested mappings": ("{a: " * 5_000, "nesting deeper"),
    "nested blocks": ("\n".join(" " * n + "a:" for n in range(300)), "nesting deeper"),
    "keys twice": ("a: 1\na: 2", "duplicate key"),
    "ten megabytes": ("#" * (10 * 2**20), "is larger than"),
    "another version": ("%YAML 1.1\n---\na: no", "a % directive"),
    "nothing but zeros": ("\0" * 1000, "special characters"),
    "two documents": ("a: 1\n---\na: 2", "plain YAML"),
    "half a surrogate": (b"a: \xed\xa0\x80", "not UTF-8"),
}


def recipe(folder: Path, given: tuple[str | bytes, str]) -> Case:
    path = folder / "r.yaml"
    path.write_bytes(given[0].encode() if isinstance(given[0], str) else given[0])
    return lambda: read_yaml(path), given[1]


cases("recipe with", recipes, recipe)


@case
def recipe_that_is_a_pickle(folder: Path) -> Case:
    (folder / "r.yaml").write_bytes(pickle.dumps(Canary(folder)))
    return lambda: read_yaml(folder / "r.yaml"), "r.yaml"


@case
def recipe_that_never_ends(folder: Path) -> Case:
    (folder / "r.yaml").symlink_to("/dev/zero")
    return lambda: read_yaml(folder / "r.yaml"), "is larger than"


# --- fuzz ------------------------------------------------------------------------------------------------------------


def good_ones(folder: Path) -> Iterator[tuple[str, Path, Callable[[], Any]]]:
    """Files that are in order: what to call each, itself, and what opens it."""
    for name in ("idx", "gz", "npz", "png", "gif", "saved", "yaml"):
        (folder / name).mkdir()
    yield "idx", folder / "idx" / "train-images-idx3-ubyte", idx_folder(folder / "idx")
    packed = gzip.compress(idx((9, 2, 2), bytes(range(36))))
    yield "gz", folder / "gz" / "train-images-idx3-ubyte.gz", idx_folder(folder / "gz", ".gz", packed)
    yield "npz", folder / "npz" / "x.npz", npz(folder / "npz")
    for kind in ("png", "gif"):
        name = f"a.{kind}"
        opener = pictures(folder / kind, name, lambda path: Image.effect_noise((8, 8), 50).save(path))
        yield kind, folder / kind / "pictures" / "cat" / name, opener
    path = saved(folder / "saved")
    for name in (MANIFEST, "config.json", "model.safetensors"):
        yield name, path / name, lambda: load_model(path)
    text = b"data: {source: digits}\nstudent: {model: {name: mlp, hidden: [4, 5]}}\nfit: {lr: 1e-3}\n"
    (folder / "yaml" / "r.yaml").write_bytes(text)
    yield "yaml", folder / "yaml" / "r.yaml", lambda: read_yaml(folder / "yaml" / "r.yaml")
