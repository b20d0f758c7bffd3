"""The command as it is typed: config files in the wrong place, targets that nothing makes."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from snakemake.exceptions import WorkflowError
from yte import process_yaml

from command_line import check_config_files, check_folder, config_words
from command_targets import check_targets
from helpers import enter_folder
from plan import Plan
from plan_searches import PlanSearches

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter_folder(tmp_path, monkeypatch)
    (tmp_path / "config").mkdir()
    for name in ("mine", "other"):
        (tmp_path / f"config/{name}.yaml").write_text(f"problem: {name}\n")
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], call: Any, *arguments: Any) -> str:
    """The one message that ends the command."""
    with pytest.raises(SystemExit) as caught:
        call(*arguments)
    assert caught.value.code == 1
    message = capsys.readouterr().err.strip()
    assert message.startswith("ERROR: ")
    assert "\n" not in message
    return message


def command(text: str) -> list[str]:
    return ["snakemake", *text.split()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-n --configfile a.yaml b.yaml --cores 2 status", ["a.yaml", "b.yaml"]),
        ("--configfiles a.yaml", ["a.yaml"]),
        ("--configfile=a.yaml status", ["a.yaml"]),
        ("--config a=b status", []),
        ("--configf a.yaml", ["a.yaml"]),
        ("status", []),
    ],
)
def test_words_that_are_taken_for_configs(text: str, words: list[str]) -> None:
    assert config_words(command(text)) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "-n --configfile config/mine.yaml status",
            ["'status' stands behind", "snakemake status -n --configfile config/mine.yaml"],
        ),
        (
            "--configfile config/mine.yaml results/mine/leaderboard.parquet results/mine/folds.parquet",
            ["stand behind", "results/mine/folds.parquet --configfile config/mine.yaml"],
        ),
        (
            "--configfile config/mnie.yaml",
            ["config/mnie.yaml does not exist", "'config/mine.yaml'?"],
        ),
        ("--configfile config", ["'config' stands behind"]),
        (
            "build --config only lgb",
            ["'only' stands behind --config", "--config only=lgb,champion"],
        ),
        ("-n -C only=lgb status", ["'status' stands behind --config", "artifacts in front of it"]),
        ("-n --config =lgb", ["'=lgb' stands behind --config"]),
    ],
)
def test_the_command_is_told_before_snakemake_stumbles(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, words: list[str]
) -> None:
    message = told(capsys, check_config_files, command(text))
    for word in words:
        assert word in message


def test_a_wrong_config_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "config/mine.yaml").write_text("problem: mine\n\tseed: 1\n")
    message = told(capsys, check_config_files, command("--configfile config/mine.yaml"))
    assert "config/mine.yaml, line 2, is indented with a tab" in message


def test_right_commands_pass(folder: Path) -> None:
    (folder / "plain").write_text("problem: plain\n")
    check_config_files(command("status --configfile config/mine.yaml config/other.yaml"))
    check_config_files(command("status --configfile plain --cores 2"))
    check_config_files(command("-n"))
    check_config_files(command("build --config only=lgb window=90m my-key= -C x1=2 --cores 2"))


@pytest.mark.parametrize("name", ["default", "gpu", "slurm", "cluster-generic"])
def test_profiles_look_at_the_command_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    profile = (REPO / f"profiles/{name}/config.yaml").read_text()
    snakefile = ["-s", str(REPO / "Snakefile")]
    monkeypatch.setattr(sys, "argv", [*command("--configfile no.yaml"), *snakefile])
    monkeypatch.setattr(sys, "path", list(sys.path))
    message = told(capsys, lambda: process_yaml(profile, require_use_yte=True))
    assert "no.yaml does not exist" in message
    # Nothing is wrong, or the workflow is not where it is looked for: the profile is as it is written.
    written = yaml.safe_load(profile)
    for words in (command("status"), command("--configfile no.yaml")):
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.setattr(sys, "path", [p for p in sys.path if "rules" not in p])
        monkeypatch.delitem(sys.modules, "command_line", raising=False)
        made = process_yaml(profile, require_use_yte=True)
        assert made == {k: v for k, v in written.items() if not k.startswith("__")}


class Rule:
    """As much of a rule of Snakemake's as is looked at."""

    def __init__(self, name: str, *outputs: str) -> None:
        self.name, self.outputs = name, outputs

    def is_producer(self, target: str) -> bool:
        return target in self.outputs

    def has_wildcards(self) -> bool:
        return "{" in "".join(self.outputs)


@pytest.fixture
def workflow(folder: Path) -> Any:
    files = ["results/mine/sources/lgb/oof.parquet", "results/mine/leaderboard.parquet"]
    rules = [Rule("status"), Rule("fit", "{source}", files[0]), Rule("board", files[1])]
    named = {rule.name: rule for rule in rules}
    return SimpleNamespace(
        rules=rules,
        is_rule=named.__contains__,
        get_rule=named.__getitem__,
        configfiles=[str(folder / "config/mine.yaml")],
        basedir=str(REPO),
    )


@pytest.fixture
def plan(folder: Path) -> Plan:
    data = {"train": "t.csv", "targets": "y.csv"}
    for name in data.values():
        (folder / name).touch()
    config = {"problem": "mine", "data": data, "sources": {"lgb": {"family": "lightgbm"}}}
    return Plan(config, str(REPO))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("statsu", ["'statsu'", "did you mean 'status'?"]),
        (
            "results/mine/sources/lbg/oof.parquet",
            ["did you mean 'results/mine/sources/lgb/oof.parquet'?"],
        ),
        ("-n config/mine.yaml", ["Did you mean --configfile config/mine.yaml?"]),
        ("config/nowhere.yaml --cores 2", ["Did you mean --configfile config/nowhere.yaml?"]),
        (
            "results/other/leaderboard.parquet",
            ["of problem 'other'", "for problem 'mine'", "--configfile config/other.yaml"],
        ),
        ("lgb", ["build --config only=lgb, or its files, results/mine/sources/lgb/"]),
        ("lbg", ["did you mean 'lgb'? snakemake build --config only=lgb,"]),
        ("STATUS", ["did you mean 'status'?"]),
        ("leaderboard.parquet", ["did you mean 'results/mine/leaderboard.parquet'?"]),
        ("nothing_like_it", ["Names: board, status;", "results/mine/"]),
        # what stands there already is told all the same
        ("t.csv", ["it stands there, and no rule of problem 'mine' makes it"]),
        ("results/other/folds.parquet", ["of problem 'other'", "--configfile config/other.yaml"]),
        (
            "results/mine/sources/lgb",
            ["is a folder; ask for files in it: 'results/mine/sources/lgb/"],
        ),
        ("results/mine/", ["is a folder; ask for files in it"]),
        ("{folder}/results/mine/leaderboard.parquet", ["mean 'results/mine/leaderboard.parquet'?"]),
        ("results\\mine\\leaderboard.parquet", ["mean 'results/mine/leaderboard.parquet'?"]),
        # rules of many files, and names behind options
        ("fit", ["makes many files", "Name one: 'results/mine/sources/lgb/oof.parquet'"]),
        ("--until nope", ["'nope' (--until) is nothing that can be built"]),
        ("-n -R fti", ["'fti' (--forcerun)"]),
        ("--set-threads ift=2", ["--set-threads ift: there is no rule 'ift'; did you mean 'fit'?"]),
        ("--set-resources x:mem_mb=2", ["--set-resources x: there is no rule 'x'; known: board"]),
        ("--workflow-profile profiles/slrum", ["no such profile; did you mean 'slurm'?"]),
        ("--workflow-profile nope", ["no such profile; known: cluster-generic, default"]),
    ],
)
def test_a_target_that_nothing_makes_is_told(
    workflow: Any,
    plan: Plan,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    words: list[str],
) -> None:
    made = folder / "results/other/folds.parquet"
    made.parent.mkdir(parents=True)
    made.touch()
    line = command(text.replace("{folder}", str(folder)))
    message = told(capsys, check_targets, workflow, plan, line)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "text",
    [
        "status --cores 4",
        "results/mine/leaderboard.parquet -n --workflow-profile none",
        "-R fit --until board --set-threads fit=2 --workflow-profile slurm",
        "-n --workflow-profile none status",
        "--rerun-triggers mtime",
        "statsu --mode subprocess",
        "-n",
    ],
)
def test_targets_that_are_right_pass(workflow: Any, plan: Plan, text: str) -> None:
    check_targets(workflow, plan, command(text))


def test_files_that_are_not_there_are_told_together(folder: Path) -> None:
    config = {
        "problem": "mine",
        "data": {
            "train": "t.csv",
            "test": "t.csv",
            "targets": "absent/y.csv",
            "groups": {"file": "absent/g.csv", "column": "g"},
            "sample_submission": "absent/s.csv",
            "test_targets": "absent/ty.csv",
        },
        "folds": {"file": "absent/f.csv", "column": "f", "scheme": "column"},
        "external": {"given": {"oof": "absent/oof.parquet", "test": "t.csv"}},
    }
    (folder / "t.csv").touch()
    with pytest.raises(WorkflowError) as caught:
        Plan(config, str(REPO))
    keys = ["targets", "groups", "sample_submission", "test_targets"]
    told = [f"data.{key}: absent/" for key in keys] + [
        "folds.file: absent/",
        "external.given.oof: ",
    ]
    assert [word for word in told if word not in str(caught.value)] == []
    assert "t.csv" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"search": "d"}', '{"search": "d", "workers": "x"}']
)
def test_a_damaged_note_of_a_finished_search_is_told(folder: Path, text: str) -> None:
    (folder / "finished.json").write_text(text)
    search = SimpleNamespace(workers=3)
    own: Any = SimpleNamespace(
        search_folder=lambda name: str(folder),
        search_digests={"s": "d"},
        problem=SimpleNamespace(searches={"s": search}),
    )
    with pytest.raises(WorkflowError, match=r"finished\.json is damaged.*rm .*finished\.json"):
        PlanSearches._workers(own, "s")
    (folder / "finished.json").write_text('{"search": "d", "workers": 7}')
    assert PlanSearches._workers(own, "s") == 7


def test_a_folder_that_cannot_be_written_is_told_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_folder()
    assert [path.name for path in (folder / ".snakemake").iterdir()] == ["metadata"]
    (folder / ".snakemake/metadata").rmdir()
    (folder / ".snakemake/metadata").touch()
    message = told(capsys, check_folder)
    assert f"{folder}/.snakemake/metadata cannot be written" in message
    assert "a file stands where a folder must be" in message
    (folder / ".snakemake/metadata").unlink()

    def refused(number: int) -> Any:
        def open_(**_: Any) -> None:
            raise OSError(number, os.strerror(number))

        return open_

    for number, words in [
        (errno.EROFS, "the file system is read-only. Mount it writable"),
        (errno.EFBIG, "`ulimit -f`"),
        (errno.ENOSPC, "no space left on the device. Free some"),
        (errno.EACCES, "Make the folder writable"),
        (errno.EBUSY, os.strerror(errno.EBUSY)),
    ]:
        monkeypatch.setattr("tempfile.TemporaryFile", refused(number))
        message = told(capsys, check_folder)
        assert f"{folder}/.snakemake cannot be written, and Snakemake keeps" in message
        assert words in message


@pytest.mark.parametrize(("files", "right"), [(14, False), (1024, True), (-1, True)])
def test_a_process_that_may_open_too_few_files_is_told(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    files: int,
    right: bool,
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (files, files))
    if right:
        check_folder()
    else:
        message = told(capsys, check_folder)
        assert "may open 14 files here (ulimit -n)" in message and "ulimit -n 8192" in message
