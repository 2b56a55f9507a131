"""Estimators: asked for probabilities without a change in them, read from files without running them."""

import importlib.util
import warnings
import zipfile
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest
import skops.io
import torch
from asking import examples_of
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from hostile_answers import zipped
from limbeck.data import Column, Encode, Examples, Preprocess
from limbeck.errors import DataError, RecipeError
from limbeck.files import digest
from limbeck.recipe import recipe_from_tree
from limbeck.teachers import (
    Audience,
    EstimatorTeacher,
    Picked,
    Probabilities,
    SklearnTeacher,
    Votes,
    ask_all,
    teacher_of,
)
from limbeck.teachers.content import NoContent, content_of

EXAMPLES = examples_of(60)
X = EXAMPLES.inputs.flatten(1).float().numpy()
NAMES = np.array(EXAMPLES.classes)
Y = EXAMPLES.labels.numpy()
AUDIENCE = Audience(EXAMPLES, Preprocess(scale=255.0))


def forest(**options):
    return RandomForestClassifier(**{"n_estimators": 5, "random_state": 0, **options}).fit(X, Y)


def kinds():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the SVC's probability, which scikit-learn means to move elsewhere
        made = [
            RandomForestClassifier(5, random_state=0, n_jobs=2),
            ExtraTreesClassifier(5, random_state=0),
            BaggingClassifier(n_estimators=3, max_features=0.5, random_state=0),
            GradientBoostingClassifier(n_estimators=2, random_state=0),
            HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=4),
            HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=4, categorical_features=[0, 3], max_bins=255),
            AdaBoostClassifier(n_estimators=2, random_state=0),
            KNeighborsClassifier(algorithm="brute"),
            LogisticRegression(max_iter=5000),
            SVC(probability=True, random_state=0),
            make_pipeline(StandardScaler(copy=False), RandomForestClassifier(3, random_state=0)),
            GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [2, 3]}, cv=2),
        ]
        return [estimator.fit(X.copy(), Y) for estimator in made]


KINDS = kinds()


def named(estimator):
    return type(estimator).__name__


@pytest.mark.parametrize("estimator", KINDS, ids=named)
def test_an_estimator_is_asked_twice_with_one_answer_and_no_change(estimator):
    before, inputs = content_of(estimator), EXAMPLES.inputs.clone()
    who = teacher_of(estimator, AUDIENCE)
    identity = who.identity()
    answers = ask_all(who, EXAMPLES)
    assert torch.equal(ask_all(who, EXAMPLES), answers)
    assert who.identity() == identity
    assert content_of(estimator) == before
    assert torch.equal(EXAMPLES.inputs, inputs)
    assert answers.dtype == torch.float32
    shares = np.log(np.maximum(estimator.predict_proba(X.copy()), 1e-4))
    assert np.array_equal(answers.numpy().argmax(axis=1), shares.argmax(axis=1))


@pytest.mark.parametrize("estimator", KINDS, ids=named)
def test_a_file_answers_as_what_was_saved_in_it(tmp_path, estimator):
    skops.io.dump(estimator, tmp_path / "t.skops")
    who = SklearnTeacher(path=str(tmp_path / "t.skops")).open(AUDIENCE)
    assert torch.equal(ask_all(who, EXAMPLES), ask_all(teacher_of(estimator, AUDIENCE), EXAMPLES))
    again = SklearnTeacher(path=str(tmp_path / "t.skops")).open(AUDIENCE)
    assert again.identity() == who.identity()


@pytest.mark.parametrize(
    ("estimator", "votes"),
    [
        (forest(), 5),
        (ExtraTreesClassifier(7).fit(X, Y), 7),
        (BaggingClassifier(n_estimators=3).fit(X, Y), 3),
        (KNeighborsClassifier(4).fit(X, Y), 4),
        (make_pipeline(StandardScaler(), forest()), 5),
        (GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [3]}, cv=2).fit(X, Y), 3),
        (KNeighborsClassifier(weights="distance").fit(X, Y), None),
        (LogisticRegression(max_iter=5000).fit(X, Y), None),
        (make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y), None),
    ],
)
def test_what_counts_votes_is_told_from_what_gives_probabilities(estimator, votes):
    assert teacher_of(estimator, AUDIENCE).gives == (Probabilities() if votes is None else Votes(votes))


def test_shares_of_votes_become_logits_with_half_a_vote_more_for_each_class():
    trees = forest()
    votes = sum(np.eye(3)[tree.predict(X).astype(int)] for tree in trees.estimators_)
    expected = np.log(votes + 0.5) - np.log(5 + 1.5)
    assert (votes == 0).any()
    np.testing.assert_allclose(ask_all(teacher_of(trees, AUDIENCE), EXAMPLES), expected, rtol=1e-5, atol=1e-6)


def test_probabilities_become_their_logarithms():
    regression = LogisticRegression(C=1e-6).fit(X, Y)
    expected = log_softmax(regression.decision_function(X), axis=1)
    np.testing.assert_allclose(ask_all(teacher_of(regression, AUDIENCE), EXAMPLES), expected, rtol=1e-4, atol=1e-5)


# --- classes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [Y, Y.astype(float), NAMES[Y], NAMES[Y].astype(object)])
def test_numbers_are_the_labels_of_the_data_and_names_its_classes(labels):
    who = teacher_of(RandomForestClassifier(5, bootstrap=False, random_state=0).fit(X, labels), AUDIENCE)
    assert torch.equal(ask_all(who, EXAMPLES).argmax(dim=1), EXAMPLES.labels)


def test_names_in_another_order_are_picked():
    examples = examples_of(60, classes=("c", "a", "b"))
    names = np.array(examples.classes)[examples.labels.numpy()]
    trees = RandomForestClassifier(5, bootstrap=False, random_state=0).fit(X, names)
    who = teacher_of(trees, Audience(examples, Preprocess()))
    assert isinstance(who, Picked)
    assert torch.equal(ask_all(who, examples).argmax(dim=1), examples.labels)
    assert who.identity() != teacher_of(forest(), AUDIENCE).identity()


@pytest.mark.parametrize("labels", [np.where(Y == 2, 1, Y), Y + 7, np.array(["x", "y", "z"])[Y]])
def test_classes_that_are_not_those_of_the_data_are_refused(labels):
    with pytest.raises(DataError, match="lacks"):
        teacher_of(forest().fit(X, labels), AUDIENCE)


def test_a_recipe_can_name_the_outputs(tmp_path):
    path = tmp_path / "t.skops"
    skops.io.dump(RandomForestClassifier(5, bootstrap=False, random_state=0).fit(X, np.array([9, 7, 8])[Y]), path)
    with pytest.raises(DataError, match="knows the classes 7, 8, 9"):
        SklearnTeacher(path=str(path)).open(AUDIENCE)
    who = SklearnTeacher(path=str(path), classes=("b", "c", "a")).open(AUDIENCE)
    assert torch.equal(ask_all(who, EXAMPLES).argmax(dim=1), EXAMPLES.labels)
    with pytest.raises(DataError, match="names 2 outputs"):
        SklearnTeacher(path=str(path), classes=("a", "b")).open(AUDIENCE)


# --- what it sees ----------------------------------------------------------------------------------------------------


class Watching(ClassifierMixin, BaseEstimator):
    """Answers the class of the first value, and counts on its rows being what they are said to be."""

    classes_ = np.arange(3)
    seen: list = []  # noqa: RUF012

    def predict_proba(self, rows):
        self.seen.append(rows)
        return np.eye(3)[rows[:, 0].astype(int) % 3]


def test_it_sees_the_stored_values_unless_a_preprocess_is_handed_over():
    Watching.seen.clear()
    ask_all(teacher_of(Watching(), AUDIENCE), EXAMPLES)
    ask_all(teacher_of(Watching(), Audience(EXAMPLES, Preprocess(), handed_over=Preprocess(scale=255.0))), EXAMPLES)
    stored, scaled = Watching.seen
    assert stored.dtype == scaled.dtype == np.float32
    np.testing.assert_array_equal(stored, X)
    np.testing.assert_array_equal(scaled, X / np.float32(255))


def rows_of_a_table():
    """Ages with gaps and jobs with gaps, stored as the source `rows` does; and the table that they come from."""
    rng = np.random.default_rng(0)
    codes, ages = rng.integers(0, 3, 60), rng.normal(40, 9, 60).astype(np.float32)
    ages[::7] = np.nan
    encode = Encode(columns=(Column(name="age"), Column(name="job", vocabulary=("cook", "smith"))))
    stored = torch.from_numpy(np.stack([ages, codes], axis=1).astype(np.float32))
    jobs = pa.array([(None, "cook", "smith")[code] for code in codes])
    labels = torch.from_numpy((codes + (ages > 40)) % 3)
    examples = Examples(stored, labels, EXAMPLES.keys, ("a", "b", "c"))
    return examples, encode, pa.table({"job": jobs, "age": pa.array(ages)})


def columns_by_name():
    coded = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer([("coded", coded, ["job"]), ("filled", SimpleImputer(), ["age"])])
    return make_pipeline(columns, RandomForestClassifier(3, random_state=0))


def test_an_estimator_fitted_on_named_columns_sees_named_columns(tmp_path):
    examples, encode, table = rows_of_a_table()
    fitted, audience = columns_by_name().fit(table, examples.labels.numpy()), Audience(examples, encode)
    expected = Votes(3).logits(torch.from_numpy(fitted.predict_proba(table)).float())
    assert torch.equal(ask_all(teacher_of(fitted, audience), examples), expected)
    skops.io.dump(fitted, tmp_path / "t.skops")
    assert torch.equal(ask_all(SklearnTeacher(path=str(tmp_path / "t.skops")).open(audience), examples), expected)
    other = Encode(columns=(Column(name="age"), Column(name="job", vocabulary=("smith", "cook"))))
    identities = [teacher_of(fitted, Audience(examples, one)).identity() for one in (encode, other)]
    assert identities[0] != identities[1]


def test_columns_that_the_data_lack_are_named():
    examples, _, table = rows_of_a_table()
    fitted = columns_by_name().fit(table, examples.labels.numpy())
    with pytest.raises(DataError, match="fitted on the columns job, age, and the data lack job"):
        teacher_of(fitted, Audience(examples, Encode(columns=(Column(name="age"), Column(name="trade")))))


def test_an_estimator_fitted_on_arrays_sees_the_stored_codes_of_a_table():
    examples, encode, _ = rows_of_a_table()
    fitted = HistGradientBoostingClassifier(max_iter=3).fit(examples.inputs.numpy(), examples.labels.numpy())
    expected = np.log(fitted.predict_proba(examples.inputs.numpy()))
    np.testing.assert_allclose(
        ask_all(teacher_of(fitted, Audience(examples, encode)), examples), expected, rtol=1e-5, atol=1e-6
    )


def test_its_warnings_stay_with_it():
    class Named(Watching):
        def predict_proba(self, rows):
            warnings.warn("X does not have valid feature names", UserWarning, stacklevel=1)
            return super().predict_proba(rows)

    ask_all(teacher_of(Named(), AUDIENCE), EXAMPLES)


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (LogisticRegression(), "no attribute 'coef_'"),
        (RandomForestClassifier(5).fit(X[:, :3], Y), "expecting 3 features"),
        (RandomForestClassifier(5).fit(X, np.stack([Y, Y], axis=1)), "2 questions at once"),
    ],
)
def test_what_it_cannot_do_is_said_in_words(estimator, words):
    estimator.classes_ = np.arange(3)
    with pytest.raises(DataError, match=words):
        ask_all(teacher_of(estimator, AUDIENCE), EXAMPLES)


def test_an_estimator_without_probabilities_is_told_how_to_have_some():
    with pytest.raises(DataError, match="probability=True"):
        teacher_of(SVC().fit(X, Y), AUDIENCE)


def test_it_has_no_parts_to_tap(tmp_path):
    with pytest.raises(RecipeError, match="taps x came with"):
        teacher_of(forest(), Audience(EXAMPLES, Preprocess(), taps=("x",)))
    with pytest.raises(RecipeError, match="taps x were asked of"):
        SklearnTeacher(path=str(tmp_path)).open(Audience(EXAMPLES, Preprocess(), taps=("x",)))


# --- identity and store ----------------------------------------------------------------------------------------------


def ulp(estimator):
    tree = estimator.estimators_[0].tree_
    tree.value[0, 0, 0] = np.nextafter(tree.value[0, 0, 0], 2)
    return estimator


CHANGES = {
    "the same again": forest(),
    "one ulp of a leaf": ulp(forest()),
    "another tree": forest(n_estimators=6),
    "another seed": forest(random_state=1),
    "a parameter": forest(max_depth=3),
    "another class": ExtraTreesClassifier(5, random_state=0).fit(X, Y),
}


def test_the_identity_of_an_estimator_tells_the_smallest_change():
    identities = [digest(EstimatorTeacher(e, Preprocess(), Votes(5)).identity()) for e in CHANGES.values()]
    first = EstimatorTeacher(forest(), Preprocess(), Votes(5))
    assert identities[0] == digest(first.identity())
    assert len(set(identities)) == len(CHANGES)
    assert digest(EstimatorTeacher(forest(), Preprocess(scale=2.0), Votes(5)).identity()) not in identities


def test_content_is_the_same_for_copies_and_for_shared_parts():
    shared = [1.0, 2.0]
    assert content_of([shared, shared]) == content_of([[1.0, 2.0], [1.0, 2.0]])
    assert content_of({"a": np.arange(3)}) != content_of({"a": np.arange(3.0)})
    assert content_of(np.array([{"x": 1}], dtype=object)) != content_of(np.array([{"x": 2}], dtype=object))
    assert content_of({3, 1, 2}) == content_of({2, 3, 1})
    assert content_of(True) != content_of(1) != content_of(1.0) != content_of("1")
    circle: list = [1]
    circle.append(circle)
    other: list = [1]
    other.append(other)
    assert content_of(circle) == content_of(other)
    deep = [0]
    for _ in range(60):
        deep = [deep, deep]  # 2^60 parts, each taken apart once
    assert content_of(deep)
    with pytest.raises(NoContent):
        content_of([lambda x: x])


def test_what_cannot_be_taken_apart_is_known_by_its_name_alone():
    pipeline = make_pipeline(FunctionTransformer(lambda x: x), forest())
    identity = teacher_of(pipeline, AUDIENCE).identity()
    assert identity["content"] is None
    assert identity["class"] == "sklearn.pipeline.Pipeline"
    assert "sklearn" in identity["versions"]


def test_a_store_remembers_an_estimator_and_asks_another_anew(open_store):
    first = open_store(teacher_of(forest(), AUDIENCE), EXAMPLES)
    assert open_store(teacher_of(forest(), AUDIENCE), EXAMPLES).directory == first.directory
    assert open_store(teacher_of(ulp(forest()), AUDIENCE), EXAMPLES).directory != first.directory
    other = EstimatorTeacher(forest(), Preprocess(), Probabilities())
    assert open_store(other, EXAMPLES).directory != first.directory


def test_an_estimator_that_learns_while_it_is_asked_is_refused(open_store):
    class Learning(Watching):
        def predict_proba(self, rows):
            self.asked = getattr(self, "asked", 0) + len(rows)
            return super().predict_proba(rows)

    learning = Learning()
    learning.asked = 0
    globals()["Learning"] = Learning
    Learning.__qualname__ = "Learning"
    with pytest.raises(DataError, match="changed while it was asked"):
        open_store(teacher_of(learning, AUDIENCE), EXAMPLES)


# --- other libraries -------------------------------------------------------------------------------------------------


class Booster:
    """The manners of xgboost's classifier, without its classes."""

    def predict_proba(self, rows):
        shares = np.exp(rows[:, :3] / 100)
        return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def test_any_object_with_predict_proba_teaches():
    who = teacher_of(Booster(), AUDIENCE)
    expected = log_softmax(X[:, :3] / 100, axis=1)
    np.testing.assert_allclose(ask_all(who, EXAMPLES), expected, rtol=1e-5, atol=1e-5)


def test_lightgbm_teaches():
    if importlib.util.find_spec("lightgbm") is None:
        pytest.skip("lightgbm is not installed")
    try:
        import lightgbm
    except OSError as error:
        pytest.skip(f"lightgbm lacks a library of the system: {error}")
    boosted = lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=5, n_jobs=1, verbose=-1).fit(X, NAMES[Y])
    who = teacher_of(boosted, AUDIENCE)
    before = who.identity()
    expected = np.log(np.maximum(boosted.booster_.predict(X), 1e-4))
    np.testing.assert_allclose(ask_all(who, EXAMPLES), expected, rtol=1e-5, atol=1e-6)
    assert who.identity() == before
    assert before["content"] is not None


# --- recipes and files -----------------------------------------------------------------------------------------------


def test_a_recipe_names_what_an_estimator_gives(tmp_path):
    path = str(tmp_path / "t.skops")
    skops.io.dump(forest(), path)
    assert SklearnTeacher(path=path).open(AUDIENCE).gives == Votes(5)
    assert SklearnTeacher(path=path, votes=50).open(AUDIENCE).gives == Votes(50)
    assert SklearnTeacher(path=path, gives="probabilities").open(AUDIENCE).gives == Probabilities()
    skops.io.dump(LogisticRegression(max_iter=5000).fit(X, Y), path)
    assert SklearnTeacher(path=path, votes=50).open(AUDIENCE).gives == Votes(50)
    with pytest.raises(RecipeError, match=r"teacher\.votes"):
        SklearnTeacher(path=path, gives="votes").open(AUDIENCE)
    tree = {"data": {"source": "digits"}, "student": {"model": {"name": "mlp"}}}
    with pytest.raises(RecipeError, match="votes must be 1 or more"):
        recipe_from_tree({**tree, "teacher": {"kind": "sklearn", "path": path, "votes": 0}}, {}, where="here")
    recipe = recipe_from_tree(
        {**tree, "teacher": {"kind": "sklearn", "path": path, "preprocess": {"scale": 16}}}, {}, where="here"
    )
    assert recipe.teacher == SklearnTeacher(path=path, preprocess=Preprocess(scale=16.0))


@pytest.mark.parametrize("estimator", [KINDS[0], KINDS[3], KINDS[5], KINDS[9]], ids=named)
def test_an_estimator_with_any_number_anywhere_is_refused_or_answers(tmp_path, estimator):
    path, chance = tmp_path / "t.skops", np.random.default_rng(0)
    skops.io.dump(estimator, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    names = sorted(name for name in entries if name.endswith(".npy"))
    for _ in range(25):
        name = chance.choice(names)
        damaged = bytearray(entries[name])
        place = chance.integers(128, len(damaged)) if len(damaged) > 128 else 0
        damaged[place] = chance.choice([0, 1, 127, 255])
        zipped(path, {**entries, name: bytes(damaged)})
        with suppress(DataError):
            ask_all(SklearnTeacher(path=str(path)).open(AUDIENCE), EXAMPLES)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.skops does not exist"):
        SklearnTeacher(path=str(tmp_path / "none.skops")).open(AUDIENCE)
