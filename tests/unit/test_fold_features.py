from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy.stats import sem, t
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from blendmake.config.features import FeatureSet
from blendmake.errors import BlendmakeError
from blendmake.features.encoding import any_positive, encodings, level_codes
from blendmake.features.files import features_digest
from blendmake.features.label_sums import LabelSums
from blendmake.features.selection import (
    BINS,
    ENOUGH,
    MutualInformation,
    binned,
    choose,
    sample_rows,
)
from blendmake.files import read_parquet, write_parquet
from blendmake.folds.schemes.group import group_folds
from blendmake.matrix import Rows
from blendmake.seeds import derive_seed
from blendmake.stats.auc import auc
from problems import (
    FOLDS,
    ONE_POSITIVE_FOLD,
    Problem,
    run_fold,
    synthetic,
    synthetic_columns,
    with_fold_features,
    with_labels,
    write_problem,
)

ENCODED: dict[str, Any] = {"target_encoding": {"columns": ["city", "blank"], "targets": "both"}}


def matrix(problem: Problem, part: str = "train") -> pd.DataFrame:
    """Every column of the problem's feature set."""
    files = problem.inputs.feature_files(part)
    values = Rows(files.files, files.columns, np.arange(files.rows)).dense()
    return pd.DataFrame(values, columns=[column.name for column in files.columns])


def listed(problem: Problem) -> dict[str, dict[str, Any]]:
    return {line["name"]: line for line in read_parquet(problem.inputs.columns).to_pylist()}


def selection(problem: Problem) -> pd.DataFrame:
    path = problem.inputs.columns.with_name("selection.parquet")
    frame: pd.DataFrame = read_parquet(path).to_pandas()
    return frame


def written(problem: Problem) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in problem.inputs.columns.parent.iterdir()}


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blendmake.tables.tables.BATCH_ROWS", 100)
        patch.setattr("blendmake.tables.user_files.BATCH_ROWS", 100)
        return synthetic(tmp_path_factory.mktemp("problem"), features={"row_stats": ["main"]})


# Target encoding


def naive_encoding(fit: Sequence[tuple[float, float]], level: float, smoothing: float) -> float:
    """The smoothed mean label of a level from (level, label) pairs, spelled out."""
    known = [(found, label) for found, label in fit if label == label]
    if not known:
        return float("nan")
    prior = sum(label for _, label in known) / len(known)
    inside = [label for found, label in known if found == level]
    if not inside:
        return prior
    return (sum(inside) + smoothing * prior) / (len(inside) + smoothing)


@pytest.mark.parametrize("smoothing", [0.0, 3.5])
def test_encodings_against_a_naive_reference(smoothing: float) -> None:
    rng = np.random.default_rng(1)
    rows, levels, folds = 60, 5, 3
    values = rng.integers(0, levels - 1, rows).astype(np.float32)  # the last level never occurs
    values[rng.random(rows) < 0.2] = np.nan
    labels = rng.integers(0, 2, (rows, 3)).astype(np.float32)
    labels[rng.random(labels.shape) < 0.2] = np.nan
    labels[:, 2] = np.nan
    inner = rng.integers(0, folds, rows)
    labels[inner != 1, 1] = np.nan  # known in one inner fold only
    codes = level_codes(values, levels)
    found = encodings(codes, levels, LabelSums(labels), inner, folds, smoothing)
    assert found.shape == (folds + 1, levels + 1, 3)
    for i in range(folds + 1):
        for j in range(3):
            fit = [(c, y) for c, y, f in zip(codes, labels[:, j], inner, strict=True) if f != i]
            expected = [naive_encoding(fit, level, smoothing) for level in range(levels + 1)]
            np.testing.assert_allclose(found[i, :, j], expected, rtol=1e-6)


def test_any_positive_goes_by_what_is_known() -> None:
    nan = np.nan
    labels = np.array([[0, 1], [nan, 1], [0, 0], [nan, 0], [nan, nan]], np.float32)
    np.testing.assert_array_equal(any_positive(labels), [1, 1, 0, 0, nan])


def test_a_row_and_its_inner_fold_do_not_see_their_own_labels() -> None:
    rng = np.random.default_rng(2)
    codes, inner = rng.integers(0, 4, 50), rng.integers(0, 3, 50)
    labels = rng.integers(0, 2, (50, 2)).astype(np.float32)

    def values(labels: NDArray[np.float32]) -> NDArray[np.float32]:
        return encodings(codes, 3, LabelSums(labels), inner, 3, 5.0)[inner, codes]

    before = values(labels)
    for row in range(50):
        changed = labels.copy()
        changed[row] = 1 - changed[row]
        after = values(changed)
        np.testing.assert_array_equal(after[inner == inner[row]], before[inner == inner[row]])
        assert (after[inner != inner[row]] != before[inner != inner[row]]).any()


@pytest.mark.parametrize("fold", range(FOLDS))
def test_held_out_and_test_rows_get_what_all_training_rows_say(problem: Problem, fold: int) -> None:
    done = with_fold_features(problem, fold, ENCODED)
    train, test = matrix(done), matrix(done, "test")
    rows = problem.rows(fold)
    levels = listed(problem)["city"]["levels"]
    labels = {name: problem.column(name) for name in problem.targets}
    labels["any"] = np.asarray(any_positive(problem.labels.astype(np.float32)))
    for target, label in labels.items():
        name = "city__encoded" if target == "any" else f"city__encoded__{target}"
        codes = train["city"].fillna(levels)
        fit = list(zip(codes[rows.train], label[rows.train], strict=True))
        for frame, at in ((train, rows.valid), (test, np.arange(len(test)))):
            found = frame[name].to_numpy()[at]
            keys = frame["city"].fillna(levels).to_numpy()[at]
            expected = {key: naive_encoding(fit, key, 20.0) for key in set(keys)}
            np.testing.assert_allclose(found, [expected[key] for key in keys], rtol=1e-6)
    # A level that the training rows lack is the prior.
    unseen = np.setdiff1d(test["city"].dropna(), train["city"][rows.train])
    assert len(unseen)
    prior = np.nanmean(problem.column("full")[rows.train])
    at = test["city"].isin(unseen)
    np.testing.assert_allclose(test["city__encoded__full"][at], prior, rtol=1e-6)


def test_training_rows_get_what_the_other_inner_folds_say(tmp_path: Path) -> None:
    """Whole groups stay in one inner fold."""
    rows, fold = 240, 1
    groups = np.arange(rows) // 4
    train, test, odds = synthetic_columns(rows, 10, groups % FOLDS)
    labels = (odds > 0).astype(float)[:, None]
    made = write_problem(tmp_path, train, test, labels, ["y"], fold=groups % FOLDS, groups=groups)
    keys = {"target_encoding": {"columns": "city", "folds": 4, "smoothing": 2}}
    done = with_fold_features(made, fold, keys, groups=groups, seed=5)
    inside = made.rows(fold).train
    seed = derive_seed(5, "target_encoding", fold)
    inner = group_folds(labels[inside].astype(np.float32), groups[inside], 4, seed)
    assert all(len(set(inner[groups[inside] == g])) == 1 for g in set(groups[inside]))
    frame = matrix(done).iloc[inside]
    codes = frame["city"].fillna(-1).to_numpy()
    for i in range(4):
        fit = list(zip(codes[inner != i], labels[inside, 0][inner != i], strict=True))
        expected = [naive_encoding(fit, code, 2) for code in codes[inner == i]]
        np.testing.assert_allclose(frame["city__encoded"][inner == i], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("any", {"city__encoded": None}),
        ("each", {f"city__encoded__{x}": [x] for x in ("full", "other", "gaps", "rare")}),
        (
            "both",
            {
                "city__encoded": None,
                **{f"city__encoded__{x}": [x] for x in ("full", "other", "gaps", "rare")},
            },
        ),
    ],
)
def test_what_is_listed(problem: Problem, targets: str, expected: dict[str, Any]) -> None:
    keys = {"target_encoding": {"columns": ["ci*"], "targets": targets}}
    done = with_fold_features(problem, 0, keys, name=f"listed_{targets}")
    lines = listed(done)
    assert list(lines) == [*listed(problem), *expected]
    assert {k: line["targets"] for k, line in lines.items() if line["origin"] == "fold"} == expected
    assert all(lines[name]["targets"] is None for name in listed(problem))
    assert lines["city"]["level_names"] == listed(problem)["city"]["level_names"]
    files = done.inputs.feature_files("train")
    assert files.files["fold"].names == list(expected)
    for target in problem.targets:
        own = [name for name, of in expected.items() if of is None or target in of]
        assert [c.name for c in files.columns_of(target)] == [*listed(problem), *own]
    assert len(selection(done)) == 0


def test_fewer_positives_than_inner_folds(problem: Problem) -> None:
    others = [k for k in range(FOLDS) if k != ONE_POSITIVE_FOLD]
    labels = problem.labels.copy()
    rare = np.flatnonzero(labels[:, 3] == 1)
    labels[rare[1:], 3] = 0
    labels[rare[0] + 1 :: 2, 1] = np.nan
    changed = with_labels(problem, labels, "one_positive")
    for k in others:
        keys = {"target_encoding": {"columns": "city", "targets": "each", "folds": 10}}
        done = with_fold_features(changed, k, keys, name="one_positive")
        values = matrix(done)["city__encoded__rare"]
        assert np.isfinite(values).all()
        assert values.between(0, 1).all()


def test_a_model_reads_the_encodings(problem: Problem, tmp_path: Path) -> None:
    keys = {"target_encoding": {"columns": "city", "targets": "each", "smoothing": 0}}
    done = with_fold_features(problem, 0, keys, name="read")
    fitted = run_fold(done, "linear", tmp_path, rounds=50, targets=["full", "other"])
    assert np.isfinite(fitted.oof.values).all()
    assert auc(done.column("full")[done.rows(0).valid], fitted.held_out("full")) > 0.7


# No label and no feature of a held-out row has a say


def test_held_out_rows_change_nothing_in_training_rows(tmp_path: Path) -> None:
    rows = 240
    fold = np.arange(rows) % FOLDS
    train, test, odds = synthetic_columns(rows, 20, fold)
    rng = np.random.default_rng(3)
    labels = np.column_stack([odds + rng.logistic(size=rows) > x for x in (0, 1)]).astype(float)
    labels[rng.random(labels.shape) < 0.1] = np.nan
    held = np.flatnonzero(fold == 0)
    order = np.arange(rows)
    order[held] = rng.permutation(held)
    # Values move among held-out rows, and numbers change: the levels of the tables stay.
    changed = {name: pa.array(column).take(pa.array(order)) for name, column in train.items()}
    changed["n0"] = pa.array(np.where(fold == 0, 9.0, train["n0"].to_numpy()))
    flipped = np.where((fold == 0)[:, None], 1 - labels, labels)
    keys = {
        "target_encoding": {"columns": ["city", "blank"], "targets": "both"},
        "select": {"top": 4, "keep": ["n2"], "per_target": True},
    }
    made = {
        name: write_problem(tmp_path / name, columns, test, y, ["a", "b"], fold=fold)
        for name, columns, y in (("before", train, labels), ("after", changed, flipped))
    }
    done = {name: with_fold_features(problem, 0, keys) for name, problem in made.items()}
    assert listed(done["before"]) == listed(done["after"])
    pd.testing.assert_frame_equal(selection(done["before"]), selection(done["after"]))
    inside = made["before"].rows(0).train
    before, after = (matrix(problem).iloc[inside] for problem in done.values())
    pd.testing.assert_frame_equal(before, after, check_exact=True)
    before, after = (matrix(problem, "test") for problem in done.values())
    pd.testing.assert_frame_equal(before, after, check_exact=True)
    # The same change does show in a fold that trains on those rows.
    done = {name: with_fold_features(problem, 1, keys) for name, problem in made.items()}
    assert not selection(done["before"]).equals(selection(done["after"]))


def permuted_problem(folder: Path, times: int) -> Problem:
    """Targets that are permutations, within folds, of labels that the category explains."""
    rows = 300
    fold = np.arange(rows) % FOLDS
    rng = np.random.default_rng(11)
    city = rng.integers(0, 40, rows)
    labels = (np.isin(city, range(20)) ^ (rng.random(rows) < 0.2)).astype(float)
    every = np.empty((rows, times))
    for k in range(FOLDS):
        inside = np.flatnonzero(fold == k)
        for j in range(times):
            every[inside, j] = labels[rng.permutation(inside)]
    names = [f"p{j}" for j in range(times)]
    train = {"city": pa.array([f"c{c}" for c in city]), "x": rng.normal(size=rows)}
    return write_problem(folder, train, {"city": ["c0"], "x": [0.0]}, every, names, fold=fold)


def test_encodings_of_permuted_labels_say_nothing_of_held_out_rows(tmp_path: Path) -> None:
    times = 60
    made = permuted_problem(tmp_path, times)
    keys = {"target_encoding": {"columns": "city", "targets": "each", "smoothing": 2}}
    honest, naive, own = (np.empty((FOLDS, times)) for _ in range(3))
    for k in range(FOLDS):
        frame, rows = matrix(with_fold_features(made, k, keys)), made.rows(k)
        for j, name in enumerate(made.targets):
            labels, values = made.column(name), frame[f"city__encoded__{name}"].to_numpy()
            honest[k, j] = auc(labels[rows.valid], values[rows.valid])
            own[k, j] = auc(labels[rows.train], values[rows.train])
            means = pd.Series(labels).groupby(frame["city"]).transform("mean").to_numpy()
            naive[k, j] = auc(labels[rows.valid], means[rows.valid])

    def interval(values: NDArray[np.float64]) -> tuple[float, float]:
        means = values.mean(axis=0)
        low, high = t.interval(0.99, times - 1, means.mean(), sem(means))
        return float(low), float(high)

    low, high = interval(honest)
    assert low < 0.5 < high
    assert high - low < 0.06  # narrow enough to see a leak
    assert interval(own)[1] < 0.52  # training rows do not see their own labels either
    assert interval(naive)[0] > 0.6  # a careless encoding is caught


# Mutual information


def test_mutual_information_against_scikit_learn() -> None:
    """The plug-in value less that of shuffled labels, which scikit-learn has exactly."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, (500, 3)).astype(np.float32)
    labels[:, 1] = rng.random(500) < 0.03
    labels[rng.random(500) < 0.3, 2] = np.nan
    number = (labels[:, 0] + rng.normal(size=500)).astype(np.float32)
    number[rng.random(500) < 0.1] = np.nan
    columns = {
        "number": binned(number, 0),
        "category": binned(rng.integers(0, 90, 500).astype(np.float32), 90),
        "identity": binned(np.arange(500, dtype=np.float32), 500),
        "half": binned((np.arange(500) % 2).astype(np.float32), 2),
    }
    assert columns["number"][1] == BINS + 1
    score = MutualInformation(labels)
    found = {name: score(*codes) for name, codes in columns.items()}
    for name, (codes, _) in columns.items():
        for j in range(3):
            known = ~np.isnan(labels[:, j])
            table = contingency_matrix(codes[known], labels[known, j], sparse=True)
            plain = mutual_info_score(None, None, contingency=table)
            chance = expected_mutual_information(table.astype(np.int64), int(known.sum()))
            assert found[name][j] == pytest.approx(plain - chance, abs=2e-5)
    assert found["number"][0] > 0.05
    np.testing.assert_allclose(found["identity"], 0, atol=1e-9)


@pytest.mark.parametrize("bins", [2, 32, 500])
@pytest.mark.parametrize("share", [0.01, 0.3])
def test_what_says_nothing_scores_zero(bins: int, share: float) -> None:
    rng = np.random.default_rng(bins)
    labels = (rng.random((2000, 100)) < share).astype(np.float32)
    codes = rng.integers(0, bins, 2000)
    values = MutualInformation(labels)(codes, bins)
    assert abs(values.mean()) < 3 * sem(values)
    if bins > 2:
        plain = [mutual_info_score(codes, labels[:, j]) for j in range(100)]
        assert np.mean(plain) > 10 * abs(values.mean())


def test_no_score_without_two_codes_and_two_classes() -> None:
    labels = np.array([[0, 1, np.nan], [1, 1, np.nan], [1, 1, np.nan]], np.float32)
    score = MutualInformation(labels)
    np.testing.assert_array_equal(np.isnan(score(np.array([0, 1, 1]), 2)), [False, True, True])
    assert np.isnan(score(np.zeros(3, np.intp), 2)).all()


def test_categories_are_judged_by_the_levels_that_occur() -> None:
    values = np.array([7, np.nan, 7, 900_000], np.float32)
    codes, n_codes = binned(values, 1_000_000)
    assert (codes.tolist(), n_codes) == ([0, 2, 0, 1], 3)


def test_the_sample_holds_what_there_is_of_a_rare_class() -> None:
    rng = np.random.default_rng(6)
    labels = np.zeros((20_000, 3), np.float32)
    labels[:, 0] = rng.random(20_000) < 0.5
    labels[rng.permutation(20_000)[:60], 1] = 1
    labels[rng.permutation(20_000)[:2000], 2] = 1
    labels[rng.permutation(20_000)[:5000], 2] = np.nan
    rows = sample_rows(labels, 1000, 1)
    assert (np.diff(rows) > 0).all()
    assert 1000 < len(rows) < 1000 + 60 + ENOUGH
    assert labels[rows, 1].sum() == 60
    assert np.nansum(labels[rows, 2]) >= ENOUGH
    assert np.array_equal(rows, sample_rows(labels, 1000, 1))
    assert not np.array_equal(rows, sample_rows(labels, 1000, 2))
    assert np.array_equal(sample_rows(labels, 10**6, 1), np.arange(20_000))


def test_choosing() -> None:
    nan = np.nan
    scores = np.array([[5, 1, nan], [4, 1, nan], [3, 9, nan], [nan, 8, nan], [-1, 0, 2]], float)
    ranks, chosen = choose(scores, 2)
    np.testing.assert_array_equal(ranks.T, [[1, 2, 3, 0, 4], [3, 4, 1, 2, 5], [0, 0, 0, 0, 1]])
    np.testing.assert_array_equal(chosen.T, [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]])
    # First what is some target's best, then by evidence.
    _, capped = choose(scores, 2, 4)
    np.testing.assert_array_equal(capped.any(axis=1), [1, 0, 1, 1, 1])
    _, capped = choose(scores, 2, 2)
    np.testing.assert_array_equal(capped.any(axis=1), [1, 0, 1, 0, 0])
    np.testing.assert_array_equal(choose(scores, 2, 5)[1], chosen)


# Selection


def wide_problem(folder: Path) -> Problem:
    """40 columns: `a…` explain the target a, `b…` the target b, others nothing."""
    rng = np.random.default_rng(8)
    rows = 600
    labels = rng.integers(0, 2, (rows, 2)).astype(float)
    numbers = rng.normal(size=(rows + 20, 36))
    numbers[:rows, :3] += 1.2 * labels[:, :1]
    numbers[:rows, 3:6] += 1.2 * labels[:, 1:]
    names = [*(f"a{i}" for i in range(3)), *(f"b{i}" for i in range(3))]
    names += [f"noise{i}" for i in range(30)]
    columns: dict[str, Any] = {name: numbers[:, j] for j, name in enumerate(names)}
    city = np.where(
        rng.random(rows + 20) < 0.3, "x", np.append(labels[:, 0], np.ones(20)).astype(str)
    )
    columns |= {"city": city, "id_like": np.array([f"v{i % 590}" for i in range(rows + 20)])}
    columns |= {"constant": np.ones(rows + 20), "empty": np.full(rows + 20, np.nan)}
    train = {name: column[:rows] for name, column in columns.items()}
    test = {name: column[rows:] for name, column in columns.items()}
    return write_problem(folder, train, test, labels, ["a", "b"])


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return wide_problem(tmp_path_factory.mktemp("wide"))


def test_the_columns_that_explain_a_target_are_chosen(wide: Problem) -> None:
    keys = {
        "target_encoding": {"columns": "city", "targets": "each"},
        "select": {"top": 5, "keep": ["noise2?", "*__encoded__b"], "per_target": True},
    }
    done = with_fold_features(wide, 1, keys)
    lines, kept = listed(done), {f"noise2{i}" for i in range(10)}
    own = {name: line["targets"] for name, line in lines.items()}
    chosen = {x: {name for name, of in own.items() if of and x in of} for x in "ab"}
    assert chosen["a"] == {"a0", "a1", "a2", "city", "city__encoded__a"}
    assert {"b0", "b1", "b2"} < chosen["b"]
    assert len(chosen["b"] - {"city__encoded__b"}) == 5
    assert {name for name, targets in own.items() if targets is None} == kept
    assert own["city__encoded__b"] == ["b"]  # kept, but no other target's
    assert "id_like" not in own and "constant" not in own and "empty" not in own
    assert done.inputs.feature_files("train").files["fold"].names == [
        "city__encoded__a",
        "city__encoded__b",
    ]
    table = selection(done)
    assert list(table.columns) == ["target", "feature", "score", "rank", "selected"]
    for target, part in table.groupby("target"):
        other = "b" if target == "a" else "a"
        assert set(part["feature"]) == {*listed(wide), f"city__encoded__{target}"}
        assert f"city__encoded__{other}" not in set(part["feature"])
        ranked = part[part["rank"].notna()]
        assert list(ranked["rank"]) == list(range(1, len(ranked) + 1))
        assert (np.diff(ranked["score"]) <= 0).all()
        assert set(part["feature"][part["selected"]]) == {
            name for name, targets in own.items() if targets is None or target in targets
        }
        without = part[part["score"].isna()]
        assert set(without["feature"]) == {"constant", "empty"}
        assert not without["selected"].any()


def test_scores_are_those_of_the_training_rows(wide: Problem) -> None:
    done = with_fold_features(wide, 0, {"select": {"top": 1}}, name="scores")
    rows = wide.rows(0).train
    score = MutualInformation(wide.labels[rows].astype(np.float32))
    frame, table = matrix(wide), selection(done).set_index(["feature", "target"])["score"]
    for name, levels in (("a0", 0), ("noise3", 0), ("city", 3)):
        values = frame[name].to_numpy()[rows]
        expected = score(*binned(values, levels))
        np.testing.assert_allclose(table[name][["a", "b"]], expected, rtol=1e-9)
    best = {part.nlargest(1).index[0][0] for _, part in table.groupby(level="target")}
    assert set(listed(done)) == best


def test_the_cap_and_a_common_list(wide: Problem) -> None:
    done = with_fold_features(wide, 0, {"select": {"top": 9, "cap": 6}}, name="capped")
    assert len(listed(done)) == 6
    assert all(line["targets"] is None for line in listed(done).values())
    assert done.inputs.feature_files("test").files["fold"].names == []
    keys = {"select": {"top": 9, "cap": 1, "per_target": True}}
    with pytest.raises(BlendmakeError, match=r"target 'b' is left without .* fold 0.*select\.cap"):
        with_fold_features(wide, 0, keys, name="starved")
    assert not (wide.folder / "starved" / "fold0" / "columns.parquet").exists()


def test_results_repeat_and_follow_the_seed(wide: Problem) -> None:
    keys = {"target_encoding": {"columns": "city"}, "select": {"top": 30, "sample": 100}}
    first, again, other = (
        with_fold_features(wide, 0, keys, name=name, seed=seed)
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert written(first) == written(again)
    assert written(first)["train.arrow"] != written(other)["train.arrow"]
    assert written(first)["selection.parquet"] != written(other)["selection.parquet"]


def test_the_digest_follows_the_content_of_the_fold(wide: Problem) -> None:
    keys = {"target_encoding": {"columns": "city", "smoothing": 1}}
    digests = [
        str(features_digest(with_fold_features(wide, fold, keys, name=name).inputs.columns))
        for name, fold in (("d0", 0), ("d0", 1), ("d1", 0))
    ]
    assert digests[0] == digests[2] != digests[1]
    keys["target_encoding"]["smoothing"] = 2
    changed = with_fold_features(wide, 0, keys, name="d2")
    assert list(listed(changed)) == [*listed(wide), "city__encoded"]
    assert str(features_digest(changed.inputs.columns)) != digests[0]


# Audits


def drop_list(folder: Path, rows: Mapping[str, Sequence[str]]) -> Path:
    pairs = [(name, feature) for name, features in rows.items() for feature in features]
    table = pa.table({"list": [a for a, _ in pairs], "feature": [b for _, b in pairs]})
    write_parquet(table, folder / "drop.parquet")
    return folder / "drop.parquet"


def test_an_audits_list_leaves_columns_out(wide: Problem, tmp_path: Path) -> None:
    path = drop_list(
        tmp_path, {"signal_only": ["city", "a0", "of another set"], "drift_pruned": ["b0"]}
    )
    keys: dict[str, Any] = {"audit": {"name": "main", "list": "signal_only"}}
    done = with_fold_features(wide, 0, keys, name="audited", audit=path)
    assert list(listed(done)) == [name for name in listed(wide) if name not in ("city", "a0")]
    keys["audit"]["list"] = "drift_pruned"
    other = with_fold_features(wide, 0, keys, name="pruned", audit=path)
    assert list(listed(other)) == [name for name in listed(wide) if name != "b0"]


def test_encodings_of_what_an_audit_drops_are_not_made(wide: Problem, tmp_path: Path) -> None:
    keys = {
        "audit": {"name": "main", "list": "signal_only"},
        "target_encoding": {"columns": ["city", "id_*"]},
        "select": {"top": 2, "keep": "city"},
    }
    path = drop_list(tmp_path, {"signal_only": ["city"]})
    done = with_fold_features(wide, 0, keys, name="dropped", audit=path)
    found = set(selection(done)["feature"])
    assert "id_like__encoded" in found
    assert not {"city", "city__encoded"} & (found | set(listed(done)))


def test_an_audit_that_drops_everything_is_refused(wide: Problem, tmp_path: Path) -> None:
    path = drop_list(tmp_path, {"signal_only": list(listed(wide))})
    keys = {"audit": {"name": "main", "list": "signal_only"}}
    with pytest.raises(BlendmakeError, match=r"drop\.parquet.*every column.*fold 2.*audit"):
        with_fold_features(wide, 2, keys, name="nothing", audit=path)


# Settings


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (
            {"target_encoding": {"columns": ["city", "noise*"]}},
            r"target_encoding\.columns: 'noise\*'",
        ),
        (
            {"select": {"top": 1, "keep": ["nothing*"]}},
            r"select\.keep: 'nothing\*' matches no column",
        ),
    ],
)
def test_patterns_that_match_nothing(wide: Problem, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(BlendmakeError, match=says):
        with_fold_features(wide, 0, keys, name="unmatched")
    assert not (wide.folder / "unmatched").exists()


def test_slices_hold_what_is_set() -> None:
    plain = FeatureSet.model_validate(
        {"files": {"main": {}, "extra": {"first": 0}}, "row_stats": []}
    )
    assert not plain.uses_labels
    expected = {"files": {"main": {}, "extra": {"first": 0}}}
    assert plain.slice() == {**expected, "categories": "native", "categorical_below": 0}
    assert "files" not in FeatureSet().slice()
    assert FeatureSet(files={}).slice()["files"] == {}
    rich = FeatureSet.model_validate(
        {**expected, "svd": {"files": "extra"}, "select": {"top": 3}, "missing_flags": "main"}
    )
    assert rich.uses_labels
    assert list(rich.slice_with_labels()) == ["select"]
    assert rich.slice_without_labels()["svd"] == {"files": ["extra"], "components": 32}
    assert rich.slice_without_labels().keys() | rich.slice_with_labels() == rich.slice().keys()
    assert rich.file_labels() == {
        "row_stats": [],
        "missing_flags": ["main"],
        "svd.files": ["extra"],
    }
