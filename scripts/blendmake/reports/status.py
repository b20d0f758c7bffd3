"""What is built, what is partly built and what is missing, read while jobs run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendmake.durations import clock
from blendmake.errors import BlendmakeError
from blendmake.files import note_of, read_note, read_parquet
from blendmake.fits.bagging import bag_count
from blendmake.fits.settings import resolve_targets, settings_for
from blendmake.fits.target_groups import read_group_files
from blendmake.reports.headline import Headline, read_headline
from blendmake.reports.measures import macro_title, number_text


@dataclass(frozen=True)
class Status:
    """The state of one source or blend; seconds are of fits, `expected` those of missing fits.

    `missing`: number of fits that are not there, None where it is not known yet.
    """

    name: str
    kind: str
    state: str
    folds: str
    fits: str
    headline: Headline | None
    spent: float | None
    expected: float | None
    missing: int | None = None


def read_status(entries: Sequence[Mapping[str, Any]], targets: Path, folds: int) -> list[Status]:
    """The state of every entry.

    Args:
        entries: `name`, `kind` (source or blend), `folder`; of a source that is fitted here also
            `scratch`, `source` (its config), `groups` (those given) and `group_files` (those built).
        targets: tables/targets.parquet, which need not exist yet.
        folds: number of folds.
    """
    every = _target_names(targets)
    rates = _seconds_per_fit(entries)
    return [
        _source_status(entry, every, folds, rates) if "source" in entry else _unfitted_status(entry)
        for entry in entries
    ]


def _target_names(path: Path) -> list[str] | None:
    if not path.exists():
        return None
    table = read_parquet(path)
    ids = note_of(table)["id_columns"]
    return [name for name in table.column_names if name not in ids]


def _seconds_per_fit(entries: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Mean seconds of finished fits, by source and by family."""
    seen: dict[str, list[float]] = {}
    for entry in entries:
        if "source" in entry:
            seconds = [s for fits in finished_seconds(entry).values() for s in fits]
            for key in (f"source {entry['name']}", f"family {entry['source']['family']}"):
                seen.setdefault(key, []).extend(seconds)
    return {key: sum(values) / len(values) for key, values in seen.items() if values}


def finished_seconds(entry: Mapping[str, Any]) -> dict[int, list[float]]:
    """Seconds of the finished fits of each fold, from its file or from scratch."""
    whole = Path(entry["folder"]) / "fits.parquet"
    found: dict[int, list[float]] = {}
    for path in [whole] if whole.exists() else Path(entry["folder"]).glob("fold*/fits.parquet"):
        try:
            fits = read_parquet(path, ["fold", "seconds"])
        except BlendmakeError:
            continue  # a job may be replacing it right now
        for row in fits.to_pylist():
            found.setdefault(row["fold"], []).append(row["seconds"])
    for folder in Path(entry["scratch"]).glob("fold*"):
        fold = int(folder.name.removeprefix("fold"))
        if fold not in found:
            with suppress(OSError):  # a job may be clearing it right now
                found[fold] = _scratch_seconds(folder)
    return found


def _scratch_seconds(folder: Path) -> list[float]:
    # Folders of other settings may lie beside the present one: the last one touched counts.
    folders = sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
    seconds = []
    for path in folders[-1].glob("*.parquet") if folders else ():
        try:
            note = read_note(path)
        except BlendmakeError:
            continue
        if "fit" in note:  # a kept model may be a parquet file too
            seconds.append(float(note["fit"]["seconds"]))
    return seconds


def _is_refitting(entry: Mapping[str, Any]) -> bool:
    """Whether fits are kept that are newer than the fold's file: by other settings, code or data."""
    for folder in Path(entry["scratch"]).glob("fold*"):
        made = Path(entry["folder"]) / folder.name / "oof.parquet"
        with suppress(OSError):  # a job may be clearing it right now
            stands = made.stat().st_mtime
            if any(path.stat().st_mtime > stands for path in folder.glob("*/*.parquet")):
                return True
    return False


def _state(entry: Mapping[str, Any], built: bool, begun: bool) -> str:
    if _is_refitting(entry):
        return "refitting"
    return "built" if built else "partly" if begun else "missing"


def _source_status(
    entry: Mapping[str, Any],
    every: Sequence[str] | None,
    folds: int,
    rates: Mapping[str, float],
) -> Status:
    folder = Path(entry["folder"])
    finished = finished_seconds(entry)
    done = sum(len(seconds) for seconds in finished.values())
    built = all((folder / f"{name}.parquet").exists() for name in ("oof", "test", "fits"))
    whole = sum((folder / f"fold{k}" / "oof.parquet").exists() for k in range(folds))
    fits = None if every is None else _fits_per_fold(entry, every)
    total = None if fits is None else folds * fits
    family = entry["source"]["family"]
    rate = rates.get(f"source {entry['name']}", rates.get(f"family {family}"))
    missing = None if total is None else max(0, total - done)
    expected = None if built or rate is None or missing is None else rate * missing
    return Status(
        name=entry["name"],
        kind="source",
        state=_state(entry, built, bool(done or whole)),
        folds=f"{whole}/{folds}",
        fits=f"{done}/{'?' if total is None else total}",
        headline=_headline(folder),
        spent=sum(sum(seconds) for seconds in finished.values()) if finished else None,
        expected=expected,
        missing=missing,
    )


def _fits_per_fold(entry: Mapping[str, Any], every: Sequence[str]) -> int | None:
    """How many fits there are in a fold; None while a group that the source names is not built."""
    source = entry["source"]
    if not all(Path(file).exists() for file in entry["group_files"]):
        return None
    groups = {**entry["groups"], **read_group_files(entry["group_files"])}
    targets = resolve_targets(source["targets"], groups, every)
    return sum(bag_count(settings_for(source, groups, target).bagging) for target in targets)


def _unfitted_status(entry: Mapping[str, Any]) -> Status:
    """The state of a blend, or of a source that somebody else made."""
    folder, kind = Path(entry["folder"]), entry["kind"]
    parts = ("oof", "test", "weights") if kind == "blend" else ("oof", "test")
    built = all((folder / f"{name}.parquet").exists() for name in parts)
    state = "built" if built else "missing"
    return Status(entry["name"], kind, state, "", "", _headline(folder), None, None)


def _headline(folder: Path) -> Headline | None:
    try:
        return read_headline(folder / "scores.parquet")
    except BlendmakeError:
        return None


def _measured(rows: Sequence[Status]) -> list[dict[str, str]]:
    return [{"metric": row.headline.metric} for row in rows if row.headline]


def status_text(rows: Sequence[Status]) -> str:
    """The table as aligned text."""
    most = max((row.headline.targets for row in rows if row.headline), default=0)
    measured = [row.headline.measured_on(most) if row.headline else "" for row in rows]
    head = [
        "name",
        "kind",
        "state",
        "folds",
        "fits",
        macro_title(_measured(rows)),
        "spent",
        "expected",
    ]
    # A number of other rows or targets than its neighbours' says so beside it.
    head += ["measured on"] if any(measured) else []
    lines = [head]
    for row, other in zip(rows, measured, strict=True):
        value = None if row.headline is None else row.headline.score
        lines.append(
            [
                row.name,
                row.kind,
                row.state,
                row.folds,
                row.fits,
                number_text(value) or "-",
                "-" if row.spent is None else clock(row.spent),
                "-" if row.expected is None else clock(row.expected),
                *([other] if any(measured) else []),
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = [
        "  ".join(
            cell.ljust(w) if i < 3 or head[i] == "measured on" else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    note = "spent, expected: seconds of fits, one after another. What is stale: snakemake -n"
    return "\n".join([text[0], "-" * len(text[0]), *text[1:], "", note])
