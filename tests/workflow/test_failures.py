"""Bad input and failing machines: one clear error, nothing half-written, nothing finished lost."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workflow.conftest import Workspace, make_workspace


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "work")


def assert_fails(space: Workspace, *words: str) -> str:
    """The run fails with one message that holds these words, and leaves no half-written file."""
    run = space.snakemake(check=False)
    assert run.code != 0
    messages = [line for line in run.text.splitlines() if line.startswith("ERROR: ")]
    assert messages, run.text[-3000:]
    assert len(set(messages)) == 1, messages
    assert len(messages) >= 2, "the message is not repeated at the end"
    for word in words:
        assert word in messages[0], f"{word!r} is not in: {messages[0]}"
    assert "Traceback" not in run.text
    assert not list(space.folder.rglob("*.tmp"))
    return messages[0]


def change(space: Workspace, name: str, edit: Callable[[pa.Table], pa.Table]) -> None:
    path = space.folder / "tables" / f"{name}.parquet"
    pq.write_table(edit(pq.read_table(path)), path)


def test_duplicate_ids(space: Workspace) -> None:
    change(space, "train", lambda t: pa.concat_tables([t, t.slice(0, 1)]))
    assert_fails(space, "tables/train.parquet", "duplicate ids", "r00000")
    assert not space.path("tables", "train.arrow").exists()


def test_ids_in_train_and_test(space: Workspace) -> None:
    train = pq.read_table(space.folder / "tables/train.parquet")
    change(space, "test", lambda t: pa.concat_tables([t, train.slice(3, 1)]))
    assert_fails(space, "tables/test.parquet", "r00003", "in train and in test")


def test_target_that_is_not_binary(space: Workspace) -> None:
    def edit(table: pa.Table) -> pa.Table:
        return table.set_column(1, "t0", pa.array([2] * table.num_rows))

    change(space, "targets", edit)
    assert_fails(space, "tables/targets.parquet", "'t0'", "0, 1 or missing")


def _replaced(name: str, values: list) -> Callable[[pa.Table], pa.Table]:
    def edit(table: pa.Table) -> pa.Table:
        place = table.column_names.index(name)
        column = pa.array(values + [values[-1]] * (table.num_rows - len(values)))
        return table.set_column(place, name, column)

    return edit


@pytest.mark.parametrize(
    ("file", "edit", "words"),
    [
        ("train", lambda t: t.drop_columns(["id"]), ["train.parquet", "id column 'id'"]),
        ("targets", _replaced("t1", [0]), ["targets.parquet", "'t1' has no positives"]),
        ("test", lambda t: t.drop_columns(["x3"]), ["test.parquet", "'x3'", "absent from test"]),
        ("test", _replaced("x3", ["a"]), ["test.parquet", "'x3' is string", "float"]),
        ("train", _replaced("x3", [1.0, float("inf")]), ["train.parquet", "'x3'", "infinity"]),
        ("train", lambda t: t.slice(0, 0), ["train.parquet", "no rows"]),
    ],
    ids=["no id", "no positives", "no feature", "types", "infinity", "empty"],
)
def test_bad_tables(
    space: Workspace, file: str, edit: Callable[[pa.Table], pa.Table], words: list[str]
) -> None:
    change(space, file, edit)
    assert_fails(space, *words)


def test_absent_target_column(space: Workspace) -> None:
    targets = {"file": "tables/targets.parquet", "columns": ["t0", "t1", "t3", "t9"]}
    space.write_config(data={**space.config["data"], "targets": targets})
    assert_fails(space, "tables/targets.parquet", "'t9'")


def test_a_target_among_the_features(space: Workspace) -> None:
    labels = pq.read_table(space.folder / "tables/targets.parquet")
    change(space, "train", lambda t: t.append_column("t2", labels["t2"]))
    change(space, "test", lambda t: t.append_column("t2", pa.array([0] * t.num_rows)))
    assert_fails(space, "'t2' is also a feature")


def test_ragged_csv(space: Workspace) -> None:
    lines = ["id,x", "a,1", "b,2,3", "c,4"]
    (space.folder / "tables/train.csv").write_text("\n".join(lines) + "\n")
    space.write_config(data={**space.config["data"], "train": "tables/train.csv"})
    assert_fails(space, "tables/train.csv", "line 3: 3 fields, 2 are expected")


def test_target_with_fewer_positives_than_folds(space: Workspace) -> None:
    def edit(table: pa.Table) -> pa.Table:
        return table.set_column(1, "t0", pa.array([1, 1] + [0] * (table.num_rows - 2)))

    change(space, "targets", edit)
    assert_fails(space, "'t0' (2)", "3 folds", "folds.n")


def test_truncated_parquet(space: Workspace) -> None:
    path = space.folder / "tables/train.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert_fails(space, "tables/train.parquet", "cannot be read")


def test_sample_that_does_not_match(space: Workspace) -> None:
    change(space, "sample", lambda t: t.rename_columns(["id", "p2", "p0", "p1", "q3"]))
    assert_fails(space, "tables/sample.parquet", "'q3'", "submissions.rename")
    assert not space.path("submissions", "champion.parquet").exists()
    assert space.path("blends", "champion", "test.parquet").exists(), "finished work was lost"


def test_keep_list_of_unknown_columns(space: Workspace) -> None:
    (space.folder / "keep.txt").write_text("x0\nx99\n")
    space.write_config(
        features={"kept": {"files": {"main": {"keep": "keep.txt"}}}},
        sources={"lin": {"family": "linear", "features": "kept"}},
        blends={},
        comparisons=[],
        submissions={},
    )
    assert_fails(space, "keep.txt", "'x99'")


def test_unknown_param(space: Workspace) -> None:
    sources = {"xgb": {"family": "xgboost", "rounds": 5, "params": {"max_dept": 3}}}
    space.write_config(sources=sources, blends={}, comparisons=[], submissions={})
    assert_fails(space, "sources.xgb", "max_dept")


def test_missing_files_are_told_at_once(copied: Workspace) -> None:
    # Also where everything is built already.
    copied.write_config(data={**copied.config["data"], "train": "tables/trian.parquet"})
    run = copied.snakemake("--dry-run", check=False)
    assert run.code != 0
    assert "data.train.main: tables/trian.parquet" in run.text


def test_files_that_have_been_read_may_be_gone(copied: Workspace) -> None:
    for path in (copied.folder / "tables").iterdir():
        path.unlink()
    assert copied.snakemake().nothing
    assert "champion" in copied.snakemake("status").text


def test_errors_are_repeated_at_the_end(space: Workspace) -> None:
    change(space, "sample", lambda t: t.rename_columns(["id", "p2", "p0", "p1", "q3"]))
    run = space.snakemake(check=False)
    assert run.code != 0
    assert "'q3'" in run.text[run.text.rindex("ERROR: ") :]
    assert "logs/small/read_sample.log" in run.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"blendz": {}}, ["unknown key 'blendz'", "did you mean 'blends'"]),
        ({"sources": {"a": {"family": "xgbost"}}}, ["sources.a", "did you mean 'xgboost'"]),
        (
            {"blends": {"b": {"method": "mean", "sources": ["xbg"]}}},
            ["blends.b", "'xbg'", "did you mean 'xgb'"],
        ),
    ],
)
def test_config_mistakes(space: Workspace, changes: dict, words: list[str]) -> None:
    space.write_config(**{"comparisons": [], "submissions": {}, **changes})
    run = space.snakemake("--dry-run", check=False)
    assert run.code != 0
    for word in words:
        assert word in run.text
    assert "Traceback" not in run.text


def test_damaged_intermediate_is_named_and_rebuilt(copied: Workspace) -> None:
    path = copied.path("sources", "xgb", "oof.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    copied.path("blends", "average", "oof.parquet").unlink()
    message = assert_fails(copied, "sources/xgb/oof.parquet", "damaged", "rm results/small")
    subprocess.run(message.split(": ")[-1].split(), cwd=copied.folder, check=True)
    copied.snakemake()
    assert copied.snakemake().nothing


def test_damaged_table_is_named(copied: Workspace) -> None:
    path = copied.path("tables", "train.arrow")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    copied.path("sources", "logistic", "fold0", "oof.parquet").unlink()
    shutil.rmtree(copied.folder / "scratch/small/kept")  # else the fold is taken over, unread
    run = copied.snakemake("results/small/sources/logistic/fold0/oof.parquet", check=False)
    assert run.code != 0
    assert "train.arrow" in run.text
    assert "rm results/small/tables/train.arrow" in run.text


@pytest.fixture
def mounted(space: Workspace) -> Iterator[Callable[[str], None]]:
    """Puts results/ on a file system of its own, with these mount options."""
    results = space.folder / "results"
    results.mkdir()

    def mount(options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(results)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small tmpfs cannot be mounted here: {done.stderr.strip()}")

    yield mount
    subprocess.run(["umount", str(results)], check=False, capture_output=True)


def test_no_space_left(space: Workspace, mounted: Callable[[str], None]) -> None:
    mounted("size=96k")
    run = space.snakemake(check=False)
    assert run.code != 0
    assert "no space left on the device" in run.text.lower()
    assert not list(space.results.rglob("*.tmp"))
    for path in space.results.rglob("*.parquet"):
        pq.read_table(path)
    subprocess.run(["mount", "-o", "remount,size=64m", str(space.folder / "results")], check=True)
    space.snakemake()
    assert space.snakemake().nothing


def test_read_only_results(space: Workspace, mounted: Callable[[str], None]) -> None:
    mounted("size=1m,ro")
    run = space.snakemake(check=False)
    assert run.code != 0
    assert "read-only" in run.text.lower()
    assert "results" in run.text
