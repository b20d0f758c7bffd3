"""What the sections of a problem say of each other: every name that is used must stand for something."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from blendmake.adapters import ADAPTERS
from blendmake.config.base import nearest
from blendmake.config.measures import AUTO, measures_task, of_target
from blendmake.config.sections import Sections
from blendmake.config.sources import Source
from blendmake.families import JOINT, WATCHING
from blendmake.metrics import METRICS

RESERVED = ("all", "base", "macro")  # of sources and blends


def complaints(problem: Sections) -> Iterator[str]:
    """One line per name that stands for nothing, is taken twice, or goes in a circle."""
    names = list(_names(problem))
    yield from names
    yield from _measures(problem)
    yield from _features(problem)
    yield from _groups(problem)
    yield from _sources(problem)
    yield from _blends(problem)
    yield from _audits(problem)
    yield from _searches(problem)
    if not names:  # a name taken twice would look like a circle
        yield from _circles(problem)
    yield from _comparisons(problem)
    yield from _submissions(problem)
    yield from _campaigns(problem)
    if problem.budget is not None and problem.preset is None:
        yield "budget: it sizes a preset; give one (quick, standard, strong), or use --config window=…"
    if problem.folds.scheme == "group" and not problem.data.groups:
        yield "folds.scheme: 'group' needs data.groups (which rows belong together)"


def _check(where: str, name: str, known: Iterable[str], what: str) -> Iterator[str]:
    if name not in known:
        yield f"{where}: no {what} is called '{name}'; {nearest(name, known)}"


def _names(problem: Sections) -> Iterator[str]:
    taken: dict[str, str] = {}
    for section in ("sources", "external", "blends", "audits", "searches"):
        for name in getattr(problem, section):
            if name in RESERVED:
                yield f"{section}.{name}: a reserved word, not a name"
            if name in taken:
                what = {"sources": "a source", "external": "an external source"}
                owner = what.get(taken[name], f"one of {taken[name]}")
                yield f"{section}.{name}: {owner} has the same name"
            taken.setdefault(name, section)


def _measures(problem: Sections) -> Iterator[str]:
    """What `task`, `metric` and `also` say of targets that there are not, or of each other."""
    known = problem.known_targets()
    for key in ("task", "metric"):
        said = getattr(problem, key)
        for target in said if isinstance(said, Mapping) and known is not None else ():
            yield from _check(key, target, known or [], "target")
    tasks = _tasks(problem)
    wrong: dict[tuple[str, str], str] = {}
    for target, task in tasks.items():
        metric = of_target(problem.metric, target)
        if metric is not None and not measures_task(metric, task):
            wrong.setdefault((metric, task), target)
    for (metric, task), target in wrong.items():
        whose = f" of target '{target}'" if target else ""
        yield f"metric{whose}: '{metric}' does not measure {task}; {', '.join(_metrics_of(task))} do"
    for metric in problem.also or []:
        if not any(measures_task(metric, task) for task in tasks.values()):
            yield f"also: '{metric}' does not measure {' or '.join(sorted(set(tasks.values())))}"
    for name, search in problem.searches.items():
        own = set(tasks.values()) if search.targets is None else {AUTO}
        if search.metric and not any(measures_task(search.metric, task) for task in own):
            yield (
                f"searches.{name}.metric: '{search.metric}' does not measure "
                f"{' or '.join(sorted(own))}"
            )
    positive = problem.data.targets.positive if problem.data.targets else None
    for target in positive if isinstance(positive, Mapping) else tasks if positive else ():
        task = tasks.get(target, tasks.get("", AUTO))
        if task not in (AUTO, "binary"):
            whose = f"'{target}'" if target else "all"
            yield (
                "data.targets.positive: which value is 1 is asked of binary targets, but "
                f"{whose} is {task} by `task`"
            )


def _tasks(problem: Sections) -> dict[str, str]:
    """By target its task as far as the config says it; by the empty name that of all."""
    known = problem.known_targets()
    if not isinstance(problem.task, Mapping):
        return dict.fromkeys(known if known is not None else [""], problem.task)
    if known is None:
        return {"": AUTO, **problem.task}
    return {target: problem.task.get(target, AUTO) for target in known}


def _metrics_of(task: str) -> list[str]:
    return [name for name in METRICS if measures_task(name, task)]


def _features(problem: Sections) -> Iterator[str]:
    labels: Collection[str] = problem.data.train or {}
    if problem.data.adapter:
        labels = ADAPTERS[problem.data.adapter].FILES
    for name, features in problem.features.items():
        where = f"features.{name}"
        selected = features.files if features.files is not None else labels
        for label in features.files or {}:
            yield from _check(f"{where}.files", label, labels, "train file")
        for key, names in features.file_labels().items():
            for label in names:
                yield from _check(f"{where}.{key}", label, selected, "selected file")
        if features.audit is not None:
            yield from _check(f"{where}.audit.name", features.audit.name, problem.audits, "audit")


def _groups(problem: Sections) -> Iterator[str]:
    known = problem.known_targets()
    for name, group in problem.groups.items():
        where = f"groups.{name}"
        if name == "all":
            yield "groups.all: 'all' always means every target; choose another name"
        elif name in (known or []):
            yield f"groups.{name}: a target has the same name"
        for target in group.targets or [] if known is not None else []:
            yield from _check(where, target, known or [], "target")
        rule = next((key for key in ("rate_at_most", "rarest") if getattr(group, key)), None)
        if rule and not {AUTO, "binary"} & set(_tasks(problem).values()):
            yield (
                f"{where}.{rule}: goes by positives, which binary targets alone have; list the targets "
                "by name"
            )
        if group.source is None:
            continue
        yield from _check(f"{where}.source", group.source, problem.sources, "source")
        source = problem.sources.get(group.source)
        stopping = source.early_stopping if source else None
        if source and source.family not in WATCHING:
            yield (
                f"{where}.source: '{group.source}' ({source.family}) has no AUC on inner splits; name a "
                f"source of {', '.join(sorted(WATCHING))}"
            )
        elif source and (stopping is None or stopping.watch != "inner"):
            yield (
                f"{where}.source: '{group.source}' has no AUC on inner splits; give it "
                "early_stopping (watch: inner)"
            )


def _sources(problem: Sections) -> Iterator[str]:
    known = problem.known_targets()
    for name, source in problem.sources.items():
        where = f"sources.{name}"
        sets = problem.feature_sets()
        yield from _check(f"{where}.features", source.features, sets, "feature set")
        for group in source.overrides.groups:
            yield from _check(f"{where}.overrides.groups", group, problem.groups, "target group")
        if known is not None:
            named = {*known, *problem.groups, "all"}
            for target in source.targets:
                yield from _check(f"{where}.targets", target, named, "target or group")
            for target in source.overrides.targets:
                yield from _check(f"{where}.overrides.targets", target, known, "target")


def _blends(problem: Sections) -> Iterator[str]:
    artifacts = problem.artifacts()
    for name, blend in problem.blends.items():
        for member in blend.sources:
            if member != "all":
                yield from _check(f"blends.{name}.sources", member, artifacts, "source or blend")
        if blend.fallback:
            yield from _check(
                f"blends.{name}.fallback", blend.fallback, artifacts, "source or blend"
            )
        if blend.sources == ["all"] and not problem.model_sources():
            yield f"blends.{name}: there are no sources to blend"


def _audits(problem: Sections) -> Iterator[str]:
    known = problem.known_targets()
    for name, audit in problem.audits.items():
        sets = problem.feature_sets()
        yield from _check(f"audits.{name}.features", audit.features, sets, "feature set")
        if audit.features in sets and sets[audit.features].uses_labels:
            yield (
                f"audits.{name}.features: '{audit.features}' makes columns with labels; audit a set "
                "that does not"
            )
        for target in audit.targets:
            if target in problem.groups and problem.groups[target].is_built:
                yield (
                    f"audits.{name}.targets: '{target}' is built by a rule; name its targets, or all"
                )
            if known is not None:
                named = {*known, *problem.groups, "all"}
                yield from _check(f"audits.{name}.targets", target, named, "target or group")


def _circles(problem: Sections) -> Iterator[str]:
    """Names that stand on themselves: blends on blends, sources on groups on sources."""

    def built(names: Iterable[str]) -> list[str]:
        groups = problem.groups
        return [f"group {name}" for name in names if name in groups and groups[name].is_built]

    def needs(name: str) -> list[str]:
        if name in problem.blends:
            return problem.members(name)
        if name in problem.sources:
            taken = problem.sources[name].params_from
            search = (
                [f"search {taken.search}"] if taken and taken.search in problem.searches else []
            )
            return [*built(problem.sources[name].group_names(problem.groups)), *search]
        if name.startswith("search "):
            one = problem.searches[name.removeprefix("search ")]
            named = [*(one.targets or [])]
            for source in one.source:
                if source in problem.sources:
                    named += problem.sources[source].group_names(problem.groups)
            return built(named)
        if name.startswith("group "):
            # It leaves out the members of the groups above it, whoever named those.
            every, group = list(problem.groups), name.removeprefix("group ")
            ranked = problem.groups[group].source
            above = built(every[: every.index(group)])
            return [*above, *([ranked] if ranked is not None else [])]
        return []

    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> Iterator[str]:
        if name in path:
            kind = "blends" if name in problem.blends else "sources"
            kind = "groups" if name.startswith("group ") else kind
            kind = "searches" if name.startswith("search ") else kind
            circle = (*path[path.index(name) :], name)
            yield f"{kind}: {' -> '.join(circle)} goes in a circle"
        elif name not in done:
            for other in needs(name):
                yield from visit(other, (*path, name))
            done.add(name)

    for name in [*problem.blends, *problem.sources]:
        yield from visit(name, ())


def _comparisons(problem: Sections) -> Iterator[str]:
    for a, b in problem.comparisons:
        for name in (a, b):
            yield from _check("comparisons", name, problem.artifacts(), "source or blend")
        if a == b:
            yield f"comparisons: '{a}' is compared with itself"


def _submissions(problem: Sections) -> Iterator[str]:
    for key in ("blends", "scores"):
        for name in getattr(problem.submissions, key):
            yield from _check(f"submissions.{key}", name, problem.artifacts(), "source or blend")
    if not (problem.data.adapter or problem.data.test):
        for name in problem.submissions.blends:
            yield f"submissions.blends: '{name}' cannot be handed in: data.test is not given"


def _campaigns(problem: Sections) -> Iterator[str]:
    known = {*problem.artifacts(), *problem.audits, *problem.searches}
    for name, items in problem.campaigns.items():
        for item in items:
            if "/" not in item:  # a path below the problem's results is checked by Snakemake
                yield from _check(
                    f"campaigns.{name}", item, known, "source, blend, audit or search"
                )


def _searches(problem: Sections) -> Iterator[str]:
    known = problem.known_targets()
    for name, search in problem.searches.items():
        where = f"searches.{name}"
        # As part of a file name, of which file systems bear 255 bytes.
        if len("within" + "_".join(map(str, search.search_folds(problem.folds.n)))) > 255:
            yield f"{where}.folds: a folder is named after them, which cannot be so long: give fewer"
        for source in search.source:
            yield from _check(f"{where}.source", source, problem.sources, "source")
        for target in search.targets or [] if known is not None else []:
            yield from _check(
                f"{where}.targets",
                target,
                {*(known or []), *problem.groups, "all"},
                "target or group",
            )
        searched = [problem.sources[s] for s in search.source if s in problem.sources]
        if any(one.family in JOINT for one in searched) and search.studies == "per_target":
            yield (
                f"{where}.studies: a source of it fits one model for all targets, which has one set of "
                "params: leave it out, or say 'one'"
            )
        kinds = {one.family in JOINT for one in searched}
        if len(kinds) > 1:
            yield (
                f"{where}.source: of {', '.join(search.source)} some fit one model for all targets, "
                "some one for each, whose trials cannot be compared in between: search them apart"
            )
        for source in search.source:
            one_source = problem.sources.get(source)
            if one_source and one_source.params_from and one_source.params_from.search != name:
                yield (
                    f"{where}.source: '{source}' takes its params from another search; name the source "
                    f"that '{one_source.params_from.search}' searched"
                )
        yield from _search_folds(problem, name)
        sets = problem.feature_sets()
        for one in searched:
            if one.features in sets and sets[one.features].audit is not None:
                yield (
                    f"{where}.source: the feature set '{one.features}' reads an audit's lists, which "
                    "are made with labels that trials must not see; search a source with another set"
                )
    for name, taker in problem.sources.items():
        yield from _params_from(problem, name, taker)


def _search_folds(problem: Sections, name: str) -> Iterator[str]:
    n = problem.folds.n
    folds = problem.searches[name].search_folds(n)
    beyond = [fold for fold in folds if fold >= n]
    if beyond:
        yield f"searches.{name}.folds: there is no fold {beyond[0]}: the problem has 0 to {n - 1}"
    elif len(folds) >= n:
        yield (
            f"searches.{name}.folds: no fold is left that trials have not seen, to score what is tuned; "
            + ("take more folds (folds.n)" if n < 3 else "leave one out")
        )


def _params_from(problem: Sections, name: str, source: Source) -> Iterator[str]:
    wanted = source.params_from
    if wanted is None:
        return
    where = f"sources.{name}.params_from"
    yield from _check(where, wanted.search, problem.searches, "search")
    if wanted.search not in problem.searches:
        return
    search = problem.searches[wanted.search]
    if wanted.source is not None:
        yield from _check(f"{where}.source", wanted.source, search.source, "source of this search")
        return
    searched = problem.searched_source(name)
    if searched is None:
        yield f"{where}: the search is over {', '.join(search.source)}; say which: {{search, source}}"
    elif searched in problem.sources and problem.sources[searched].family != source.family:
        yield (
            f"{where}: the search is of family '{problem.sources[searched].family}', this source of "
            f"'{source.family}'"
        )
