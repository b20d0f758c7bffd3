"""Blends: what is chosen, on which rows, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from blendmake.blends.blending import Blended, blend
from blendmake.blends.members import BLEND_METHODS, STACKERS, BlendOptions, Member, Split
from blendmake.blends.stacking import fit_stack, label_correlations, nearest_targets
from blendmake.errors import BlendmakeError
from blendmake.stats.auc import auc
from blendmake.stats.logits import expit, logit_scale
from blendmake.stats.ranks import rank_scale

FOLDS = 4
TARGETS = ("t0", "t1", "t2")
CHOOSING = [method for method in BLEND_METHODS if method != "mean"]


class Problem:
    """Labels, folds and members made to measure."""

    def __init__(self, n: int = 240, targets: Sequence[str] = TARGETS, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.n, self.m, self.targets = n, 50, tuple(targets)
        self.labels = (self.rng.random((n, len(targets))) < 0.3).astype(np.float64)
        self.folds = self.rng.permutation(np.arange(n) % FOLDS)
        rows = np.arange(n)
        self.splits = [
            Split(rows[self.folds != fold], rows[self.folds == fold]) for fold in range(FOLDS)
        ]
        self.members: list[Member] = []

    def add(
        self, name: str, strength: float, targets: Sequence[str] | None = None, test: bool = True
    ) -> Member:
        targets = self.targets if targets is None else tuple(targets)
        columns = [self.targets.index(target) for target in targets]
        raw = strength * self.labels[:, columns] + self.rng.normal(size=(self.n, len(columns)))
        tested = self.rng.random((self.m, len(columns))).astype(np.float32) if test else None
        member = Member(name, tuple(targets), expit(raw - 1).astype(np.float32), tested)
        self.members.append(member)
        return member

    def blend(self, method: str = "mean", **options: Any) -> Blended:
        return blend(
            self.members,
            self.labels,
            self.targets,
            self.splits,
            self.folds,
            BlendOptions(method=method, **options),
        )


@pytest.fixture
def problem() -> Problem:
    made = Problem()
    for name, strength in (("b", 0.6), ("a", 1.2), ("d", 0.1), ("c", 0.9)):
        made.add(name, strength)
    return made


@pytest.mark.parametrize("method", BLEND_METHODS)
def test_targets_side_by_side_change_no_bit(problem: Problem, method: str) -> None:
    problem.labels[::7, 0] = np.nan
    alone = problem.blend(method)
    options = BlendOptions(method=method)
    beside = blend(
        problem.members,
        problem.labels,
        problem.targets,
        problem.splits,
        problem.folds,
        options,
        threads=3,
    )
    assert beside.oof.tobytes() == alone.oof.tobytes()
    assert beside.weights.equals(alone.weights)
    assert beside.duplicates.equals(alone.duplicates)


def rows_of(blended: Blended, **where: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = blended.weights.to_pylist()
    return [row for row in rows if all(row[key] == value for key, value in where.items())]


def taken(blended: Blended, **where: Any) -> dict[str, float]:
    return {row["source"]: row["weight"] for row in rows_of(blended, **where)}


def reasons(blended: Blended, **where: Any) -> dict[str, str]:
    return {row["source"]: row["why"] for row in rows_of(blended, **where)}


def assert_sound(blended: Blended, problem: Problem) -> None:
    for table in (blended.oof, blended.in_sample, blended.test):
        if table is not None:
            assert table.dtype == np.float32
            assert np.isfinite(table).all()
            assert table.min() >= 0
            assert table.max() <= 1
    assert blended.oof.shape == (problem.n, len(blended.targets))


@pytest.mark.parametrize("scale", ["rank", "logit"])
@pytest.mark.parametrize("method", BLEND_METHODS)
def test_every_method_gives_sound_predictions(problem: Problem, method: str, scale: str) -> None:
    blended = problem.blend(method, scale=scale)
    assert_sound(blended, problem)
    assert blended.targets == TARGETS
    assert blended.test is not None
    assert blended.test.shape == (problem.m, 3)
    assert (blended.in_sample is None) == (method == "mean")
    if method not in STACKERS:
        for fold in [None] if method == "mean" else [None, *range(FOLDS)]:
            for target in TARGETS:
                weights = taken(blended, target=target, fold=fold)
                assert set(weights) == set("abcd")
                assert sum(weights.values()) == pytest.approx(1.0, abs=1e-12)
                assert min(weights.values()) >= 0
    again = problem.blend(method, scale=scale)
    assert again.oof.tobytes() == blended.oof.tobytes()
    assert again.weights.equals(blended.weights)


def test_predictions_are_what_the_weights_table_says(problem: Problem) -> None:
    """On both scales, for the rows of each fold, all rows, and the test table."""
    by_name = {member.name: member for member in problem.members}
    for scale in ("rank", "logit"):
        blended = problem.blend("optimize_weights", scale=scale)
        assert blended.in_sample is not None
        assert blended.test is not None
        for column, target in enumerate(TARGETS):

            def mixed(weights: dict[str, float], kind: str, column: int, scale: str) -> Any:
                total: Any = 0.0
                for name, weight in weights.items():
                    values = getattr(by_name[name], kind)[:, column]
                    folds = problem.folds if kind == "oof" else None
                    scaled = logit_scale(values) if scale == "logit" else rank_scale(values, folds)
                    total = total + weight * scaled
                return expit(total) if scale == "logit" else total

            whole = taken(blended, target=target, fold=None)
            close = {"rtol": 0, "atol": 1e-6}
            np.testing.assert_allclose(
                blended.in_sample[:, column], mixed(whole, "oof", column, scale), **close
            )
            np.testing.assert_allclose(
                blended.test[:, column], mixed(whole, "test", column, scale), **close
            )
            for fold in range(FOLDS):
                here = problem.folds == fold
                weights = taken(blended, target=target, fold=fold)
                np.testing.assert_allclose(
                    blended.oof[here, column],
                    mixed(weights, "oof", column, scale)[here],
                    **close,
                )


@pytest.mark.parametrize("extra", [{}, {"max_auc_gap": 0.1, "max_sources_per_target": 3}])
@pytest.mark.parametrize("method", CHOOSING)
def test_the_applied_folds_labels_do_not_matter(
    problem: Problem, method: str, extra: dict[str, Any]
) -> None:
    options = {"stack_neighbours": 1, **extra} if method in STACKERS else extra
    before = problem.blend(method, **options)
    changed = False
    for fold in range(FOLDS):
        here = problem.folds == fold
        kept = problem.labels.copy()
        problem.labels[here] = 1 - problem.labels[here]
        after = problem.blend(method, **options)
        problem.labels = kept
        assert np.array_equal(before.oof[here], after.oof[here])
        for source, weight in taken(before, target="t0", fold=fold).items():
            assert taken(after, target="t0", fold=fold)[source] == weight
        assert before.in_sample is not None
        assert after.in_sample is not None
        changed |= not np.array_equal(before.in_sample, after.in_sample)
        changed |= not np.array_equal(before.oof[~here], after.oof[~here])
    assert changed  # the labels do matter elsewhere


@pytest.mark.parametrize("method", ["winner", "greedy", "optimize_weights", *STACKERS])
def test_noise_looks_good_in_sample_only(method: str) -> None:
    crossed, flattered = [], []
    for seed in range(40):
        noise = Problem(n=120, targets=("t0",), seed=seed)
        for i in range(12):
            noise.add(f"noise{i}", 0.0, test=False)
        blended = noise.blend(method, steps=5, stack_c=10.0)
        assert blended.in_sample is not None
        for predicted, values in ((blended.oof, crossed), (blended.in_sample, flattered)):
            values.append(
                np.mean(
                    [auc(noise.labels[s.apply, 0], predicted[s.apply, 0]) for s in noise.splits]
                )
            )
    half = 2.6 * np.std(crossed, ddof=1) / np.sqrt(len(crossed))  # a 99% interval
    assert abs(np.mean(crossed) - 0.5) < half
    assert half < 0.04
    assert np.mean(flattered) > 0.5 + 2 * half


def test_partial_members_blend_where_they_cover(problem: Problem) -> None:
    problem.members = problem.members[:2]
    problem.add("partial", 1.0, targets=("t2", "t0"))  # in its own order
    blended = problem.blend()
    assert set(taken(blended, target="t1")) == {"a", "b"}
    assert taken(blended, target="t2") == pytest.approx(dict.fromkeys(("a", "b", "partial"), 1 / 3))
    ranks = [
        rank_scale(np.ascontiguousarray(m.oof[:, m.targets.index("t2")]), problem.folds)
        for m in problem.members
    ]
    np.testing.assert_allclose(blended.oof[:, 2], np.mean(ranks, axis=0), atol=1e-6)
    with pytest.raises(BlendmakeError, match="partial does not cover t1"):
        problem.blend(allow_partial_sources=False)
    problem.members.pop()
    problem.blend(allow_partial_sources=False)


@pytest.mark.parametrize("method", BLEND_METHODS)
def test_an_uncovered_target_is_left_out_or_falls_back(method: str) -> None:
    problem = Problem()
    spare = problem.add("spare", 1.0, targets=("t1",))
    problem.members = []
    problem.add("x", 1.0, targets=("t2", "t0"))
    problem.add("y", 0.5, targets=("t0",))
    without = problem.blend(method)
    assert without.targets == ("t0", "t2")
    assert_sound(without, problem)

    blended = problem.blend(method, fallback=spare)
    assert blended.targets == TARGETS
    assert_sound(blended, problem)
    (row,) = rows_of(blended, target="t1")
    assert (row["source"], row["weight"], row["why"], row["fold"]) == (
        "spare",
        1.0,
        "fallback",
        None,
    )
    assert row["solo"] > 0.6
    raw = spare.oof[:, 0]
    scaled = raw if method in STACKERS else rank_scale(raw, problem.folds)
    np.testing.assert_allclose(blended.oof[:, 1], scaled, atol=1e-5)
    assert np.array_equal(blended.oof[:, [0, 2]], without.oof)
    assert blended.test is not None
    assert blended.test.shape == (problem.m, 3)


def test_duplicates_are_named_and_dropped_when_asked(problem: Problem) -> None:
    b, a = problem.members[:2]
    nearly = a.oof.copy()
    nearly[:5] = nearly[:5][::-1]
    squeezed = b.oof.copy()
    squeezed[:, 0] /= 2  # other bytes, same order
    problem.members += [
        Member("copy", TARGETS[:2], a.oof[:, :2].copy(), problem.members[0].test[:, :2]),  # type: ignore[index]
        Member("squeezed", TARGETS, squeezed, b.test),
    ]
    named = problem.blend("mean")
    found = {
        (row["target"], row["source"]): (row["duplicate_of"], row["identical"])
        for row in named.duplicates.to_pylist()
    }
    assert found == {
        ("t0", "copy"): ("a", True),
        ("t1", "copy"): ("a", True),
        ("t0", "squeezed"): ("b", False),
        ("t1", "squeezed"): ("b", True),
        ("t2", "squeezed"): ("b", True),
    }
    assert min(named.duplicates["rank_correlation"].to_pylist()) >= 0.9999
    assert set(reasons(named).values()) == {"taken"}

    dropped = problem.blend("mean", drop_duplicates=True)
    assert dropped.duplicates.equals(named.duplicates)
    assert reasons(dropped, target="t0")["copy"] == "dropped: duplicate of a"
    assert reasons(dropped, target="t0")["squeezed"] == "dropped: duplicate of b"
    problem.members = problem.members[:4]
    assert np.array_equal(dropped.oof, problem.blend("mean").oof)


@pytest.mark.parametrize("scale", ["rank", "logit"])
def test_near_duplicates_begin_at_the_stated_correlation(scale: str) -> None:
    problem = Problem(n=2000, targets=("t0",))
    first = problem.add("first", 1.0)
    jitter = problem.rng.normal(size=first.oof.shape)
    for name, size in (("near", 0.002), ("far", 0.05)):
        oof = expit(logit_scale(first.oof) + size * jitter).astype(np.float32)
        problem.members.append(replace(first, name=name, oof=oof))
    (row,) = problem.blend(scale=scale).duplicates.to_pylist()
    assert (row["source"], row["duplicate_of"], row["identical"]) == ("near", "first", False)
    assert 0.9999 <= row["rank_correlation"] < 1


def test_max_auc_gap_drops_those_far_below_the_best(problem: Problem) -> None:
    blended = problem.blend("mean", max_auc_gap=0.08)
    assert blended.in_sample is not None  # labels chose
    for fold in [None, *range(FOLDS)]:
        rows = np.arange(problem.n) if fold is None else problem.splits[fold].fit
        solo = {
            m.name: auc(problem.labels[rows, 0], rank_scale(m.oof[:, 0], problem.folds)[rows])
            for m in problem.members
        }
        best = max(solo.values())
        expected = {name for name, value in solo.items() if best - value <= 0.08}
        assert 0 < len(expected) < 4
        weights = taken(blended, target="t0", fold=fold)
        assert weights == pytest.approx({name: (name in expected) / len(expected) for name in solo})
        for row in rows_of(blended, target="t0", fold=fold):
            assert row["solo"] == pytest.approx(solo[row["source"]], abs=1e-12)
            assert row["rank"] == 1 + sum(v > row["solo"] + 1e-12 for v in solo.values())
            gap = best - row["solo"]
            told = "taken" if gap <= 0.08 else f"dropped: {gap:.4f} below the best"
            assert row["why"] == told


def test_max_sources_keeps_the_best(problem: Problem) -> None:
    blended = problem.blend("mean", max_sources_per_target=2)
    for fold in [None, *range(FOLDS)]:
        for row in rows_of(blended, target="t1", fold=fold):
            kept = row["rank"] <= 2
            assert row["weight"] == (0.5 if kept else 0.0)
            assert row["why"] == ("taken" if kept else "dropped: beyond the best 2")


def test_winner_says_who_was_not_chosen(problem: Problem) -> None:
    why = reasons(problem.blend("winner"), target="t0", fold=None)
    assert why == {"a": "taken", "b": "not chosen", "c": "not chosen", "d": "not chosen"}


def test_rows_without_a_label_are_predicted_but_not_fitted(problem: Problem) -> None:
    unknown = problem.rng.random(problem.n) < 0.3
    problem.labels[unknown, 0] = np.nan
    blended = problem.blend("greedy")
    assert_sound(blended, problem)
    for row in rows_of(blended, target="t0", fold=None):
        oof = next(m.oof for m in problem.members if m.name == row["source"])[:, 0]
        ranks = rank_scale(oof, problem.folds)[~unknown]
        assert row["solo"] == pytest.approx(auc(problem.labels[~unknown, 0], ranks), abs=1e-12)


@pytest.mark.parametrize("method", BLEND_METHODS)
def test_one_class_or_no_label_falls_back_to_the_mean(problem: Problem, method: str) -> None:
    problem.labels[problem.folds != 1, 0] = 0  # fold 1 alone has positives: its fit has none
    problem.labels[:, 1] = np.nan
    blended = problem.blend(method, max_auc_gap=0.01, stack_neighbours=2)
    assert_sound(blended, problem)
    for target, fold in (("t0", 1), ("t1", 0), ("t1", None)):
        for row in rows_of(blended, target=target, fold=fold):
            assert row["weight"] == 0.25
            assert row["solo"] is None
            assert row["rank"] is None
            assert row["why"].startswith("taken")
    here = problem.folds == 1
    mean = problem.blend("mean", scale="logit" if method in STACKERS else "rank")
    assert np.array_equal(blended.oof[here, 0], mean.oof[here, 0])


@pytest.mark.parametrize("method", BLEND_METHODS)
def test_member_order_does_not_matter(problem: Problem, method: str) -> None:
    forward = problem.blend(method, stack_neighbours=1)
    problem.members = problem.members[::-1]
    backward = problem.blend(method, stack_neighbours=1)
    assert forward.oof.tobytes() == backward.oof.tobytes()
    assert forward.test is not None
    assert backward.test is not None
    assert forward.test.tobytes() == backward.test.tobytes()


@pytest.mark.parametrize("method", [m for m in BLEND_METHODS if m not in STACKERS])
def test_a_single_candidate_passes_through(method: str) -> None:
    problem = Problem()
    only = problem.add("only", 1.0, test=False)
    blended = problem.blend(method)
    assert blended.test is None
    assert np.array_equal(blended.oof, rank_scale(only.oof, problem.folds).astype(np.float32))


def test_rows_that_no_split_applies_to(problem: Problem) -> None:
    """They take the weights of all other rows, and their labels count for nothing."""
    outside = problem.folds == 3
    problem.splits = [
        Split(np.setdiff1d(split.fit, np.flatnonzero(outside)), split.apply)
        for split in problem.splits[:3]
    ]
    problem.folds[outside] = -1
    before = problem.blend("optimize_weights")
    assert before.in_sample is not None
    assert np.array_equal(before.oof[outside], before.in_sample[outside])
    problem.labels[outside] = np.nan
    after = problem.blend("optimize_weights")
    assert np.array_equal(before.oof, after.oof)
    assert before.weights.equals(after.weights)


def test_stack_reports_coefficients_that_rebuild_its_predictions(problem: Problem) -> None:
    blended = problem.blend("stack", stack_neighbours=2)
    assert blended.in_sample is not None
    assert blended.test is not None
    everywhere = np.ones(problem.n, dtype=bool)
    for fold, kind, predicted, here in (
        (None, "oof", blended.in_sample, everywhere),
        (0, "oof", blended.oof, problem.folds == 0),
        (None, "test", blended.test, np.ones(problem.m, dtype=bool)),
    ):
        rows = {row["source"]: row for row in rows_of(blended, target="t0", fold=fold)}
        assert set(rows) == {*"abcd", "target:t1", "target:t2", "(intercept)"}
        assert {row["why"] for row in rows.values()} == {"coefficient"}
        assert abs(rows["target:t1"]["weight"] - rows["target:t2"]["weight"]) > 1e-3
        logits = {m.name: logit_scale(getattr(m, kind)) for m in problem.members}
        near = np.mean(list(logits.values()), axis=0)
        total = rows["(intercept)"]["weight"] + sum(
            rows[name]["weight"] * columns[:, 0] for name, columns in logits.items()
        )
        for other in (1, 2):
            total += rows[f"target:t{other}"]["weight"] * near[:, other]
        np.testing.assert_allclose(predicted[here, 0], expit(total)[here], atol=1e-6)
        if kind == "oof":
            fitting = everywhere if fold is None else ~here
            inputs = [*(logits[name][:, 0] for name in "abcd"), near[:, 1], near[:, 2]]
            model = fit_stack(
                np.stack(inputs, axis=1)[fitting], problem.labels[fitting, 0] == 1, c=0.1
            )
            told = [rows[name]["weight"] for name in [*"abcd", "target:t1", "target:t2"]]
            assert told == pytest.approx(model.coefficients, abs=1e-4)


def test_stack_learns_from_neighbours() -> None:
    """A target that its own candidates cannot see, and a correlated one that they can."""
    gains = []
    for seed in range(3):
        problem = Problem(n=800, seed=seed)
        flips = problem.rng.random(problem.n) < 0.1
        problem.labels[:, 0] = np.abs(problem.labels[:, 2] - flips)
        member = problem.add("m", 2.0)
        member.oof[:, 0] = problem.rng.random(problem.n)
        problem.add("n", 1.0, targets=("t2",))
        labels = problem.labels[:, 0]
        own = auc(labels, problem.blend("stack").oof[:, 0])
        near = problem.blend("stack", stack_neighbours=1)
        assert "target:t2" in taken(near, target="t0", fold=0)
        assert "target:t1" not in taken(near, target="t0", fold=0)
        gains.append(auc(labels, near.oof[:, 0]) - own)
    assert min(gains) > 0.2


def test_fit_stack_is_the_penalised_optimum() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(300, 3)) * [1.0, 5.0, 1.0] + [0.0, 3.0, 0.0]
    inputs[:, 2] = 0.1  # constant
    labels = rng.random(300) < expit(inputs[:, 0] - 0.2 * inputs[:, 1])
    model = fit_stack(inputs, labels, c=0.5)
    assert model.coefficients[2] == 0
    # The gradient of the penalised likelihood, by hand, vanishes there.
    residual = expit(inputs @ model.coefficients + model.intercept) - labels
    assert abs(residual.sum()) < 1e-2
    for column in (0, 1):
        spread = inputs[:, column].std()
        pull = model.coefficients[column] * spread / 0.5
        slope = residual @ ((inputs[:, column] - inputs[:, column].mean()) / spread)
        assert abs(slope + pull) < 1e-2
        assert abs(pull) > 0.1


def test_label_correlations_use_only_the_rows_given_and_known() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((400, 4)) < 0.4).astype(np.float64)
    labels[:, 1] = np.where(rng.random(400) < 0.2, labels[:, 1], 1 - labels[:, 0])
    labels[rng.random(labels.shape) < 0.2] = np.nan
    labels[:, 3] = 0.0
    rows = np.arange(50, 350)
    table = label_correlations(labels, rows)
    for i in range(3):
        for j in range(3):
            both = labels[rows][:, [i, j]]
            both = both[np.isfinite(both).all(axis=1)]
            assert table[i, j] == pytest.approx(np.corrcoef(both.T)[0, 1], abs=1e-12)
    assert np.isnan(table[3]).all()
    labels[:50] = 1 - labels[:50]
    assert np.array_equal(label_correlations(labels, rows), table, equal_nan=True)
    eligible = np.array([False, True, True, True])
    assert nearest_targets(table[0], eligible, 1) == [1]  # negative, and strongest
    assert nearest_targets(table[0], eligible, 5) == [1, 2]


def test_digests_tell_columns_apart(problem: Problem) -> None:
    a, b = problem.members[:2]
    assert a.digest_of("t0") == replace(a, oof=np.asfortranarray(a.oof)).digest_of("t0")
    assert a.digest_of("t0") != a.digest_of("t1")
    assert a.digest_of("t0") != b.digest_of("t0")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"method": "magic"}, "magic"),
        ({"scale": "percent"}, "percent"),
        ({"max_sources_per_target": 0}, "max_sources_per_target"),
        ({"max_auc_gap": -0.1}, "max_auc_gap"),
    ],
)
def test_wrong_options_are_refused(problem: Problem, options: dict[str, Any], told: str) -> None:
    with pytest.raises(BlendmakeError, match=told):
        problem.blend(**options)


def test_unusable_members_are_named(problem: Problem) -> None:
    good = problem.members
    wide, a = good[0].oof.copy(), good[0]
    wide[3, 1] = np.nan
    for broken, told in (
        (replace(a, oof=wide), "b has a missing or infinite out-of-fold prediction of t1"),
        (replace(a, oof=a.oof[1:]), "b has out-of-fold predictions of shape"),
        (replace(a, test=None), "b none, a 50"),
        (replace(a, name="c"), "c is named twice"),
    ):
        problem.members = [broken, *good[1:]]
        with pytest.raises(BlendmakeError, match=told):
            problem.blend()
    problem.members = [replace(a, oof=a.oof * 3), *good[1:]]
    problem.blend(scale="rank")
    with pytest.raises(BlendmakeError, match="outside"):
        problem.blend(scale="logit")
    problem.members = []
    with pytest.raises(BlendmakeError, match="at least one source"):
        problem.blend()


def test_splits_that_would_leak_are_refused(problem: Problem) -> None:
    rows = np.arange(problem.n)
    problem.splits[0] = Split(rows, problem.splits[0].apply)
    with pytest.raises(ValueError, match="fitted on"):
        problem.blend("winner")
    problem.splits = [Split(rows[9:], rows[:9]), Split(rows[9:], rows[8:9])]
    with pytest.raises(ValueError, match="twice"):
        problem.blend("winner")
    problem.splits = []
    with pytest.raises(ValueError, match="no splits"):
        problem.blend("winner")
    problem.blend("mean")


@pytest.mark.parametrize("method", ["mean", "winner", "stack"])
def test_members_close_to_one_stay_apart_on_the_logit_scale(method: str) -> None:
    """Of a common label, as 1 - p of 1e-9 to 1e-8: in float32 all of it is 1."""
    rng = np.random.default_rng(4)
    labels = (rng.random((300, 1)) < 0.7).astype(np.float64)
    fold = np.arange(300) % 3
    splits = [Split(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(3)]
    members = [
        Member(name, ("t",), 1 - 1e-8 * (2 - labels) * rng.uniform(0.6, 1, (300, 1)), None)
        for name in ("a", "b")
    ]
    done = blend(members, labels, ("t",), splits, fold, BlendOptions(method=method, scale="logit"))
    assert done.oof.dtype == np.float64
    assert auc(labels[:, 0], done.oof[:, 0]) > 0.99
    assert len(np.unique(done.oof)) > 290
    ranked = blend(members, labels, ("t",), splits, fold, BlendOptions(method="mean"))
    assert ranked.oof.dtype == np.float32
