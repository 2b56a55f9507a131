"""Answers from the model.onnx of a bundle with onnxruntime and numpy alone: all that is needed is in the file.

    python onnx_only.py runs/digits/export/onnx/model.onnx runs/digits/export/onnx/golden.npz

The second file is any .npz file with an array `inputs` of examples as the student's data are stored.
"""

import json
import sys

import numpy as np
import onnxruntime


def weights(before, after):
    """[after, before]: what each new pixel takes of the old ones; bilinear, antialiased."""
    ratio = before / after
    centres = ratio * (np.arange(after) + 0.5)
    triangles = np.maximum(1 - np.abs(np.arange(before) + 0.5 - centres[:, None]) / max(ratio, 1), 0)
    return (triangles / triangles.sum(axis=1, keepdims=True)).astype(np.float32)


def preprocessed(stored, preprocess):
    """Inputs as the network takes them; tables of columns are left to `limbeck predict`."""
    if preprocess.get("kind") == "encode":
        raise SystemExit("this student reads the columns of a table: use limbeck predict")
    values = stored.astype(np.float32) / np.float32(preprocess["scale"])
    if preprocess["size"] is not None:
        rows, columns = (weights(*pair) for pair in zip(values.shape[2:], preprocess["size"], strict=True))
        values = rows @ values @ columns.T
    if preprocess["channels"] is not None and values.shape[1] == 1:
        values = values.repeat(preprocess["channels"], axis=1)
    channels = (1, -1, *[1] * (values.ndim - 2))
    if preprocess["mean"] is not None:
        values = values - np.array(preprocess["mean"], np.float32).reshape(channels)
    if preprocess["std"] is not None:
        values = values / np.array(preprocess["std"], np.float32).reshape(channels)
    return values


model, examples = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
written = session.get_modelmeta().custom_metadata_map
classes, preprocess = json.loads(written["classes"]), json.loads(written["preprocess"])
print(f"{len(classes)} classes, licence {json.loads(written['licence'])}, taught by {json.loads(written['teacher'])}")

stored = np.load(examples, allow_pickle=False)["inputs"]
(logits,) = session.run(["logits"], {"inputs": preprocessed(stored, preprocess)})
powers = np.exp(logits - logits.max(axis=1, keepdims=True))
probabilities = powers / powers.sum(axis=1, keepdims=True)
for row, one in enumerate(probabilities, start=1):
    print(f"{row}  {classes[one.argmax()]} {one.max():.4f}")
