import numpy as np
import pytest
import torch

from limbeck.data import Npz
from limbeck.errors import DataError


@pytest.fixture
def save(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return str(tmp_path / "data.npz")

    return save


def both_sides(x, y):
    return {"x_train": x, "y_train": y, "x_test": x, "y_test": y}


def refusal(path):
    with pytest.raises(DataError) as caught:
        Npz(path=path).load()
    return str(caught.value)


def test_the_names_of_keras(save, pictures):
    (train, train_labels), (test, test_labels) = pictures(12), pictures(6, start=12)
    path = save(x_train=train, y_train=train_labels[:, None], x_test=test, y_test=test_labels)
    splits = Npz(path=path).load()
    assert splits.official
    assert splits.preprocess.scale == 255.0
    np.testing.assert_array_equal(splits.train.inputs.numpy(), train[:, None])
    np.testing.assert_array_equal(splits.train.labels.numpy(), train_labels)
    np.testing.assert_array_equal(splits.test.inputs.numpy(), test[:, None])


def test_x_and_y_alone_are_parted_by_content(save, pictures):
    images, labels = pictures(30)
    splits = Npz(path=save(x=images, y=labels), test_share=0.3).load()
    assert not splits.official
    assert (len(splits.train), len(splits.test)) == (21, 9)
    again = Npz(path=save(x=images[::-1], y=labels[::-1]), test_share=0.3).load()
    assert set(map(bytes, splits.test.keys.numpy())) == set(map(bytes, again.test.keys.numpy()))


@pytest.mark.parametrize(
    ("shape", "layout", "axes"),
    [
        ((6, 7), "auto", (0, 1)),
        ((6, 8, 9, 3), "auto", (0, 3, 1, 2)),
        ((6, 4, 8, 9), "auto", (0, 1, 2, 3)),
        ((6, 3, 9, 3), "nhwc", (0, 3, 1, 2)),
        ((6, 3, 9, 3), "nchw", (0, 1, 2, 3)),
        ((6, 16, 8, 9), "nchw", (0, 1, 2, 3)),
    ],
)
def test_images_are_stored_with_channels_first(save, shape, layout, axes):
    x = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    splits = Npz(path=save(**both_sides(x, [0, 1] * 3)), layout=layout).load()
    assert splits.train.inputs.dtype == torch.float32
    assert splits.preprocess.scale == 1.0
    np.testing.assert_array_equal(splits.train.inputs.numpy(), x.transpose(axes))


@pytest.mark.parametrize("shape", [(6, 3, 9, 3), (6, 16, 8, 9)])
def test_a_layout_that_cannot_be_told_is_asked_for(save, shape):
    message = refusal(save(x=np.zeros(shape), y=[0, 1] * 3))
    assert str(shape) in message
    assert "layout: nchw" in message


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", ">f4", ">i2"])
def test_other_numbers_become_float32(save, dtype):
    x = np.array([[0, 1], [1, 1], [1, 0], [0, 0]])
    examples = Npz(path=save(**both_sides(x.astype(dtype), [0, 1, 0, 1]))).load().train
    assert examples.inputs.dtype == torch.float32
    assert examples.inputs.tolist() == x.tolist()


def test_labels_may_be_names(save):
    x = np.arange(8.0).reshape(4, 2)
    path = save(x_train=x, y_train=["b", "c", "b", "c"], x_test=x, y_test=["c", "a", "b", "b"])
    splits = Npz(path=path).load()
    assert splits.train.classes == ("a", "b", "c")
    assert splits.train.labels.tolist() == [1, 2, 1, 2]
    assert splits.test.labels.tolist() == [2, 0, 1, 1]


def test_numbers_may_have_names(save):
    x = np.arange(8.0).reshape(4, 2)
    splits = Npz(path=save(**both_sides(x, [1, 0, 1, 0]), classes=["no", "yes"])).load()
    assert splits.train.classes == ("no", "yes")
    assert splits.train.labels.tolist() == [1, 0, 1, 0]


X, Y = np.zeros((4, 2)), [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_train": X, "y_train": Y}, ["lacks x_test, y_test", "it has x_train, y_train"]),
        ({"data": X}, ["lacks x, y", "it has data"]),
        ({"x": X, "y": [0.0, 1.0, 0.0, 1.0]}, ["y of", "float64", "whole numbers"]),
        ({"x": X, "y": np.eye(4)}, ["(4, 4)", "argmax"]),
        ({"x": X, "y": [0, 1, 0, 900]}, ["highest label is 900 in 4 examples"]),
        ({"x": X, "y": ["a", "b", "a", "c"], "classes": ["a", "b"]}, ["without a class: c"]),
        ({"x": X.astype(complex), "y": Y}, ["x of", "complex128"]),
        ({"x": np.array([["a"], ["b"]]), "y": [0, 1]}, ["x of", "<U1"]),
        ({"x": X + 1e300, "y": Y}, ["4 of 4 examples hold NaN or infinity"]),
        ({"x": np.array([None, 1]), "y": [0, 1]}, ["cannot be read", "without pickled objects"]),
        (
            {"x_train": X, "y_train": ["a", "b", "a", "b"], "x_test": X, "y_test": Y},
            ["y_test of", "are numbers, the others are names"],
        ),
        (
            {"x_train": X, "y_train": Y, "x_test": np.zeros((4, 3)), "y_test": Y},
            ["the shape of a training example: (2,); of a test example: (3,)"],
        ),
    ],
)
def test_unusable_arrays_are_named(save, arrays, words):
    message = refusal(save(**arrays))
    for word in words:
        assert word in message


def test_a_missing_file_is_named_with_the_layout(tmp_path):
    message = refusal(str(tmp_path / "none.npz"))
    assert f"{tmp_path / 'none.npz'} is not there" in message
    assert "x_train, y_train, x_test, y_test" in message
    assert f"{tmp_path} is not a file" in refusal(str(tmp_path))


def test_damaged_files_are_refused(tmp_path, save, pictures):
    images, labels = pictures(12)
    path = save(x=images, y=labels)
    file = tmp_path / "data.npz"
    sound = file.read_bytes()
    for length in range(0, len(sound), 101):
        file.write_bytes(sound[:length])
        assert f"{path} cannot be read" in refusal(path)
    pixel = sound.index(images.tobytes())  # where only the checksum can tell
    file.write_bytes(sound[:pixel] + bytes([sound[pixel] ^ 1]) + sound[pixel + 1 :])
    assert f"{path} cannot be read" in refusal(path)


def test_one_bare_array_is_no_archive(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    assert "not an archive" in refusal(str(tmp_path / "x.npy"))


def test_odd_archives_are_refused_in_words(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.zeros((9, 4), np.float32), y=np.arange(9) % 3, classes=np.array("abc"))
    with pytest.raises(DataError):
        Npz(path=str(path)).load()
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag of an encrypted member
    at = data.rindex(b"PK\x01\x02")
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert at
    path.write_bytes(data)
    with pytest.raises(DataError, match="cannot be read"):
        Npz(path=str(path)).load()
