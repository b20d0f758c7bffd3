from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as reference

from blendmake import scores as tables
from blendmake.errors import BlendmakeError
from blendmake.metrics.choice import metrics_for, metrics_of
from blendmake.scores import COMPARISON, SCORES
from blendmake.stats.auc import auc
from blendmake.stats.intervals import dense_codes, influence, interval, standard_error
from blendmake.tasks.base import Target, find_task, targets_of_note

Z = 1.959963984540054


def score_predictions(
    predictions: Any, labels: Any, names: Sequence[str], **given: Any
) -> pa.Table:
    """Of binary targets."""
    return tables.score_predictions(predictions, labels, targets_of_note(names, {}), **given)


def compare_predictions(
    a: Any, b: Any, labels: Any, names: Sequence[str], **given: Any
) -> pa.Table:
    """Of binary targets."""
    return tables.compare_predictions(a, b, labels, targets_of_note(names, {}), **given)


def delong_variance(labels: NDArray[Any], scores: NDArray[Any]) -> float:
    """DeLong's variance straight from its definition, all pairs at once."""
    x, y = scores[labels], scores[~labels]
    pairs = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
    v10, v01 = pairs.mean(axis=1), pairs.mean(axis=0)
    return float(v10.var(ddof=1) / x.size + v01.var(ddof=1) / y.size)


def obuchowski_variance(labels: NDArray[Any], scores: NDArray[Any], groups: NDArray[Any]) -> float:
    """Obuchowski's (1997) estimator as the paper writes it, over an explicit loop of clusters."""
    x, y = scores[labels], scores[~labels]
    pairs = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
    area, m, n = pairs.mean(), x.size, y.size
    v10, v01, gx, gy = pairs.mean(axis=1), pairs.mean(axis=0), groups[labels], groups[~labels]
    names = np.unique(groups)
    tx = np.array([(v10[gx == g] - area).sum() for g in names])
    ty = np.array([(v01[gy == g] - area).sum() for g in names])
    k10, k01, k = np.unique(gx).size, np.unique(gy).size, names.size
    s10 = k10 / ((k10 - 1) * m) * (tx**2).sum()
    s01 = k01 / ((k01 - 1) * n) * (ty**2).sum()
    s11 = k / (k - 1) * (tx * ty).sum()
    return float(s10 / m + s01 / n + 2 * s11 / (m * n))


def sample(
    rng: np.random.Generator, rows: int, decimals: int = 9
) -> tuple[NDArray[Any], NDArray[Any]]:
    labels = rng.random(rows) < 0.3
    return labels, np.round(rng.normal(size=rows) + labels, decimals)


def correlated_targets(
    rng: np.random.Generator, rows: int, count: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Targets that share most of their signal and of their noise; a tenth of labels unknown."""
    latent, noise = rng.normal(size=(rows, 1)), rng.normal(size=(rows, 1))
    labels = (latent + 0.4 * rng.normal(size=(rows, count)) > 0.8).astype(float)
    scores = latent + 1.5 * noise + 0.3 * rng.normal(size=(rows, count))
    labels[rng.random(labels.shape) < 0.1] = np.nan
    return labels, scores


def clusters(
    rng: np.random.Generator, count: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Clusters of 2 to 9 rows, alike in label and in score."""
    groups = np.repeat(np.arange(count), rng.integers(2, 10, size=count))
    latent, noise = rng.normal(size=count)[groups], rng.normal(size=count)[groups]
    labels = latent + 0.5 * rng.normal(size=groups.size) > 0.5
    scores = 0.7 * latent + 1.2 * noise + 0.5 * rng.normal(size=groups.size)
    return labels, scores, groups


def cells(table: Any, metric: str = "auc") -> dict[str, dict[str, Any]]:
    return {row["target"]: row for row in table.to_pylist() if row["metric"] == metric}


def half_width(row: dict[str, Any]) -> float:
    return float(row["ci_high"] - row["ci_low"]) / 2


# --- influence values and standard errors ---------------------------------------------------------


@pytest.mark.parametrize("decimals", [0, 1, 9])
@pytest.mark.parametrize("rows", [12, 57, 400])
def test_sum_of_squares_is_delongs_variance(rows: int, decimals: int) -> None:
    labels, scores = sample(np.random.default_rng(rows), rows, decimals)
    value, phi = influence(labels, scores)
    assert value == auc(labels, scores)
    assert abs(phi.sum()) < 1e-12
    expected = delong_variance(labels, scores)
    assert standard_error(phi) ** 2 == pytest.approx(expected, rel=1e-10)


def test_groups_of_one_row_give_delong() -> None:
    labels, scores = sample(np.random.default_rng(5), 40)
    alone = np.random.default_rng(6).permutation(40) * 10**9 - 7
    phi = influence(labels, scores, alone)[1]
    expected = delong_variance(labels, scores)
    assert standard_error(phi, alone) ** 2 == pytest.approx(expected, rel=1e-10)


def test_groups_follow_obuchowski() -> None:
    labels, scores, groups = clusters(np.random.default_rng(7), 120)
    phi = influence(labels, scores, groups)[1]
    # 1%: the covariance term's small-sample factor differs from the paper's by order 1/clusters.
    expected = obuchowski_variance(labels, scores, groups)
    assert standard_error(phi, groups) ** 2 == pytest.approx(expected, rel=0.01)


def test_groups_of_one_class_follow_obuchowski_exactly() -> None:
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(30), 4)
    labels = groups < 11
    scores = rng.normal(size=30)[groups] + labels + 0.5 * rng.normal(size=120)
    phi = influence(labels, scores, groups)[1]
    expected = obuchowski_variance(labels, scores, groups)
    assert standard_error(phi, groups) ** 2 == pytest.approx(expected, rel=1e-10)


def test_clustered_error_agrees_with_cluster_bootstrap() -> None:
    rng = np.random.default_rng(11)
    labels, scores, groups = clusters(rng, 200)
    members = [np.flatnonzero(groups == g) for g in range(200)]
    draws = []
    for _ in range(1000):
        rows = np.concatenate([members[g] for g in rng.integers(0, 200, size=200)])
        draws.append(auc(labels[rows], scores[rows]))
    bootstrap = float(np.std(draws, ddof=1))
    clustered = standard_error(influence(labels, scores, groups)[1], groups)
    # 10%: the bootstrap's own error is 2%, the rest is that the two differ in small samples.
    assert clustered == pytest.approx(bootstrap, rel=0.10)
    assert standard_error(influence(labels, scores)[1]) < 0.7 * bootstrap


def test_absent_class_has_no_influence() -> None:
    value, phi = influence(np.zeros(4), np.arange(4.0))
    assert math.isnan(value)
    assert phi.tolist() == [0.0] * 4


def test_one_positive_has_a_value_and_no_error() -> None:
    labels = np.array([1, 0, 0, 0])
    value, phi = influence(labels, np.array([0.5, 0.1, 0.7, 0.2]))
    assert value == pytest.approx(2 / 3)
    assert math.isnan(standard_error(phi))
    one_group = np.array([0, 0, 1, 2, 3])
    phi = influence(np.array([1, 1, 0, 0, 0]), np.arange(5.0), one_group)[1]
    assert math.isnan(standard_error(phi, one_group))


def test_interval_is_wald_and_clipped() -> None:
    assert interval(0.7, 0.1) == pytest.approx((0.7 - 0.1 * Z, 0.7 + 0.1 * Z))
    assert interval(0.7, 0.1, level=0.5) == pytest.approx((0.6325510, 0.7674490))
    assert interval(0.95, 0.1)[1] == 1.0
    assert interval(-0.1, 0.1, bounds=(-1.0, 1.0))[0] == pytest.approx(-0.1 - 0.1 * Z)
    assert all(math.isnan(x) for x in interval(0.5, math.nan))
    assert all(math.isnan(x) for x in interval(math.nan, 0.0))
    with pytest.raises(ValueError, match="level"):
        interval(0.5, 0.1, level=95)


def test_codes_keep_groups_apart() -> None:
    codes = dense_codes([10**12, -5, 10**12, 7], 4)
    assert codes.tolist() == [2, 0, 2, 1]
    assert dense_codes([10**12, 5, 10**12, 7], 4).tolist() == [2, 0, 2, 1]
    with pytest.raises(ValueError, match="integer"):
        dense_codes([0.5, 1.0], 2)
    with pytest.raises(ValueError, match="shape"):
        dense_codes([0, 1, 2], 2)


def test_coverage_is_near_its_level() -> None:
    # Scores N(1, 1) against N(0, 1): the true AUC is Phi(1 / sqrt 2). The share of hits has a
    # standard error of 0.5%, and Wald intervals are slightly short at 60 positives.
    truth = 0.5 * (1 + math.erf(0.5))
    rng = np.random.default_rng(17)
    hits = 0
    for _ in range(2000):
        labels, scores = sample(rng, 200)
        value, phi = influence(labels, scores)
        low, high = interval(value, standard_error(phi))
        hits += low <= truth <= high
    assert 0.93 <= hits / 2000 <= 0.965


# --- tables ---------------------------------------------------------------------------------------


def test_table_has_its_columns_values_and_order() -> None:
    rng = np.random.default_rng(21)
    labels, scores = correlated_targets(rng, 300, 3)
    folds = rng.integers(0, 4, size=300)
    table = score_predictions(
        scores, labels, ["x", "y", "z"], folds=folds, estimate="oof", optimistic=["x", "y", "z"]
    )
    assert table.schema.equals(SCORES)
    assert table.column("target").to_pylist() == ["x", "x", "y", "y", "z", "z", "macro", "macro"]
    assert table.column("metric").to_pylist() == ["auc", "auc_fold_mean"] * 4
    assert set(table.column("estimate").to_pylist()) == {"oof"}
    assert set(table.column("optimistic").to_pylist()) == {True}
    rows = cells(table)
    for column, target in enumerate(["x", "y", "z"]):
        known = ~np.isnan(labels[:, column])
        truth, x = labels[known, column] == 1, scores[known, column]
        row = rows[target]
        assert row["value"] == auc(truth, x)
        assert half_width(row) == pytest.approx(Z * math.sqrt(delong_variance(truth, x)), rel=1e-9)
        assert (row["n"], row["positives"]) == (known.sum(), truth.sum())
    macro = rows["macro"]
    assert macro["value"] == pytest.approx(np.mean([rows[t]["value"] for t in "xyz"]), abs=1e-15)
    assert macro["n"] == (~np.isnan(labels)).any(axis=1).sum()
    assert macro["positives"] == np.nansum(labels)


def test_fold_mean_is_over_folds_with_both_classes() -> None:
    rng = np.random.default_rng(22)
    truth, scores = sample(rng, 300)
    folds = rng.integers(0, 3, size=300) * 10
    truth[folds == 20] = False
    scores[folds == 10] += 5  # moves the pooled AUC, not the ones within folds
    table = score_predictions(
        scores[:, None], truth[:, None].astype(float), ["t"], folds=folds, estimate="oof"
    )
    row = cells(table, "auc_fold_mean")["t"]
    kept = [folds == 0, folds == 10]
    assert row["value"] == pytest.approx(np.mean([auc(truth[f], scores[f]) for f in kept]))
    variance = sum(delong_variance(truth[f], scores[f]) for f in kept) / 4
    assert half_width(row) == pytest.approx(Z * math.sqrt(variance), rel=1e-9)
    assert abs(cells(table)["t"]["value"] - row["value"]) > 0.02


def test_without_folds_there_is_no_fold_mean() -> None:
    labels, scores = correlated_targets(np.random.default_rng(0), 100, 2)
    table = score_predictions(scores, labels, ["x", "y"], estimate="oof")
    assert set(table.column("metric").to_pylist()) == {"auc"}


def test_undefined_target_is_null_and_not_in_the_macro() -> None:
    rng = np.random.default_rng(23)
    labels, scores = correlated_targets(rng, 200, 3)
    labels[labels[:, 1] == 1, 1] = 0.0
    folds = rng.integers(0, 3, size=200)
    both = score_predictions(scores, labels, ["x", "y", "z"], folds=folds, estimate="oof")
    without = score_predictions(
        scores[:, ::2], labels[:, ::2], ["x", "z"], folds=folds, estimate="oof"
    )
    for metric in ("auc", "auc_fold_mean"):
        rows, expected = cells(both, metric), cells(without, metric)
        row = rows["y"]
        assert (row["value"], row["ci_low"], row["ci_high"]) == (None, None, None)
        assert (row["n"], row["positives"]) == ((~np.isnan(labels[:, 1])).sum(), 0)
        for column in ("value", "ci_low", "ci_high"):
            assert rows["macro"][column] == expected["macro"][column]
    compared = cells(compare_predictions(scores, scores, labels, ["x", "y", "z"]))
    assert compared["y"]["difference"] is None
    assert compared["macro"]["difference"] == 0.0


def test_macro_is_null_if_no_target_is_defined() -> None:
    labels = np.array([[0.0, np.nan], [0.0, np.nan], [np.nan, np.nan]])
    table = score_predictions(np.zeros((3, 2)), labels, ["x", "y"], estimate="oof")
    row = cells(table)["macro"]
    assert (row["value"], row["ci_low"], row["n"], row["positives"]) == (None, None, 2, 0)


def test_macro_interval_agrees_with_row_bootstrap() -> None:
    rng = np.random.default_rng(31)
    labels, scores = correlated_targets(rng, 500, 6)
    targets = [f"t{i}" for i in range(6)]
    rows = cells(score_predictions(scores, labels, targets, estimate="oof"))
    draws = []
    for _ in range(1000):
        pick = rng.integers(0, 500, size=500)
        y, x = labels[pick], scores[pick]
        known = ~np.isnan(y)
        areas = [auc(y[known[:, t], t], x[known[:, t], t]) for t in range(6)]
        draws.append(np.mean(areas))
    bootstrap = Z * float(np.std(draws, ddof=1))
    # 10%: the bootstrap's own error is 2%, the rest is small-sample.
    assert half_width(rows["macro"]) == pytest.approx(bootstrap, rel=0.10)
    independent = math.sqrt(sum(half_width(rows[t]) ** 2 for t in targets)) / 6
    assert independent < 0.6 * bootstrap


def test_paired_interval_agrees_with_bootstrap() -> None:
    rng = np.random.default_rng(32)
    labels, a = correlated_targets(rng, 500, 3)
    b = a + 0.6 * rng.normal(size=a.shape)
    targets = ["x", "y", "z"]
    table = compare_predictions(a, b, labels, targets)
    assert table.schema.equals(COMPARISON)
    rows = cells(table)
    draws = []
    for _ in range(800):
        pick = rng.integers(0, 500, size=500)
        y, known = labels[pick], ~np.isnan(labels[pick])
        draws.append(
            [
                auc(y[known[:, t], t], a[pick][known[:, t], t])
                - auc(y[known[:, t], t], b[pick][known[:, t], t])
                for t in range(3)
            ]
        )
    spread = np.array(draws)
    # 10%: the bootstrap's own error is 2.5%, the rest is small-sample.
    for t, target in enumerate(targets):
        expected = Z * float(spread[:, t].std(ddof=1))
        assert half_width(rows[target]) == pytest.approx(expected, rel=0.10)
    expected = Z * float(spread.mean(axis=1).std(ddof=1))
    assert half_width(rows["macro"]) == pytest.approx(expected, rel=0.10)
    solo = [cells(score_predictions(p, labels, targets, estimate="oof")) for p in (a, b)]
    for target in (*targets, "macro"):
        row = rows[target]
        assert (row["a"], row["b"]) == (solo[0][target]["value"], solo[1][target]["value"])
        assert row["difference"] == pytest.approx(row["a"] - row["b"], abs=1e-15)
        assert row["n"] == solo[0][target]["n"]
        unpaired = math.hypot(half_width(solo[0][target]), half_width(solo[1][target]))
        assert half_width(row) < 0.6 * unpaired


def test_tables_use_groups_and_folds() -> None:
    rng = np.random.default_rng(33)
    truth, scores, groups = clusters(rng, 150)
    folds = rng.integers(0, 3, size=150)[groups]
    y, x = truth[:, None].astype(float), scores[:, None]
    table = score_predictions(x, y, ["t"], folds=folds, groups=groups, estimate="oof")
    expected = Z * math.sqrt(obuchowski_variance(truth, scores, groups))
    assert half_width(cells(table)["t"]) == pytest.approx(expected, rel=0.01)
    within = [folds == k for k in range(3)]
    parts = [obuchowski_variance(truth[f], scores[f], groups[f]) for f in within]
    expected = Z * math.sqrt(sum(parts)) / 3
    for target in ("t", "macro"):
        row = cells(table, "auc_fold_mean")[target]
        assert half_width(row) == pytest.approx(expected, rel=0.02)
    worse = x + rng.normal(size=150)[groups][:, None]
    compared = compare_predictions(x, worse, y, ["t"], folds=folds, groups=groups)
    assert compared.column("metric").to_pylist() == ["auc", "auc_fold_mean"] * 2
    apart = compare_predictions(x, worse, y, ["t"], folds=folds)
    for metric in ("auc", "auc_fold_mean"):
        clustered, naive = (half_width(cells(table, metric)["t"]) for table in (compared, apart))
        assert clustered > 1.4 * naive


def test_few_groups_are_corrected_for_their_number_in_every_metric() -> None:
    # Each group has one class, so that Obuchowski's formula holds to the last digit.
    rng = np.random.default_rng(36)
    groups = np.repeat(np.arange(16), 6)
    truth, folds = groups % 2 == 0, groups // 8
    scores = rng.normal(size=16)[groups] + truth + 0.5 * rng.normal(size=96)
    labels = truth[:, None].astype(float)
    table = score_predictions(
        scores[:, None], labels, ["t"], folds=folds, groups=groups, estimate="oof"
    )
    pooled = obuchowski_variance(truth, scores, groups)
    within = [obuchowski_variance(truth[f], scores[f], groups[f]) for f in (folds == 0, folds == 1)]
    for metric, variance in (("auc", pooled), ("auc_fold_mean", sum(within) / 4)):
        # The lower half: the upper end may be clipped.
        row = cells(table, metric)["t"]
        assert row["value"] - row["ci_low"] == pytest.approx(Z * math.sqrt(variance), rel=1e-9)


def test_row_order_does_not_matter() -> None:
    rng = np.random.default_rng(34)
    labels, scores = correlated_targets(rng, 300, 3)
    scores = scores.round(1).astype(np.float32)
    folds, groups = rng.integers(0, 3, size=300), rng.integers(0, 90, size=300)
    order = rng.permutation(300)
    one = score_predictions(
        scores, labels, ["x", "y", "z"], folds=folds, groups=groups, estimate="oof"
    )
    other = score_predictions(
        scores[order],
        labels[order],
        ["x", "y", "z"],
        folds=folds[order],
        groups=groups[order],
        estimate="oof",
    )
    for column in ("value", "n", "positives"):
        assert one.column(column).equals(other.column(column))
    for column in ("ci_low", "ci_high"):
        left, right = one.column(column).to_numpy(), other.column(column).to_numpy()
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-12)


def test_predictions_of_unlabelled_rows_do_not_matter() -> None:
    labels, scores = correlated_targets(np.random.default_rng(35), 200, 2)
    changed = np.where(np.isnan(labels), 99.0, scores)
    one = score_predictions(scores, labels, ["x", "y"], estimate="oof")
    assert one.equals(score_predictions(changed, labels, ["x", "y"], estimate="oof"))


def test_misuse_is_refused() -> None:
    labels, scores = np.array([[0.0], [1.0], [1.0]]), np.array([[0.1], [0.2], [0.3]])
    with pytest.raises(ValueError, match="values have shape"):
        score_predictions(scores, labels, ["t"], values=scores[:2], estimate="oof")
    with pytest.raises(ValueError, match="macro"):
        score_predictions(scores, labels, ["macro"], estimate="oof")
    with pytest.raises(ValueError, match="labels have shape"):
        score_predictions(scores, labels, ["t", "u"], estimate="oof")
    with pytest.raises(ValueError, match="predictions have shape"):
        score_predictions(scores[:2], labels, ["t"], estimate="oof")
    with pytest.raises(ValueError, match="folds have shape"):
        score_predictions(scores, labels, ["t"], folds=[0, 1], estimate="oof")
    with pytest.raises(ValueError, match="target t: labels must be 0 or 1"):
        score_predictions(scores, labels * 2, ["t"], estimate="oof")
    with pytest.raises(ValueError, match="target t: scores contain NaN"):
        score_predictions(scores * np.nan, labels, ["t"], estimate="oof")


# --- other tasks ----------------------------------------------------------------------------------

MIXED = (
    Target("y", find_task("binary")),
    Target("c", find_task("multiclass"), ("a", "b", "d")),
    Target("r", find_task("regression")),
)


def mixed(rng: np.random.Generator, rows: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels (rows, 3) and predictions (rows, 5) of MIXED, a tenth of the labels unknown."""
    signal = rng.normal(size=rows)
    labels = np.column_stack(
        [
            rng.random(rows) < 1 / (1 + np.exp(-signal)),
            np.digitize(signal + rng.normal(size=rows), [-0.5, 0.8]),
            signal + rng.normal(size=rows),
        ]
    ).astype(float)
    labels[rng.random(labels.shape) < 0.1] = np.nan
    chances = np.exp(np.outer(signal, [-1, 0, 1]))
    chances /= chances.sum(axis=1, keepdims=True)
    return labels, np.column_stack([1 / (1 + np.exp(-signal)), chances, signal])


def test_targets_of_several_tasks_each_have_their_own_metrics() -> None:
    labels, values = mixed(np.random.default_rng(40), 400)
    table = tables.score_predictions(values, labels, MIXED, values=values, estimate="test")
    found = {(row["target"], row["metric"]): row for row in table.to_pylist()}
    known = [~np.isnan(column) for column in labels.T]
    y, c, r = (column[rows] for column, rows in zip(labels.T, known, strict=True))
    expected = {
        ("y", "auc"): reference.roc_auc_score(y, values[known[0], 0]),
        ("y", "brier"): reference.brier_score_loss(y, values[known[0], 0]),
        ("y", "log_loss"): reference.log_loss(y, values[known[0], 0]),
        ("c", "log_loss"): reference.log_loss(c, values[known[1], 1:4]),
        ("c", "accuracy"): reference.accuracy_score(c, values[known[1], 1:4].argmax(axis=1)),
        ("c", "balanced_accuracy"): reference.balanced_accuracy_score(
            c, values[known[1], 1:4].argmax(axis=1)
        ),
        ("c", "auc"): reference.roc_auc_score(c, values[known[1], 1:4], multi_class="ovr"),
        ("r", "rmse"): reference.root_mean_squared_error(r, values[known[2], 4]),
        ("r", "mae"): reference.mean_absolute_error(r, values[known[2], 4]),
        ("r", "r2"): reference.r2_score(r, values[known[2], 4]),
        ("r", "spearman"): stats.spearmanr(r, values[known[2], 4]).statistic,
    }
    assert {key for key in found if key[0] != "macro"} == set(expected)
    for key, value in expected.items():
        assert found[key]["value"] == pytest.approx(value, abs=1e-9)
        assert found[key]["ci_low"] < value < found[key]["ci_high"]
    both = (expected["y", "log_loss"] + expected["c", "log_loss"]) / 2
    assert found["macro", "log_loss"]["value"] == pytest.approx(both)
    assert found["macro", "log_loss"]["n"] == (known[0] | known[1]).sum()
    assert found["macro", "rmse"]["value"] == found["r", "rmse"]["value"]
    assert found["y", "auc"]["positives"] == y.sum()
    assert found["c", "auc"]["positives"] is None and found["macro", "rmse"]["positives"] is None


def test_what_has_no_values_is_measured_by_its_order_alone() -> None:
    labels, values = mixed(np.random.default_rng(41), 200)
    table = tables.score_predictions(values, labels, MIXED, estimate="test")
    assert set(table["metric"].to_pylist()) == {"auc", "spearman"}


def test_chosen_metric_comes_first_and_only_what_is_asked_for() -> None:
    labels, values = mixed(np.random.default_rng(42), 200)
    chosen = metrics_for(MIXED, {"r": "mae", "y": "brier"}, ["auc", "r2"])
    table = tables.score_predictions(
        values, labels, MIXED, metrics=chosen, values=values, estimate="test"
    )
    shown = [
        (row["target"], row["metric"]) for row in table.to_pylist() if row["target"] != "macro"
    ]
    assert shown == [
        *(("y", "brier"), ("y", "auc")),
        *(("c", "log_loss"), ("c", "auc")),
        *(("r", "mae"), ("r", "r2")),
    ]
    with pytest.raises(BlendmakeError, match="target 'y': Metric 'rmse' is not of binary"):
        metrics_for(MIXED, "rmse")


@pytest.mark.parametrize("place", range(3))
def test_paired_difference_of_every_task_agrees_with_a_bootstrap(place: int) -> None:
    rng = np.random.default_rng(43)
    labels, a = mixed(rng, 400)
    b = mixed(np.random.default_rng(44), 400)[1] * 0.3 + 0.7 * a
    target = MIXED[place : place + 1]
    part = [slice(0, 1), slice(1, 4), slice(4, 5)][place]
    y, given = labels[:, place : place + 1], (a[:, part], b[:, part])
    table = tables.compare_predictions(*given, y, target, values=given)
    rows = {row["metric"]: row for row in table.to_pylist() if row["target"] != "macro"}
    metrics = [m for m in metrics_of(target[0].task) if not m.needs_folds]
    assert set(rows) == {metric.name for metric in metrics}
    known = ~np.isnan(y[:, 0])
    truth, one, other = y[known, 0], *(p[known].squeeze() for p in given)
    for metric in metrics:
        assert rows[metric.name]["difference"] == pytest.approx(
            metric(truth, one) - metric(truth, other), abs=1e-12
        )
        draws = []
        for _ in range(400):
            pick = rng.integers(0, len(truth), len(truth))
            draws.append(metric(truth[pick], one[pick]) - metric(truth[pick], other[pick]))
        assert half_width(rows[metric.name]) == pytest.approx(Z * np.std(draws), rel=0.2)
