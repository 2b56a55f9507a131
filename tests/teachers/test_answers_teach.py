"""Whole runs whose teacher is an estimator, a table of answers, or an endpoint."""

import numpy as np
import pyarrow as pa
import pytest
import skops.io
from pyarrow import parquet
from serving import served
from sklearn.ensemble import RandomForestClassifier

from limbeck.data import Npz
from limbeck.teachers import load_model
from running import measured, run_tree, students, tree

pytestmark = pytest.mark.usefixtures("unsynced")


def test_a_table_and_an_endpoint_teach_what_their_network_teaches(tmp_path, npz, finished):
    saved, splits = load_model(finished / "teacher"), Npz(path=str(npz)).load()
    logits, of_test = (
        saved.module(saved.preprocess(side.inputs)).detach().numpy() for side in (splits.train, splits.test)
    )
    path = tmp_path / "answers.parquet"
    parquet.write_table(pa.table({"row": np.arange(len(logits)), **dict(zip("012", logits.T, strict=True))}), path)
    pairs = [*zip(splits.test.keys, of_test, strict=True), *zip(splits.train.keys, logits, strict=True)]
    of_key = {bytes(key.tolist()).hex(): row.tolist() for key, row in pairs}
    with served() as (told, url):
        told.answer = lambda question: {"logits": [of_key[key] for key in question["keys"]], "version": "1"}
        by_wire = run_tree(tree(npz, tmp_path / "a", teacher={"kind": "endpoint", "url": url}))
        asked = len(told.questions)
        again = run_tree(tree(npz, tmp_path / "a", teacher={"kind": "endpoint", "url": url}), resume=True)
    by_table = run_tree(tree(npz, tmp_path / "b", teacher={"kind": "table", "path": str(path)}))
    folder = {"kind": "saved", "path": str(finished / "teacher")}
    heard = run_tree(tree(npz, tmp_path / "c", teacher=folder))
    assert students(by_wire) == students(by_table) == students(again)
    assert asked < 30
    for arm, fits in heard["arms"].items():
        for one, other in zip(by_table["arms"][arm], fits, strict=True):
            assert one["nll"] == pytest.approx(other["nll"], rel=1e-3)


def test_a_forest_teaches_from_its_file(tmp_path, npz):
    train = Npz(path=str(npz)).load().train
    forest = RandomForestClassifier(10, random_state=0).fit(train.inputs.flatten(1).numpy(), train.labels.numpy())
    skops.io.dump(forest, tmp_path / "forest.skops")
    forest_in_file = {"kind": "sklearn", "path": str(tmp_path / "forest.skops")}
    record = run_tree(tree(npz, tmp_path / "a", teacher=forest_in_file))
    assert record["teacher"]["gives"] == "votes"
    assert record["teacher"]["train_accuracy"] > 0.9
    ensemble = {"kind": "ensemble", "members": [forest_in_file, forest_in_file]}
    together = run_tree(tree(npz, tmp_path / "b", teacher=ensemble))
    for arm, fits in measured(record)["arms"].items():
        for one, other in zip(together["arms"][arm], fits, strict=True):
            assert one["nll"] == pytest.approx(other["nll"], rel=1e-3)
