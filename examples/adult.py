"""Who earns more than 50,000 dollars a year (UCI Adult): a boosted teacher and a forest, taught to a small network.

Run it by `python examples/adult.py DIR`. DIR has the files `adult.data` and `adult.test` of the UCI repository
(Kohavi and Becker 1996, doi:10.24432/C5XW20), plain or .gz; limbeck downloads nothing.

The student has less than 5,000 parameters. First it sees all labels, as its teachers did; then 1,000 of them, and the
other rows without. The settings were chosen on rows held out of the training file (bench/choose_adult.py); the verdict
is printed whatever it is.
"""

import gzip
import sys
from pathlib import Path
from typing import Any

import torch
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

import limbeck
from limbeck.data import Encode, Rows, Splits
from limbeck.models import Mlp
from limbeck.training import AdamW, Fit

COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship", "race",
    "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income",
)  # fmt: skip
STUDENT = Mlp(hidden=(32, 24))
FIT = Fit(epochs=20, batch_size=256, optimizer=AdamW(lr=0.003), threads=1)

CHOSEN = {"boosted": (0.5, 2.0), "forest": (0.5, 1.0), "both": (0.5, 1.0)}
"""Alpha and temperature for each teacher."""


def tables(folder: Path, out: Path) -> Path:
    """Adult's files as train.csv and test.csv; its test file begins with a remark and ends its labels with a dot."""
    out.mkdir(parents=True, exist_ok=True)
    for source, name in (("adult.data", "train.csv"), ("adult.test", "test.csv")):
        plain, compressed = folder / source, folder / f"{source}.gz"
        text = plain.read_text() if plain.exists() else gzip.decompress(compressed.read_bytes()).decode()
        lines = [line.removesuffix(".") for line in text.splitlines() if line and not line.startswith("|")]
        (out / name).write_text("\n".join(lines))
    return out


def teachers(splits: Splits) -> dict[str, Any]:
    """Two that learn from the rows as they are stored: numbers, and categories as places in their vocabulary."""
    assert isinstance(splits.preprocess, Encode)
    categorical = [column.vocabulary is not None for column in splits.preprocess.columns]
    inputs, labels = splits.train.inputs.numpy(), splits.train.labels.numpy()
    boosted = HistGradientBoostingClassifier(
        learning_rate=0.03, max_iter=500, categorical_features=categorical, random_state=0
    )
    forest = RandomForestClassifier(200, min_samples_leaf=3, random_state=0)
    return {"boosted": boosted.fit(inputs, labels), "forest": forest.fit(inputs, labels)}


def main() -> None:
    source = Rows(path=str(tables(Path(sys.argv[1]), Path("runs/adult-tables"))), columns=COLUMNS, label="income")
    known = teachers(source.load())
    known["both"] = list(known.values())
    for name, labelled in (("boosted", None), ("forest", None), ("both", None), ("boosted", 1000)):
        alpha, temperature = CHOSEN[name]
        result = limbeck.distill(
            teacher=known[name],
            student=STUDENT,
            train=source,
            labelled=labelled,
            alpha=alpha,
            temperature=temperature,
            fit=FIT,
            seeds=5,
            out=f"runs/adult-{name}-{labelled or 'all'}",
            overwrite=True,
        )
        record = result.record
        print(f"{name}, {labelled or 'all'} labels: {result}")
        print(
            f"  the teacher itself {record['teacher']['accuracy']:.2%}, the student has "
            f"{record['arms']['scratch'][0]['parameters']:,} parameters; {record['data']['overlap']} rows of the test "
            f"set are in the training set too, {record['data']['duplicates']} of that are duplicates"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
