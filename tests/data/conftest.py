"""Small data made on the spot, so that every answer can be checked by hand."""

import gzip
import struct

import numpy as np
import pytest
import torch

from limbeck.data import key_examples


@pytest.fixture
def make_examples():
    """Examples [N, 2] whose content is their number, labelled by number modulo classes; `copies` repeats rows."""

    def make(count, classes=3, labels=None, copies=()):
        rows = [*range(count), *copies]
        inputs = torch.tensor([[float(row), 1.0] for row in rows])
        labels = torch.tensor([row % classes for row in rows]) if labels is None else torch.as_tensor(labels)
        return key_examples(inputs, labels, tuple(f"class-{number}" for number in range(classes)))

    return make


@pytest.fixture
def write_idx():
    """Writes an array of unsigned bytes as an IDX file, compressed if the name ends in .gz."""

    def write(path, array, *, code=0x08, shape=None):
        shape = array.shape if shape is None else shape
        content = bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)

    return write


@pytest.fixture
def pictures():
    """Grey images [N, 6, 5] uint8 and labels [N] of three classes, all images different."""

    def make(count, start=0):
        numbers = np.arange(start, start + count)
        images = np.random.default_rng(start).integers(0, 256, (count, 6, 5), dtype=np.uint8)
        return images, (numbers % 3).astype(np.uint8)

    return make
