"""A bundle answers as its student does, or is refused: damaged, changed, or not answering as it did."""

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import limbeck
from bundles import deliver
from limbeck.bundle import CONFIG, GOLDEN, SEAL, Golden, read_bundle, sealed_file
from limbeck.errors import DataError, LimbeckError, RecipeError
from limbeck.files import commit_directory, encode
from limbeck.prediction import Predictor

TRIES = 1000


def again(bundle, place, **changes):
    """A copy of a bundle with other contents, sealed anew as somebody could who means to deceive."""
    contents = {path.name: path.read_bytes() for path in bundle.iterdir() if path.name != "manifest.json"}
    commit_directory(place, contents | {name.replace("_", "."): data for name, data in changes.items()})
    return place


def config_of(bundle, **fields):
    config = json.loads((bundle / CONFIG).read_bytes())
    return encode({**config, "description": {**config["description"], **fields}})


@pytest.mark.parametrize("which", ["bundle", "program"])
def test_a_bundle_answers_as_its_student_does(which, request, pixels, answers):
    predictor = limbeck.load_bundle(request.getfixturevalue(which), threads=1)
    assert predictor.classes == ("ant", "bee", "cow")
    logits = predictor.logits(pixels.numpy())
    np.testing.assert_allclose(logits, answers, atol=1e-4 * np.ptp(answers))
    probabilities = predictor.probabilities(pixels.numpy(), temperature=2.5)
    powers = np.exp(answers.astype(float) / 2.5)
    np.testing.assert_allclose(probabilities, powers / powers.sum(axis=1, keepdims=True), atol=1e-5)


def test_neither_a_bundle_nor_its_file_reads_images_where_the_data_are_no_pixels(network, pixels, preprocess, tmp_path):
    centred = (pixels / 127.5 - 1).float()
    classes, inputs = ("ant", "bee", "cow"), {"kind": "images", "levels": None}
    place = deliver(tmp_path / "onnx", network, centred, preprocess, inputs, classes)
    for path in (place, place / "model.onnx"):
        with pytest.raises(DataError, match="are no pixels from 0 to white"):
            list(limbeck.load_bundle(path).reader().parts([Path("seven.png")]))


def test_the_file_alone_answers_likewise(bundle, tmp_path, pixels, answers):
    alone = shutil.copy(bundle / "model.onnx", tmp_path / "other-name.onnx")
    predictor = limbeck.load_bundle(alone, threads=1)
    np.testing.assert_allclose(predictor.logits(pixels.numpy()), answers, atol=1e-4 * np.ptp(answers))


def test_examples_come_as_batches_alone_and_with_channels_last(bundle, pixels):
    predictor = limbeck.load_bundle(bundle)
    stored = pixels.numpy()
    whole = predictor.logits(stored)
    np.testing.assert_allclose(predictor.logits(stored[3]), whole[3:4], atol=1e-5)
    np.testing.assert_allclose(predictor.logits(stored.transpose(0, 2, 3, 1)), whole, atol=1e-5)
    assert predictor.logits(stored[:0]).shape == (0, 3)
    with pytest.raises(DataError, match=r"inputs has the shape \[32, 3, 5, 6\]\n  expected: \[N, 3, 6, 5\]"):
        predictor.logits(stored.transpose(0, 1, 3, 2))
    with pytest.raises(DataError, match="has the type float32\n  expected: uint8"):
        predictor.logits(stored.astype(np.float32))


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), float("nan"), "2", None, 10**400])
def test_a_temperature_is_a_positive_number(bundle, pixels, temperature):
    with pytest.raises(RecipeError, match="a number above 0"):
        limbeck.load_bundle(bundle).probabilities(pixels.numpy(), temperature)


@pytest.mark.parametrize("temperature", [np.float32(1e-6), 1e-320])
def test_a_cold_temperature_does_not_overflow(bundle, pixels, temperature):
    probabilities = limbeck.load_bundle(bundle).probabilities(pixels.numpy(), temperature)
    assert probabilities.max(axis=1).min() > 0.999


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("preprocess", {"mean": [0.4, 0.5, 0.601]}, "the preprocessing is .* of the range apart"),
        ("preprocess", {"size": [8, 8]}, r"preprocesses to the shape \(3, 8, 8\)"),
        ("preprocess", {"swirl": 1}, "cannot be used"),
        ("preprocess", {"scale": 0}, "cannot be used: scale and std 0"),
        ("preprocess", {"std": [0.2, 0.0, 0.2]}, r"cannot be used: scale and std 0\.0"),
        ("preprocess", {"mean": [0.4, 0.5, 1e60]}, r"cannot be used: mean 1e\+60"),
        ("preprocess", {"mean": [0.4]}, "a mean or std of another length than 3"),
        ("preprocess", {"size": [10**7, 10**7]}, "preprocesses to the shape"),
        ("preprocess", {"size": [10**9, 1]}, "cannot be used: a size of"),
        ("preprocess", {"size": [8]}, "cannot be used: size and channels"),
        ("preprocess", {"channels": 10**9}, "cannot be used: a size or channels"),
        ("preprocess", None, "lacks or mistypes a field: inputs or preprocess"),
        ("input_shape", [3, 10**7, 10**7], "lacks or mistypes a field: input_shape"),
        ("teacher", "another", r"describes another student in config\.json than inside model\.onnx"),
        ("classes", ["ant", "bee", "dog"], r"labels\.json names other classes than config\.json"),
        ("input_shape", [3, 6, 6], "golden examples whose inputs do not fit"),
        ("network_shape", [3, 8, 8], "preprocesses to the shape"),
    ],
)
def test_a_description_of_another_student_is_found_out(bundle, tmp_path, field, value, said):
    before = json.loads((bundle / CONFIG).read_bytes())["description"]
    changed = {**before[field], **value} if isinstance(value, dict) else value
    place = again(bundle, tmp_path / "bundle", config_json=config_of(bundle, **{field: changed}))
    with pytest.raises(DataError, match=said):
        limbeck.load_bundle(place)


def test_golden_examples_that_fit_nothing_are_refused(bundle, tmp_path):
    golden = read_bundle(bundle).golden
    odd = {
        "logits do not fit": {"logits": golden.logits[:, :2]},
        "seen do not fit": {"seen": golden.seen.astype(np.float64)},
        "inputs do not fit": {"inputs": np.uint8(3)},
        "count do not fit": {name: array[:0] for name, array in vars(golden).items()},
        "network gave no finite numbers": {"logits": np.full_like(golden.logits, np.inf)},
    }
    for said, arrays in odd.items():
        place = again(bundle, tmp_path / said, golden_npz=replace(golden, **arrays).encode())
        with pytest.raises(DataError, match=said):
            limbeck.load_bundle(place)


def test_a_network_that_answers_otherwise_is_found_out(bundle, tmp_path):
    golden = read_bundle(bundle).golden
    moved = golden.logits + np.float32(2e-4 * np.ptp(golden.logits))
    place = again(bundle, tmp_path / "bundle", golden_npz=Golden(golden.inputs, golden.seen, moved).encode())
    with pytest.raises(DataError, match=r"the network is 0\.0002 of the range apart"):
        limbeck.load_bundle(place)


def test_answers_that_are_no_numbers_are_refused(bundle):
    good = limbeck.load_bundle(bundle)
    predictor = Predictor(good.description, lambda seen: np.full((len(seen), 3), np.nan, np.float32), bundle)
    with pytest.raises(DataError, match="row 1 of inputs is answered with the logit nan"):
        predictor.probabilities(np.zeros((3, 6, 5), np.uint8))


@pytest.mark.parametrize("inputs", [[[1, 2], [3]], [object()], "text"])
def test_what_is_no_array_of_numbers_is_refused(bundle, inputs):
    with pytest.raises(DataError, match=r"^inputs "):
        limbeck.load_bundle(bundle).probabilities(inputs)


@pytest.mark.parametrize("threads", [0, -3, 1.5, "2", 10**9])
def test_threads_are_a_number_of_them(bundle, threads):
    with pytest.raises(RecipeError, match="a whole number from 1"):
        limbeck.load_bundle(bundle, threads=threads)


def test_hostile_contents_are_refused_in_words(bundle, tmp_path):
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inputs.npy", bytes(80 * 2**20))
    cases = {
        "golden_npz": [b"", b"PK\x03\x04", b"\x80\x04.", bomb.read_bytes(), (bundle / GOLDEN).read_bytes()[:500]],
        "model_onnx": [b"", b"\x08\x01", b"\x80\x04."],
        "config_json": [b"{}", b"[]", b"null", config_of(bundle, inputs=[]), config_of(bundle, format=2)],
    }
    for name, contents in cases.items():
        for number, data in enumerate(contents):
            with pytest.raises(LimbeckError):
                limbeck.load_bundle(again(bundle, tmp_path / f"{name}{number}", **{name: data}))


def rewritten(bundle, path, **metadata):
    """The file of a bundle with other metadata, sealed anew."""
    model = onnx.load(bundle / "model.onnx")
    known = {prop.key: prop.value for prop in model.metadata_props} | {"seal": SEAL.decode()} | metadata
    onnx.helper.set_model_props(model, known)
    path.write_bytes(sealed_file(model.SerializeToString()))
    return path


def test_what_others_write_into_a_file_does_no_harm(bundle, tmp_path, pixels):
    path = rewritten(bundle, tmp_path / "model.onnx", author="somebody")
    expected = limbeck.load_bundle(bundle).logits(pixels.numpy())
    np.testing.assert_allclose(limbeck.load_bundle(path).logits(pixels.numpy()), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"classes": '["a", "b", "c", "d"]'}, r"with the shape \[1, 3\], and names 4 classes"),
        ({"classes": "[" * 200_000}, "lack or mistype a field: values within values"),
        ({"classes": '{"a": 0, "b": 1, "c": 2}'}, "lack or mistype a field: classes"),
        ({"preprocess": "null"}, "lack or mistype a field: inputs or preprocess"),
        ({"input_shape": "[3, 10000000, 10000000]"}, "lack or mistype a field: input_shape"),
    ],
)
def test_a_hostile_file_alone_is_refused_in_words(bundle, tmp_path, metadata, said):
    with pytest.raises(DataError, match=said):
        limbeck.load_bundle(rewritten(bundle, tmp_path / "model.onnx", **metadata))


# --- damage -----------------------------------------------------------------------------------------------------------


def damaged(data, rng):
    """The bytes with a bit flipped, or cut short."""
    if rng.random() < 0.7:
        place = int(rng.integers(8 * len(data)))
        other = bytearray(data)
        other[place // 8] ^= 1 << place % 8
        return bytes(other)
    return data[: int(rng.integers(len(data)))]


@pytest.mark.usefixtures("unsynced")
@pytest.mark.parametrize("which", ["bundle", "program"])
def test_no_damaged_bundle_answers_otherwise(which, request, tmp_path, pixels):
    """Each file of a bundle in turn: it is refused in words, or answers the same bits."""
    source = request.getfixturevalue(which)
    place = Path(shutil.copytree(source, tmp_path / "bundle"))
    expected = limbeck.load_bundle(source, threads=1).logits(pixels.numpy())
    names = sorted(path.name for path in place.iterdir())
    rng, refused = np.random.default_rng(1), 0
    for number in range(TRIES // 2):
        name = names[number % len(names)]
        sound = (place / name).read_bytes()
        (place / name).write_bytes(damaged(sound, rng))
        try:
            came = limbeck.load_bundle(place, threads=1).logits(pixels.numpy())
            np.testing.assert_array_equal(came, expected, err_msg=name)
        except LimbeckError:
            refused += 1
        (place / name).write_bytes(sound)
    assert refused > 0.98 * TRIES / 2


def test_no_damaged_file_alone_answers(bundle, tmp_path):
    sound, place = (bundle / "model.onnx").read_bytes(), tmp_path / "model.onnx"
    rng = np.random.default_rng(2)
    for _ in range(TRIES):
        place.write_bytes(damaged(sound, rng))
        with pytest.raises(DataError):
            limbeck.load_bundle(place)


# --- where it lies ----------------------------------------------------------------------------------------------------


def test_a_bundle_is_found_from_its_run(bundle, program, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(program, run / "export" / "torch-export")
    assert limbeck.load_bundle(run).path == run / "export" / "torch-export"
    shutil.copytree(bundle, run / "export" / "onnx")
    for place in (run, run / "export", str(run / "export" / "onnx")):
        assert limbeck.load_bundle(place).path == run / "export" / "onnx"
    shutil.rmtree(run / "export" / "onnx")
    shutil.copytree(bundle, run / "export" / "onnx-int8")
    with pytest.raises(DataError, match="holds onnx-int8, torch-export\n  expected: one bundle"):
        limbeck.load_bundle(run)


def test_a_run_that_was_not_exported_says_how(tmp_path):
    (tmp_path / "record.json").write_text("{}")
    with pytest.raises(DataError, match=f"limbeck export {tmp_path}"):
        limbeck.load_bundle(tmp_path)


def test_what_is_no_bundle_is_said(bundle, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        limbeck.load_bundle(tmp_path / "nothing")
    with pytest.raises(DataError, match="holds no bundle"):
        limbeck.load_bundle(tmp_path)
    with pytest.raises(DataError, match="give the folder that it lies in"):
        limbeck.load_bundle(bundle / CONFIG)


def test_an_onnx_file_of_somebody_else_is_refused(tmp_path, bundle):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0a a model of somebody else")
    with pytest.raises(DataError, match="was not made by limbeck"):
        limbeck.load_bundle(path)
    sealed = sealed_file(b"\x08" + b"limbeck-sha256:" + b"0" * 64)
    path.write_bytes(sealed)
    with pytest.raises(DataError, match="cannot be run by ONNX Runtime"):
        limbeck.load_bundle(path)
