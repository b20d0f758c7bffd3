"""What a command asks for, artifacts, rules, profiles: looked at before Snakemake stumbles."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blendmake.config.base import nearest
from blendmake.config.reading import read_config
from blendmake.errors import BlendmakeError
from blendmake.spelling import closest
from command_line import config_words, told

if TYPE_CHECKING:
    from plan import Plan

# Options that take rules or files, and options that take rule=value.
ASKING = {"forcerun": "--forcerun", "until": "--until", "omit_from": "--omit-from"}
SETTING = {"set_threads": "--set-threads", "set_resources": "--set-resources"}
SHOWN = 3  # files of a folder that a message names


def check_targets(workflow: Any, plan: Plan, words: Sequence[str]) -> None:
    """End with one message where the command asks for what no rule makes, naming what is nearest.

    Not in jobs, which Snakemake starts by itself; with a bucket, whose files have other names, only
    rules and profiles are looked at.

    Args:
        words: sys.argv.
    """
    if any(word.startswith(("--mode", "--target-jobs")) for word in words):
        return
    if all(word.startswith("-") for word in words[1:]):
        return
    from snakemake.cli import get_argument_parser

    given = get_argument_parser().parse_args(words[1:])
    with told():
        _check_profile(given.workflow_profile, Path(workflow.basedir))
        for key, option in SETTING.items():
            for name in getattr(given, key):
                _check_rule(workflow, name, option)
        if plan.bucket:
            return
        asked = _Asked(workflow, plan, words)
        for target in map(str, given.targets or []):
            asked.check(target)
        for key, option in ASKING.items():
            for target in sorted(map(str, getattr(given, key) or [])):
                if not workflow.is_rule(target):
                    asked.check(target, f" ({option})")


def _check_profile(named: str | None, basedir: Path) -> None:
    """A workflow profile that is not there is none at all for Snakemake: not even the default one."""
    if named is None or named == "none":
        return
    folders = [Path("profiles"), basedir / "profiles"]
    if not any(path.exists() for path in [Path(named), *(folder / named for folder in folders)]):
        there = {path.name for folder in folders for path in folder.glob("*") if path.is_dir()}
        hint = nearest(Path(named).name, there)
        raise BlendmakeError(f"--workflow-profile {named}: there is no such profile; {hint}")


def _check_rule(workflow: Any, name: str, option: str) -> None:
    if not workflow.is_rule(name):
        hint = nearest(name, [rule.name for rule in workflow.rules])
        raise BlendmakeError(f"{option} {name}: there is no rule '{name}'; {hint}")


class _Asked:
    """What can be asked for, and what is wrong with what cannot.

    Args:
        words: sys.argv.
    """

    def __init__(self, workflow: Any, plan: Plan, words: Sequence[str]) -> None:
        self.workflow, self.plan, self.words = workflow, plan, words

    def check(self, target: str, where: str = "") -> None:
        """Raise BlendmakeError if no rule makes a target, and none is called so."""
        message = self._wrong(target)
        if message:
            raise BlendmakeError(f"'{target}'{where} {message}")

    def _is_made(self, target: str) -> bool:
        return any(rule.is_producer(target) for rule in self.workflow.rules)

    def _wrong(self, target: str) -> str:
        """What is wrong with a target, in words that follow it; empty if nothing is."""
        plan = self.plan
        if self.workflow.is_rule(target):
            return self._many(target)
        if self._is_made(target):
            return ""
        if target.endswith((".yaml", ".yml")) and not target.startswith(f"{plan.results}/"):
            return (
                "is asked for as an artifact, and nothing makes it. Did you mean "
                f"--configfile {target}?"
            )
        meant = os.path.relpath(target.strip().replace("\\", "/"))
        if meant != target and (self.workflow.is_rule(meant) or self._is_made(meant)):
            return f"is nothing that can be built as it is written; did you mean '{meant}'?"
        problem = _problem_of(meant, plan)
        if problem is not None:
            named = [*config_words(self.words), *self.workflow.configfiles]
            where = _config_of(problem, named) or f"<the config of {problem}>"
            return (
                f"is of problem '{problem}', and this command is for problem '{plan.name}'. Did you "
                f"mean --configfile {where}, behind the artifacts?"
            )
        return self._nearest(meant)

    def _many(self, rule: str) -> str:
        """A rule of many files has to be asked for one of them."""
        made = self.workflow.get_rule(rule)
        if not made.has_wildcards():
            return ""
        files = [file for file in _files(self.plan) if made.is_producer(file)]
        said = "is a rule that makes many files, and none of them is asked for"
        if not files:
            return f"{said} by this config."
        return f"{said}. Name one: '{files[0]}'"

    def _nearest(self, target: str) -> str:
        """What is nearest to a target that nothing makes."""
        plan, said = self.plan, "is nothing that can be built"
        files = list(dict.fromkeys(_files(plan)))
        within = [file for file in files if file.startswith(f"{target}/")]
        within.sort(key=lambda file: file.count("/"))
        if within:
            few = ", ".join(f"'{file}'" for file in within[:SHOWN])
            return f"is a folder; ask for files in it: {few}{' …' if within[SHOWN:] else ''}"
        if "/" in target:
            close = closest(target, files)
        else:
            items = {*plan.artifacts, *plan.problem.audits, *plan.searches}
            known = {*_names(self.workflow), *items}
            close = target if target in items else closest(target, known)
            if close in items:
                meant = "" if close == target else f"did you mean '{close}'? "
                return f"{said} by that name: {meant}{_by_name(close, plan)}"
            close = close or next((file for file in files if file.endswith(f"/{target}")), None)
        if close:
            return f"{said}; did you mean '{close}'?"
        if os.path.exists(target):
            return f"{said}: it stands there, and no rule of problem '{plan.name}' makes it."
        names = ", ".join(sorted(_names(self.workflow)))
        return (
            f"{said}. Names: {names}; files stand under {plan.results}/ "
            "(snakemake status lists them)."
        )


def _by_name(item: str, plan: Plan) -> str:
    folder = plan.folder(item) if item in plan.artifacts else f"{plan.results}/…/{item}"
    return f"snakemake build --config only={item}, or its files, {folder}/…"


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
