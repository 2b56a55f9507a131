"""An estimator in a file of skops, read with suspicion: nothing of it is unpickled or run before it was looked at.

skops refuses types it does not know, and by default also those of scikit-learn whose compiled code follows the numbers
of the file without looking: the trees. These are read here, and looked at number by number before they are asked.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.errors import DataError
from limbeck.foreign import PICKLES, foreign_file
from limbeck.teachers.content import parts_within

_WHAT = "a file written by skops.io.dump"
SCHEMA = "schema.json"
MOST_SCHEMA = 64 * 2**20
"""Bytes of the file's table of contents: about 4,000 trees."""
MOST_BYTES = 8 * 2**30
MOST_RATIO = 200
"""Bytes that one byte of the file may unfold to, beyond `FREE_BYTES` in all; skops itself does not compress."""
FREE_BYTES = 64 * 2**20
PARTS_OF_SKLEARN = (
    "functools.partial",
    "numpy.dtype",
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils.validation.check_array",
)
"""What skops does not trust by itself: the two kinds of trees, looked at by `check_sound`; plain holders of values; and
a function of arrays, to which boosted categories bind their types. A function in a `partial` must be trusted itself."""


def read_estimator(path: Path) -> Any:
    """The estimator in a file that `skops.io.dump` wrote.

    Raises:
        DataError: no such file, a pickle, a bomb, a type beyond scikit-learn's own, or numbers that its compiled code
            would follow out of bounds.
    """
    _check_file(path)
    import skops.io

    try:
        with zipfile.ZipFile(path) as archive:
            _check_archive(archive, path)
        strange = sorted(set(skops.io.get_untrusted_types(file=path)) - set(PARTS_OF_SKLEARN))
        if strange:
            raise DataError(
                f"{path} holds the types {', '.join(strange[:5])}{' ...' if len(strange) > 5 else ''}",
                expected="an estimator made of scikit-learn's own parts, which reading cannot turn into running code",
                do="pass the estimator itself in Python; for neighbours, fit with algorithm='brute'",
            )
        estimator = skops.io.load(path, trusted=list(PARTS_OF_SKLEARN))
        check_sound(estimator)
    except DataError:
        raise
    except Exception as error:  # a damaged file fails anywhere in zipfile, json, numpy, skops or scikit-learn
        raise DataError(
            f"{path} cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            expected="a fitted estimator as skops.io.dump writes it, of this version of scikit-learn",
            do="save it again by skops.io.dump(estimator, path)",
        ) from error
    return estimator


def _check_file(path: Path) -> None:
    foreign_file(path, what=_WHAT, most=MOST_BYTES)
    if path.suffix.lower() in PICKLES or not zipfile.is_zipfile(path):
        raise DataError(
            f"{path} is no file of skops",
            expected=f"{_WHAT}; pickles and joblib files run what is in them when they are read",
            do="load it where you trust it, and save it by skops.io.dump(estimator, 'teacher.skops')",
        )


def _check_archive(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse, before anything is unpacked, what would unfold to more than a file of its size can mean."""
    sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    if SCHEMA not in sizes:
        raise _bomb(path, f"has no {SCHEMA}")
    if sizes[SCHEMA] > MOST_SCHEMA:
        raise _bomb(path, f"declares {sizes[SCHEMA]:,} bytes of {SCHEMA}")
    if any(not name.endswith((".npy", ".bin", ".json")) for name in sizes):
        name = next(name for name in sizes if not name.endswith((".npy", ".bin", ".json")))
        raise _bomb(path, f"holds {name!r}, which is no array")
    limit = min(MOST_BYTES, max(FREE_BYTES, MOST_RATIO * path.stat().st_size))
    # Each mention is read anew, so that one array named a million times counts a million times.
    total = sum(sizes.get(name, 0) for name in _files_named(json.loads(archive.read(SCHEMA))))
    if total + sizes[SCHEMA] > limit:
        raise _bomb(path, f"unfolds from {path.stat().st_size:,} to {total:,} bytes")


def _files_named(schema: Any) -> Iterator[str]:
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if isinstance(one.get("file"), str):
                yield one["file"]
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _bomb(path: Path, came: str) -> DataError:
    return DataError(
        f"{path} {came}",
        expected=f"a file written by skops.io.dump: a {SCHEMA} and dense arrays",
        do="save the estimator again by skops.io.dump(estimator, path), or pass it in Python",
    )


# --- what compiled code follows --------------------------------------------------------------------------------------


def check_sound(estimator: Any) -> None:
    """Refuse numbers that scikit-learn's compiled code would follow out of bounds.

    It looks at the children and the features of trees, at the shapes of boosted stages and of support vectors. What is
    computed in NumPy checks itself.

    Raises:
        ValueError: such a number.
    """
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
    from sklearn.ensemble._forest import BaseForest
    from sklearn.svm._base import BaseLibSVM
    from sklearn.tree._tree import Tree

    owned: set[int] = set()
    trees = []
    for part in parts_within(estimator):
        if isinstance(part, Tree):
            trees.append(part)
        if isinstance(getattr(part, "__dict__", {}).get("tree_"), Tree):
            _check_tree(part.tree_, part.__dict__.get("n_features_in_"))
            owned.add(id(part.tree_))
        if isinstance(part, BaseForest):
            _check_alike(part, list(part.estimators_))
        elif isinstance(part, GradientBoostingClassifier):
            _check_alike(part, part.estimators_.ravel().tolist())
            started = part._raw_predict_init(np.zeros((1, part.n_features_in_), np.float32))
            _sound(started.shape == (1, part.estimators_.shape[1]), "stages of another width than their start")
        elif isinstance(part, HistGradientBoostingClassifier):
            _check_histograms(part)
        elif isinstance(part, BaseLibSVM):
            _check_vectors(part)
    _sound(all(id(tree) in owned for tree in trees), "a tree that no estimator owns")


def _check_alike(ensemble: Any, members: list[Any]) -> None:
    """Only the ensemble's own width is compared with the inputs' when it is asked."""
    width = ensemble.__dict__.get("n_features_in_")
    alike = isinstance(width, int) and all(member.__dict__.get("n_features_in_") == width for member in members)
    _sound(alike and all("tree_" in member.__dict__ for member in members), "members for other features than its own")


def _check_tree(tree: Any, width: Any) -> None:
    _sound(0 < tree.node_count <= tree.capacity, "a tree with another number of nodes than it holds")
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    inner = left != -1
    _sound(bool((right[~inner] == -1).all()), "a node with one child")
    _check_nodes(np.flatnonzero(inner), left[inner], right[inner], feature[inner], tree.node_count, width)


def _check_histograms(boosted: Any) -> None:
    known, place = boosted._bin_mapper.make_known_categories_bitsets()
    for stage in boosted._predictors:
        for predictor in stage:
            nodes, sets = predictor.nodes, predictor.raw_left_cat_bitsets
            inner = nodes["is_leaf"] == 0
            split = nodes[inner]
            width = min(boosted.__dict__["n_features_in_"], len(place))
            children = split["left"].astype(np.int64), split["right"].astype(np.int64)
            _check_nodes(np.flatnonzero(inner), *children, split["feature_idx"], len(nodes), width)
            sorted_by = split[split["is_categorical"] != 0]
            _sound(bool((sorted_by["bitset_idx"] < len(sets)).all()), "a set of categories that is not there")
            _sound(bool((place[sorted_by["feature_idx"]] < len(known)).all()), "categories of a feature without any")


def _check_nodes(rows: Any, left: Any, right: Any, feature: Any, count: int, width: Any) -> None:
    # Children come after their parents, so that every way down ends.
    for child in (left, right):
        _sound(bool((child > rows).all() and (child < count).all()), "a node whose child is not below it")
    inside = isinstance(width, int) and bool((feature >= 0).all() and (feature < width).all())
    _sound(inside, "a node that asks for a feature which the inputs lack")


def _check_vectors(machine: Any) -> None:
    vectors, pairs = len(machine.support_vectors_), len(machine._n_support) * (len(machine._n_support) - 1) // 2
    shapes = {
        "support_": (vectors,),
        "_dual_coef_": (len(machine._n_support) - 1, vectors),
        "_intercept_": (pairs,),
        "_probA": (pairs,),
        "_probB": (pairs,),
        "support_vectors_": (vectors, machine.__dict__["n_features_in_"]),
    }
    for name, shape in shapes.items():
        _sound(getattr(machine, name).shape == shape, f"support vectors whose {name} has another shape")
    counted = bool((machine._n_support >= 0).all()) and int(machine._n_support.sum()) == vectors
    _sound(counted, "another number of support vectors than it counts")


def _sound(holds: bool, came: str) -> None:
    if not holds:
        raise ValueError(f"it holds {came}")
