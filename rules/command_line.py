"""The command as a person has typed it: config files and targets, looked at before Snakemake stumbles.

Snakemake reads config files before the Snakefile, so that the profiles call `check_config_files`;
targets are looked at once the rules are known, at the end of the Snakefile.
"""

from __future__ import annotations

import difflib
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

scripts = str(Path(__file__).resolve().parents[1] / "scripts")
if scripts not in sys.path:
    sys.path.insert(0, scripts)

from blendmake.config.reading import read_config  # noqa: E402
from blendmake.errors import BlendmakeError  # noqa: E402

if TYPE_CHECKING:
    from plan import Plan

CONFIGS = (".yaml", ".yml", ".json")
TABLES = (".parquet", ".arrow", ".csv", ".jsonl", ".svg", ".html", ".txt", ".md", ".tar")


@contextmanager
def told() -> Iterator[None]:
    """Say what is wrong with config or command in one message, without lines of our code."""
    from snakemake.exceptions import WorkflowError

    try:
        yield
    except (BlendmakeError, WorkflowError) as error:
        _end(str(error))


def _end(message: str) -> None:
    sys.stdout.flush()
    print(f"\nERROR: {message}\n", file=sys.stderr, flush=True)
    raise SystemExit(1)


# Config files


def check_config_files(words: Sequence[str]) -> None:
    """End with one message where a config file of the command is wrong, or is none.

    Args:
        words: sys.argv.
    """
    with told():
        files = config_words(words)
        swallowed = [word for word in files if not _may_be_config(word)]
        if swallowed:
            raise BlendmakeError(_swallowed(words, files, swallowed))
        for file in files:
            if not file.startswith("-"):
                read_config(file)


def config_words(words: Sequence[str]) -> list[str]:
    """What the command gives as config files: all words behind --configfile, up to the next option."""
    found: list[str] = []
    takes = False
    for word in words[1:]:
        if word.startswith("-"):
            option, _, value = word.partition("=")
            named = len(option) > len("--config") and "--configfiles".startswith(option)
            found += [value] if named and value else []
            takes = named and not value
        elif takes:
            found.append(word)
    return found


def _may_be_config(word: str) -> bool:
    if word.endswith(CONFIGS):
        return True
    return os.path.isfile(word) and not word.endswith(TABLES) and "=" not in word


def _swallowed(words: Sequence[str], files: Sequence[str], swallowed: Sequence[str]) -> str:
    configs = [word for word in files if word not in swallowed]
    one = len(swallowed) == 1
    named = ", ".join(f"'{word}'" for word in swallowed)
    rest = [w for w in words[1:] if w not in files and not w.startswith("--configfile")]
    mended = ["snakemake", *swallowed, *rest, "--configfile", *(configs or ["config/mine.yaml"])]
    return (
        f"{named} {'stands' if one else 'stand'} behind --configfile, which takes every name that "
        f"follows it for a config. Put it last: {shlex.join(mended)}"
    )


# Targets


def check_targets(workflow: Any, plan: Plan, words: Sequence[str]) -> None:
    """End with one message where the command asks for what no rule makes, naming what is nearest.

    Not in jobs, which Snakemake starts by itself, nor with a bucket, whose files have other names.
    """
    if plan.bucket or any(word.startswith(("--mode", "--target-jobs")) for word in words):
        return
    if all(word.startswith("-") for word in words[1:]):
        return
    from snakemake.cli import get_argument_parser

    targets = get_argument_parser().parse_args(words[1:]).targets or []
    with told():
        for target in map(str, targets):
            message = _no_target(workflow, plan, target, words)
            if message:
                raise BlendmakeError(message)


def _no_target(workflow: Any, plan: Plan, target: str, words: Sequence[str]) -> str:
    """What is wrong with a target; empty if nothing is."""
    if target.endswith((".yaml", ".yml")) and not target.startswith(f"{plan.results}/"):
        return (
            f"'{target}' is asked for as an artifact, and nothing makes it. Did you mean "
            f"--configfile {target}?"
        )
    if workflow.is_rule(target) or any(rule.is_producer(target) for rule in workflow.rules):
        return ""
    if os.path.exists(target):
        return ""  # a file of the user's: Snakemake says that there is nothing to be done
    told = f"'{target}' is nothing that can be built"
    problem = _problem_of(target, plan)
    if problem is not None:
        where = _config_of(problem, [*config_words(words), *workflow.configfiles])
        return (
            f"'{target}' is of problem '{problem}', and this command is for problem '{plan.name}'. "
            f"Did you mean --configfile {where or f'<the config of {problem}>'}, behind the artifacts?"
        )
    known = set(_names(workflow) if "/" not in target else _files(plan))
    close = difflib.get_close_matches(target, known, n=1, cutoff=0.6)
    if close:
        return f"{told}; did you mean '{close[0]}'?"
    if "/" not in target and target in {*plan.artifacts, *plan.problem.audits, *plan.searches}:
        folder = plan.folder(target) if target in plan.artifacts else f"{plan.results}/…/{target}"
        return (
            f"{told} by that name: snakemake build --config only={target}, or its files, {folder}/…"
        )
    return (
        f"{told}. Names: {', '.join(sorted(_names(workflow)))}; files stand under {plan.results}/ "
        "(snakemake status lists them)."
    )


def _problem_of(target: str, plan: Plan) -> str | None:
    """Another problem, if it is one of its files that is asked for."""
    parts = Path(target).parts
    others = len(parts) > 2 and parts[0] == Path(plan.results).parts[0]
    return parts[1] if others and parts[1] != plan.name else None


def _config_of(problem: str, near: Iterable[Any]) -> str | None:
    """The config of a problem: among those beside the ones that are named."""
    folders = dict.fromkeys([Path("config"), *(Path(str(one)).parent for one in near)])
    for path in sorted(path for folder in folders for path in folder.glob("*.y*ml")):
        try:
            if read_config(path).get("problem") == problem:
                return os.path.relpath(path)
        except BlendmakeError:
            continue
    return None


def _names(workflow: Any) -> list[str]:
    """Rules that can be asked for by name."""
    return [rule.name for rule in workflow.rules if not rule.has_wildcards()]


def _files(plan: Plan) -> list[str]:
    """Files of everything that the config names, of folds too."""
    p = plan.problem
    items = [*plan.artifacts, *p.audits, *plan.searches]
    files = [*plan.everything, *(file for item in items for file in plan.item_files(item))]
    files += [
        f"{plan.folder(name)}/fold{fold}/{part}.parquet"
        for name in plan.sources
        for fold in plan.folds
        for part in ("oof", "test", "fits")
    ]
    suffixes = ("parquet", "csv") if p.submissions.csv else ("parquet",)
    files += [f"{plan.results}/submissions/{a}.{s}" for a in plan.artifacts for s in suffixes]
    return [*files, *(f"{plan.results}/tables/{name}.arrow" for name in ("train", "test"))]
