"""Files that a stranger might send for an estimator or a table of answers; more of them in `hostile`."""

import gzip
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import skops.io
from pyarrow import parquet
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from hostile import Builder, Canary, Hostile

# --- estimators -------------------------------------------------------------------------------------------------------


def small_data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4))
    return x, (x[:, 0] > 0) + (x[:, 1] > 0).astype(int)


def small_forest() -> RandomForestClassifier:
    return RandomForestClassifier(2, max_depth=3, random_state=0).fit(*small_data())


def pickled_estimator(folder: Path) -> Hostile:
    path = folder / "forest.pkl"
    path.write_bytes(pickle.dumps(Canary(folder)))
    return path, "skops.io.dump"


def renamed_pickle(folder: Path) -> Hostile:
    path = folder / "forest.skops"
    path.write_bytes(pickle.dumps(Canary(folder)))
    return path, "is no file of skops"


def empty_skops(folder: Path) -> Hostile:
    path = folder / "empty.skops"
    path.write_bytes(b"")
    return path, "has 0 bytes"


def cut_skops(folder: Path) -> Hostile:
    path = folder / "cut.skops"
    path.write_bytes(skops.io.dumps(small_forest())[:-200])
    return path, "skops"


def flipped_skops(folder: Path) -> Hostile:
    path = folder / "flipped.skops"
    skops.io.dump(small_forest(), path)
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    data = bytearray(path.read_bytes())
    data[largest.header_offset + 200] ^= 1
    path.write_bytes(data)
    return path, "Bad CRC-32"


def skops_that_calls(folder: Path) -> Hostile:
    """A type of os.system, put where scikit-learn's transformer has a function."""
    path = folder / "calls.skops"
    return rewritten(path, FunctionTransformer(np.exp), lambda s: s.replace('"exp"', '"mkdir"').replace("numpy", "os"))


def skops_with_a_strange_type(folder: Path) -> Hostile:
    path = folder / "strange.skops"
    skops.io.dump({"forest": small_forest(), "path": Path("x")}, path)
    return path, "holds the types pathlib"


def skops_of_an_older_protocol(folder: Path) -> Hostile:
    path = folder / "older.skops"
    rewritten(path, small_forest(), lambda s: s.replace('"protocol": 2', '"protocol": 99'))
    return path, "protocol 99"


def skops_without_schema(folder: Path) -> Hostile:
    return zipped(folder / "bare.skops", {"1.npy": b""}), "has no schema.json"


def skops_with_a_bomb(folder: Path) -> Hostile:
    """80 MB of zeros in 80 kB."""
    named = {"__loader__": "NdArrayNode", "type": "numpy", "file": "1.npy"}
    contents = {"schema.json": json.dumps(named).encode(), "1.npy": bytes(80 * 2**20)}
    return zipped(folder / "bomb.skops", contents), "unfolds from"


def skops_that_names_one_array_often(folder: Path) -> Hostile:
    named = {"__loader__": "NdArrayNode", "type": "numpy", "file": "1.npy"}
    contents = {"schema.json": json.dumps([named] * 5000).encode(), "1.npy": bytes(2**20)}
    return zipped(folder / "often.skops", contents), "unfolds from"


def skops_with_a_huge_schema(folder: Path) -> Hostile:
    return zipped(folder / "huge.skops", {"schema.json": b" " * (65 * 2**20)}), "bytes of schema.json"


def skops_with_a_deep_schema(folder: Path) -> Hostile:
    return zipped(folder / "deep.skops", {"schema.json": b"[" * 200_000}), "cannot be read"


def skops_with_a_path_out(folder: Path) -> Hostile:
    contents = {"schema.json": b"{}", "../canary": b"x"}
    return zipped(folder / "slip.skops", contents), "which is no array"


def skops_with_a_zip_within(folder: Path) -> Hostile:
    return zipped(folder / "within.skops", {"schema.json": b"{}", "1.npz": b"PK"}), "which is no array"


def skops_with_a_pickled_array(folder: Path) -> Hostile:
    """An array of objects, which numpy would unpickle."""
    path, forest = folder / "objects.skops", small_forest()
    skops.io.dump(forest, path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    arrays = [name for name in contents if name.endswith(".npy")]
    evil = folder / "evil.npy"
    np.save(evil, np.array([Canary(folder)], dtype=object), allow_pickle=True)
    contents |= dict.fromkeys(arrays, evil.read_bytes())
    return zipped(path, contents), "allow_pickle=False"


def forest_with_a_child_out_of_bounds(folder: Path) -> Hostile:
    return spoilt_forest(folder, "left_child", 10**9), "whose child is not below it"


def forest_that_goes_in_circles(folder: Path) -> Hostile:
    return spoilt_forest(folder, "right_child", 0), "whose child is not below it"


def forest_that_asks_for_a_missing_feature(folder: Path) -> Hostile:
    return spoilt_forest(folder, "feature", 10**9), "a feature which the inputs lack"


def forest_of_less_than_no_nodes(folder: Path) -> Hostile:
    forest = small_forest()
    count = forest.estimators_[1].tree_.node_count
    path = folder / "count.skops"
    rewritten(path, forest, lambda s: s.replace(f'"content": "{count}"', '"content": "-5"'))
    return path, "another number of nodes"


def forest_of_trees_for_other_features(folder: Path) -> Hostile:
    forest, path = small_forest(), folder / "width.skops"
    forest.estimators_[1].n_features_in_ = 10**6
    skops.io.dump(forest, path)
    return path, "members for other features"


def boosting_of_another_width(folder: Path) -> Hostile:
    boosted, path = GradientBoostingClassifier(n_estimators=2).fit(*small_data()), folder / "stages.skops"
    boosted.estimators_ = np.concatenate([boosted.estimators_] * 50, axis=1)
    skops.io.dump(boosted, path)
    return path, "stages of another width"


def machine_of_missing_vectors(folder: Path) -> Hostile:
    x, y = small_data()
    machine, path = SVC().fit(x, y), folder / "vectors.skops"
    machine._dual_coef_ = machine._dual_coef_[:, :1]
    skops.io.dump(machine, path)
    return path, "_dual_coef_ has another shape"


def spoilt_forest(folder: Path, field: str, value: int) -> Path:
    """A forest whose first node of the first tree has another value in a field."""
    forest, path = small_forest(), folder / f"{field}.skops"
    tree = forest.estimators_[0].tree_
    state = tree.__getstate__()
    nodes = state["nodes"].copy()
    nodes[field][0] = value
    tree.__setstate__({**state, "nodes": nodes})
    skops.io.dump(forest, path)
    return path


def rewritten(path: Path, estimator: Any, change: Callable[[str], str]) -> Hostile:
    """The file of an estimator, its schema changed."""
    skops.io.dump(estimator, path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    changed = change(contents["schema.json"].decode())
    assert changed != contents["schema.json"].decode()
    return zipped(path, {**contents, "schema.json": changed.encode()}), "holds the types os."


def zipped(path: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


ESTIMATORS: tuple[Builder, ...] = (
    pickled_estimator,
    renamed_pickle,
    empty_skops,
    cut_skops,
    flipped_skops,
    skops_that_calls,
    skops_with_a_strange_type,
    skops_of_an_older_protocol,
    skops_without_schema,
    skops_with_a_bomb,
    skops_that_names_one_array_often,
    skops_with_a_huge_schema,
    skops_with_a_deep_schema,
    skops_with_a_path_out,
    skops_with_a_zip_within,
    skops_with_a_pickled_array,
    forest_with_a_child_out_of_bounds,
    forest_that_goes_in_circles,
    forest_that_asks_for_a_missing_feature,
    forest_of_less_than_no_nodes,
    forest_of_trees_for_other_features,
    boosting_of_another_width,
    machine_of_missing_vectors,
)


# --- tables of answers ------------------------------------------------------------------------------------------------


def table_that_is_a_pickle(folder: Path) -> Hostile:
    path = folder / "answers.parquet"
    path.write_bytes(pickle.dumps(Canary(folder)))
    return path, "is a pickle"


def table_that_is_compressed(folder: Path) -> Hostile:
    """A gigabyte of zeros, were it unpacked by its name."""
    path = folder / "answers.csv.gz"
    path.write_bytes(gzip.compress(b"a,b,c\n" + b"0,0,1\n" * 2_000_000))
    return path, "is compressed"


def table_that_is_a_zip(folder: Path) -> Hostile:
    return zipped(folder / "answers.csv", {"answers.csv": b"a,b,c\n"}), "is a zip archive"


def table_of_a_million_columns(folder: Path) -> Hostile:
    path = folder / "answers.csv"
    path.write_text(",".join(f"c{number}" for number in range(10**6)) + "\n")
    return path, "no line of names within its first"


def table_of_many_columns(folder: Path) -> Hostile:
    path = folder / "answers.csv"
    path.write_text(",".join(f"c{number}" for number in range(10**5)) + "\n")
    return path, "are no classes of the data"


def table_with_a_long_row(folder: Path) -> Hostile:
    path = folder / "answers.csv"
    path.write_text("a,b,c\n" + "0," * 10**6 + "\n")
    return path, "cannot be read"


def table_with_a_huge_cell(folder: Path) -> Hostile:
    path = folder / "answers.csv"
    with path.open("wb") as file:
        file.write(b"row,label\n0,")
        for _ in range(100):
            file.write(b"a" * 2**20)
    return path, "cannot be read"


def table_with_a_large_cell(folder: Path) -> Hostile:
    path = folder / "answers.csv"
    path.write_text("row,label\n0," + "a" * 10**6 + "\n")
    return path, "a cell of 1,000,000 bytes"


def table_without_an_end(folder: Path) -> Hostile:
    path = folder / "answers.csv"
    path.symlink_to("/dev/zero")
    return path, "a device or a pipe"


def table_of_zeros(folder: Path) -> Hostile:
    path = folder / "answers.csv"
    path.write_bytes(bytes(4 * 2**20))
    return path, "no line of names"


def table_in_another_alphabet(folder: Path) -> Hostile:
    path = folder / "answers.csv"
    path.write_bytes("a,b,c\n1,2,3\n".encode("utf-16"))
    return path, "cannot be read"


def table_of_endless_lines(folder: Path) -> Hostile:
    """A thousand lines an example and more, in a few bytes."""
    path = folder / "answers.parquet"
    zeros = pa.array(np.zeros(3_000_000, dtype=np.int64))
    parquet.write_table(pa.table({"row": zeros, "label": zeros}), path, compression="zstd")
    return path, "declares 3,000,000 lines"


def table_with_a_text_repeated(folder: Path) -> Hostile:
    """One text of 20 MB as the key of 50,000 lines: a terabyte, were it written out."""
    path = folder / "answers.parquet"
    keys = pa.DictionaryArray.from_arrays(pa.array(np.zeros(50_000, dtype=np.int32)), pa.array(["f" * (20 * 2**20)]))
    columns = {"key": keys, **{name: np.zeros(50_000) for name in "abc"}}
    parquet.write_table(pa.table(columns), path, compression="zstd")
    assert path.stat().st_size < 2**20
    return path, "a cell of 20,971,520 bytes"


def table_that_is_cut_short(folder: Path) -> Hostile:
    path = folder / "answers.parquet"
    parquet.write_table(pa.table({name: np.random.default_rng(0).normal(size=60) for name in "abc"}), path)
    path.write_bytes(path.read_bytes()[:-100])
    return path, "cannot be read"


def table_whose_pages_are_damaged(folder: Path) -> Hostile:
    path = folder / "answers.parquet"
    values = {name: np.random.default_rng(0).normal(size=60) for name in "abc"}
    parquet.write_table(pa.table(values), path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[4:60] = bytes(56)
    path.write_bytes(data)
    return path, "cannot be read"


def table_of_nested_lists(folder: Path) -> Hostile:
    path = folder / "answers.parquet"
    parquet.write_table(pa.table({"a": [[1.0]] * 60, "b": [1.0] * 60, "c": [1.0] * 60}), path)
    return path, "the column a of type list"


TABLES: tuple[Builder, ...] = (
    table_that_is_a_pickle,
    table_that_is_compressed,
    table_that_is_a_zip,
    table_of_a_million_columns,
    table_of_many_columns,
    table_with_a_long_row,
    table_with_a_huge_cell,
    table_with_a_large_cell,
    table_without_an_end,
    table_of_zeros,
    table_in_another_alphabet,
    table_of_endless_lines,
    table_with_a_text_repeated,
    table_that_is_cut_short,
    table_whose_pages_are_damaged,
    table_of_nested_lists,
)
