"""Figures of a search: what they say of one study and of many, and that they are the same twice."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from blendmake.reports import search_figures as figures
from blendmake.reports import search_space_figures as space_figures
from blendmake.searches.analysis import IMPORTANCES, RANGES, importances, ranges
from blendmake.searches.space import Param, Space, Value, space_of
from blendmake.searches.table import TRIALS, Trial, sign_of

SPACE = space_of(
    {
        "learning_rate": {"low": 0.02, "high": 0.08, "log": True},
        "max_depth": {"low": 5, "high": 10},
        "subsample": {"low": 0.65, "high": 0.95},
        "max_bin": 128,
    }
)
CONDITIONAL = space_of(
    {
        "booster": {"choices": ["gbtree", "dart"]},
        "rate_drop": {"low": 0.0, "high": 0.3, "when": {"booster": "dart"}},
        "alpha": {"low": 1e-4, "high": 1.0, "log": True},
        "grow_policy": {"choices": ["depthwise", "lossguide", None]},
        "max_leaves": {"low": 8, "high": 512, "log": True, "when": {"grow_policy": "lossguide"}},
        "layers": {"choices": [[64], [128, 64]]},
    },
    ["xgb_$1_deep", "xgb<b>&"],
)
STEPS, FOLDS = (100, 200, 300), 3
DRAWN = ("history", "importances", "slices", "parallel", "contours", "intermediate", "timeline")


def drawn_value(param: Param, at: float) -> Value:
    """The value of a param at a place from 0 to 1."""
    if param.kind == "fixed":
        return param.value
    if param.kind == "categorical":
        return param.choices[min(int(at * len(param.choices)), len(param.choices) - 1)]
    assert param.low is not None and param.high is not None
    if param.log:
        value = param.low * (param.high / param.low) ** at
    else:
        value = param.low + at * (param.high - param.low)
    return round(value) if param.kind == "int" else value


def study_trials(
    study: str,
    n: int,
    space: Space = SPACE,
    *,
    metric: str = "auc",
    own: Mapping[str, Value] | None = None,
    seed: int = 0,
    workers: int = 2,
) -> list[Trial]:
    """Trials of one study, of which one in four is pruned: better in the middle of the first ranges.

    `own`: params of trial 0, outside the space.
    """
    rng = np.random.default_rng([seed, *map(ord, study)])
    better = sign_of(metric)
    level = 0.6 + 0.3 * rng.random()
    trials = []
    for number in range(n):
        values: dict[str, Value] = {}
        ats = []
        for param in space:
            if space.is_active(param, values):
                ats.append(rng.random())
                values[param.name] = drawn_value(param, ats[-1])
        gain = 0.05 * (0.2 - (ats[0] - 0.5) ** 2 - (ats[1] - 0.6) ** 2) * (number > 0)
        value = level + better * (gain + 0.002 * rng.normal())
        pruned = number % 4 == 3
        told = [
            {"step": step, "value": value - better * (0.05 / (k + 1) + 0.001 * rng.normal())}
            for k, step in enumerate(STEPS[: 1 + number % 2] if pruned else STEPS)
        ]
        row: Trial = dict.fromkeys(TRIALS.names)
        trials.append(
            row
            | {"study": study, "number": number, "state": "pruned" if pruned else "complete"}
            | {"value": told[-1]["value"] if pruned else value, "intermediate": told}
            | {"fold_values": [value - 0.004, value, value + 0.004], "retries": 0}
            | {"params": dict(own) if own and not number else values, "baseline": number == 0}
            | {"in_space": not own or number > 0, "source": values.get("source", "xgb")}
            | {"worker": f"node-{7000 + number % workers}", "seconds": 30.0 + 20 * rng.random()}
            | {"started": 1.7e9 + 60.0 * (number // workers)}
        )
    return trials


def failed(trials: Sequence[Trial], state: str = "failed") -> list[Trial]:
    """The same trials, without a result."""
    lost = {"state": state, "value": None, "fold_values": [], "intermediate": []}
    return [{**trial, **lost, "reason": "out of memory"} for trial in trials]


def draw_all(
    trials: Sequence[Trial], folder: Path, space: Space = SPACE, metric: str = "auc"
) -> dict[str, list[str]]:
    """Draw every figure, and read its texts."""
    out = {figure: folder / f"{figure}.svg" for figure in DRAWN}
    shares = pa.Table.from_pylist(importances(trials, space, metric), schema=IMPORTANCES)
    explored = pa.Table.from_pylist(ranges(trials, space), schema=RANGES)
    figures.draw_history("s", trials, metric, out["history"])
    figures.draw_importances("s", trials, shares, out["importances"])
    space_figures.draw_slices("s", trials, explored, space, metric, out["slices"])
    space_figures.draw_parallel("s", trials, space, metric, out["parallel"])
    space_figures.draw_contours("s", trials, shares, space, metric, out["contours"])
    figures.draw_intermediate("s", trials, metric, out["intermediate"])
    figures.draw_timeline("s", trials, out["timeline"])
    return {figure: texts(path) for figure, path in out.items()}


def texts(path: Path) -> list[str]:
    """Every text of an SVG, which must be well-formed."""
    svg = "{http://www.w3.org/2000/svg}"
    return [
        "".join(node.itertext()).strip() for node in ET.parse(path).getroot().iter(f"{svg}text")
    ]


def test_one_study_says_what_it_shows_the_same_twice(tmp_path: Path) -> None:
    trials = study_trials("NR.AhR", 24)
    found = draw_all(trials, tmp_path / "one")
    draw_all(trials, tmp_path / "two")
    for figure in DRAWN:
        first, second = (tmp_path / at / f"{figure}.svg" for at in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()
    params = {"learning_rate", "max_depth", "subsample"}
    for figure in ("importances", "slices", "parallel"):
        assert params <= set(found[figure]), figure
        assert "max_bin" not in found[figure]
    assert any(text.startswith("NR.AhR: 0.0") and "better" in text for text in found["history"])
    assert {"AUC, mean over search folds", "(larger is better)"} <= set(found["history"])
    assert {"own params ± standard error", "pruned", "best so far"} <= set(found["history"])
    assert {"PED-ANOVA", "fANOVA"} <= set(found["importances"])
    assert {"0.02", "0.05", "log scale"} <= set(found["slices"])
    assert {"AUC", "(larger is better)"} <= set(found["slices"])  # of one study as it is
    assert {"learning_rate (log)", "max_depth"} <= set(found["contours"])
    assert {"NR.AhR", "pruned", "complete"} <= set(found["intermediate"])
    assert {"w1", "w2", "minutes since the first trial"} <= set(found["timeline"])
    assert not {"w3", "node-7000"} & set(found["timeline"])


def test_many_studies_are_pooled_or_left_out_by_gain(tmp_path: Path) -> None:
    studies = {f"target_{k:02d}": study_trials(f"target_{k:02d}", 12) for k in range(15)}
    gains = {}
    for study, trials in studies.items():
        # The gain of each study is set, so that it is known which are left out.
        gain = gains[study] = 0.001 * (1 + int(study[-2:]) * 7 % 15)
        trials[0]["value"] = max(t["value"] for t in trials if t["state"] == "complete") - gain
    every = [trial for trials in studies.values() for trial in trials]
    found = draw_all(every, tmp_path)
    first = sorted(gains, key=lambda study: -gains[study])[:12]
    assert [text for text in found["history"] if text.startswith("target_")] == [
        f"{study}: {gains[study]:.4f} better" for study in first
    ]
    assert [text for text in found["intermediate"] if text.startswith("target_")] == first
    for figure in ("history", "intermediate"):
        assert "12 of 15 studies, those with most gain" in found[figure]
    assert {*studies, "mean of studies", "learning_rate"} <= set(found["importances"])
    for figure in ("slices", "parallel", "contours"):
        told = " ".join(found[figure])
        assert "15 studies together: each AUC less that of its study's own params" in told
        assert "AUC less own params'" in told


def test_conditional_and_categorical_params_of_several_sources(tmp_path: Path) -> None:
    own = {"source": "xgb<b>&", "booster": "gblinear", "alpha": 0, "grow_policy": None}
    trials = [
        trial
        for study in ("a", "b")
        for trial in study_trials(study, 40, CONDITIONAL, metric="log_loss", own=own)
    ]
    found = draw_all(trials, tmp_path, CONDITIONAL, "log_loss")
    for figure in ("slices", "parallel"):
        assert {param.name for param in CONDITIONAL} <= set(found[figure])
        assert {"xgb_$1_deep", "xgb<b>&"} <= {t.replace("..", "") for t in found[figure]}
    assert {"where booster is dart", "where grow_policy is lossguide"} <= set(found["slices"])
    assert {"gbtree", "dart", "null", "[128, 64]", "—"} <= set(found["parallel"])
    assert {"rate_drop", "alpha (log)", "max_leaves (log)"} <= set(found["contours"])
    assert {"xgb_$1_deep", "xgb<b>&"} <= set(found["history"])
    assert any("smaller is better" in text for text in found["history"])


def test_smaller_is_better_where_it_is(tmp_path: Path) -> None:
    out = tmp_path / "f.svg"
    trials = study_trials("t", 9)
    for metric, text in (("auc", "t: 0.0800 better"), ("log_loss", "t: no better")):
        for trial in trials:
            trial["value"] = 0.5 + 0.01 * trial["number"]
        figures.draw_history("s", trials, metric, out)
        assert text in texts(out)


def test_two_trials_are_enough_to_be_shown(tmp_path: Path) -> None:
    found = draw_all(study_trials("t", 2), tmp_path)
    assert any("Too few trials" in text for text in found["importances"])
    assert {"learning_rate (log)"} <= set(found["contours"])
    for figure in ("history", "slices", "parallel", "intermediate", "timeline"):
        assert len(found[figure]) > 5, figure


def test_nothing_to_show_is_said(tmp_path: Path) -> None:
    trials = failed(study_trials("t", 6)) + failed(study_trials("u", 6), "lost")
    found = draw_all(trials, tmp_path / "failed")
    for figure in ("history", "slices", "parallel", "contours"):
        assert "No trial is complete." in found[figure]
    assert "No trial told a value on its way." in found["intermediate"]
    assert {"failed", "lost (its start)", "w1", "w2"} <= set(found["timeline"])
    none = draw_all([], tmp_path / "none")
    assert "No trial was begun." in none["timeline"]
    assert all(len(found) == 2 for found in none.values())
    one = space_of({"max_depth": {"low": 2, "high": 5}, "booster": {"choices": ["a", "b"]}})
    found = draw_all(study_trials("t", 12, one), tmp_path / "categorical", one)
    assert any("No two numeric params" in text for text in found["contours"])
    fixed = space_of({"max_depth": 5, "booster": "gbtree"})
    found = draw_all(study_trials("t", 3, fixed), tmp_path / "fixed", fixed)
    for figure in ("slices", "parallel", "contours"):
        assert "Every param of the space is fixed." in found[figure]


def test_studies_without_own_params_are_left_out_of_what_is_pooled(tmp_path: Path) -> None:
    a, b, c = (study_trials(study, 8) for study in "abc")
    trials = [*a, *failed(b[:1]), *b[1:], *failed(c)]
    found = draw_all(trials, tmp_path)
    for figure in ("slices", "parallel", "contours"):
        told = " ".join(found[figure])
        assert "without 2 of 3 studies, whose own params have no value" in told
    assert "1 of 3 studies have nothing to show here" in " ".join(found["history"])
    assert "b" in found["history"]  # its gain is not known
    found = draw_all([*failed(a[:1]), *a[1:], *failed(b[:1]), *b[1:]], tmp_path / "neither")
    assert any("In no study" in text for text in found["slices"])


def test_all_trials_of_one_value_and_one_point(tmp_path: Path) -> None:
    trials = study_trials("t", 12)
    for trial in trials:
        trial |= {"value": 0.5, "fold_values": [0.5, None, None], "params": trials[0]["params"]}
    found = draw_all(trials, tmp_path)
    assert any("equally good" in text for text in found["importances"])
    assert "t: no better" in found["history"]


def test_hopeless_trials_do_not_bleach_the_others(tmp_path: Path) -> None:
    trials = study_trials("t", 30)
    trials[9]["value"] = 0.01
    found = draw_all(trials, tmp_path)
    for figure in ("history", "slices"):
        assert any("1 value beyond it stands at its end" in text for text in found[figure])
        assert "0.0" not in found[figure]


def test_a_surface_needs_points_that_span_a_plane(tmp_path: Path) -> None:
    out = tmp_path / "f.svg"
    empty = IMPORTANCES.empty_table()
    filled = []
    for n, flat in ((9, False), (13, False), (13, True)):
        trials = [{**t, "state": "complete"} for t in study_trials("t", n, seed=3)]
        for trial in trials if flat else []:
            trial["params"]["max_depth"] = 7
            trial["params"]["subsample"] = 0.7
        space_figures.draw_contours("s", trials, empty, SPACE, "auc", out)
        filled.append(sum("QuadContourSet" in t or "TriContourSet" in t for t in [out.read_text()]))
    assert filled == [0, 1, 0]


def test_many_trials_are_drawn_as_an_image(tmp_path: Path) -> None:
    few, many, again = (tmp_path / f"{name}.svg" for name in ("few", "many", "again"))
    for n, out in ((40, few), (1000, many), (1000, again)):
        trials = study_trials("t", n)
        space_figures.draw_slices("s", trials, RANGES.empty_table(), SPACE, "auc", out)
    assert "data:image/png" in many.read_text()
    assert many.read_text().count("<use ") < few.read_text().count("<use ")
    assert many.read_bytes() == again.read_bytes()


def test_times_without_trials_are_cut_short(tmp_path: Path) -> None:
    out = tmp_path / "f.svg"
    trials = study_trials("t", 20, workers=1)
    for trial in trials[10:]:
        trial["started"] += 12 * 3600
        trial["worker"] = f"node-{trial['number']}"
    figures.draw_timeline("s", trials, out)
    found = texts(out)
    assert "12.0 h pause" in found
    assert "minutes since the first trial, pauses cut short" in found
    assert "w11" in found and "w12" not in found
    for k, trial in enumerate(trials * 3):
        trials.append({**trial, "worker": f"other-{k}"})
        if len(trials) > 60:
            break
    figures.draw_timeline("s", trials, out)
    assert any(text.startswith("40 of ") for text in texts(out))


def test_trials_at_a_bound_are_told(tmp_path: Path) -> None:
    trials = study_trials("t", 12)
    for trial in trials:
        trial["params"]["subsample"] = 0.95 if trial["number"] % 3 == 1 else 0.8
    # Of numbers 0 to 11 without 3, 7 and 11, which are pruned: 1, 4 and 10 of 9.
    assert "33% at the upper bound" in draw_all(trials, tmp_path)["slices"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"low": 1e-4, "high": 1.0, "log": True}, ["0.0001", "0.001", "0.01", "0.1", "1"]),
        ({"low": 0.02, "high": 0.08, "log": True}, ["0.02", "0.05"]),
        ({"low": 0.03, "high": 0.04, "log": True}, ["0.03", "0.04"]),
        ({"low": 5, "high": 10}, ["5", "6", "7", "8", "9", "10"]),
        ({"low": 0.0, "high": 0.3}, ["0", "0.1", "0.2", "0.3"]),
        ({"choices": [True, "a", None]}, ["true", "a", "null"]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(entry: Any, expected: list[str]) -> None:
    (param,) = space_of({"x": entry})
    places, told = space_figures._ticks(param)
    assert told == expected
    assert all(0 <= place <= 1 for place in places)
    assert places == sorted(places)
