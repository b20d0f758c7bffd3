"""What a run asks for: everything, or a campaign, less what a window leaves for another run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from blendmake.config.run import Run
from plan_inputs import given_groups
from plan_searches import PlanSearches

# Folders below results/<problem>/ whose files are named after artifacts.
OF_ARTIFACTS = ("sources", "blends", "submissions", "comparisons", "report")


class PlanWanted(PlanSearches):
    """The targets of runs, and what is listed of them.

    Attributes:
        run: what --config says of this run.
        asked: campaigns that the command asks for.
    """

    run: Run
    asked: list[str]

    @property
    def shown(self) -> list[str]:
        """Artifacts that this run builds and reports: all, but what a window leaves for another."""
        return [name for name in self.artifacts if name not in self.left]

    @property
    def shown_comparisons(self) -> list[str]:
        pairs = self.problem.all_comparisons()
        return [f"{a}__vs__{b}" for a, b in pairs if {a, b} <= set(self.shown)]

    @property
    def scored_files(self) -> dict[str, list[str]]:
        """Files of everything that is scored: oof and scores, and fits of what was fitted here."""
        return {
            "oof": [f"{self.folder(name)}/oof.parquet" for name in self.shown],
            "scores": [f"{self.folder(name)}/scores.parquet" for name in self.shown],
            "fits": [f"{self.folder(name)}/fits.parquet" for name in self.shown_sources],
        }

    @property
    def blend_orders(self) -> dict[str, list[str]]:
        """What else the leaderboard needs of each blend, to score it on some folds only."""
        shown = [name for name in self.shown if name in self.problem.blends]
        return {
            part: [f"{self.folder(name)}/{part}.parquet" for name in shown]
            for part in ("in_sample", "uncalibrated")
        }

    @property
    def shown_sources(self) -> list[str]:
        """Sources fitted here that this run builds."""
        return [name for name in self.sources if name in self.shown]

    @property
    def shown_searches(self) -> list[str]:
        """Searches that a source of this run takes its params from."""
        sources = self.problem.sources
        taken = {one.search for name in self.shown_sources if (one := sources[name].params_from)}
        return [name for name in self.searches if name in taken]

    # Campaigns

    @property
    def campaigns(self) -> list[str]:
        return list(self.problem.campaigns)

    def manifest_file(self, campaign: str) -> str:
        return f"{self.results}/campaigns/{campaign}.json"

    def item_files(self, item: str) -> list[str]:
        """Every file of what a campaign lists: a source, blend, audit, search, or a path."""
        if item in self.problem.audits:
            return self.audit_results(item)
        if item in self.problem.searches:
            return [*self.search_results(item), *self.search_figures(item)]
        if item in self.artifacts:
            is_handed_in = item in self.problem.submissions.blends
            handed_in = [file.format(artifact=item) for file in self.submission_files.values()]
            return [*self.artifact_files(item), *(handed_in if is_handed_in else [])]
        return [f"{self.results}/{item}"]

    def campaign_files(self, campaign: str) -> list[str]:
        """What a campaign asks for in this run."""
        items = [item for item in self.campaign_chosen(campaign) if not self._is_left(item)]
        return [file for item in items for file in self.item_files(item)]

    def campaign_chosen(self, campaign: str) -> list[str]:
        """A campaign's items, less those that `only` and `from` leave out where it is asked for."""
        items = self.problem.campaigns[campaign]
        return self.run.chosen(items) if campaign in self.asked else items

    def campaign_left(self, campaign: str) -> dict[str, str]:
        """Why items of a campaign are not built in this run."""
        here = self.campaign_chosen(campaign)
        others = [item for item in self.problem.campaigns[campaign] if item not in here]
        return {**dict.fromkeys(others, "not asked for in this run (only, from)"), **self.left}

    def _is_left(self, item: str) -> bool:
        """Whether an item of a campaign is, or is a file of, what a window leaves for another."""
        kind, *below = Path(item).with_suffix("").parts
        if not below:
            return kind in self.left
        names = below[-1 if kind == "report" else 0].split("__vs__")
        return kind in OF_ARTIFACTS and any(name in self.left for name in names)

    def campaign_items(self, campaign: str) -> list[dict[str, Any]]:
        """What a campaign's manifest lists, in its order."""
        items = []
        for name in self.problem.campaigns[campaign]:
            item: dict[str, Any] = {"label": name, "files": self.item_files(name)}
            if name in self.artifacts:
                folder = self.folder(name)
                item |= {f"{part}_path": f"{folder}/{part}.parquet" for part in ("oof", "test")}
                item["scores"] = f"{folder}/scores.parquet"
                item |= {"fits": f"{folder}/fits.parquet"} if name in self.sources else {}
            items.append(item)
        return items

    def stands_on(self, name: str) -> list[str]:
        """The sources fitted here that an artifact needs: itself, members, sources of groups."""
        found: list[str] = []
        built = self.built_groups
        waiting = [name]
        while waiting:
            one = waiting.pop(0)  # in the order of the config
            if one in self.problem.blends:
                waiting += self.problem.members(one)
            elif one in self.problem.sources and one not in found:
                found.append(one)
                # A built group leaves out the members of those above it, which must stand first.
                last = max((built.index(group) for group in self._built_of(one)), default=-1)
                ranked = [self.problem.groups[group].source for group in built[: last + 1]]
                waiting += [source for source in ranked if source]
        return found

    def _built_of(self, source: str) -> list[str]:
        """The built groups that a source names."""
        named = self.problem.sources[source].group_names(self.problem.groups)
        return [group for group in named if self.problem.groups[group].is_built]

    @property
    def ranking(self) -> list[str]:
        """Sources and blends by priority: as campaigns list them, then as the config does."""
        return list(dict.fromkeys([*self.named_in(self.campaigns), *self.artifacts]))

    def named_in(self, campaigns: Iterable[str]) -> list[str]:
        """Sources and blends that some campaigns list, in their order."""
        items = [item for name in campaigns for item in self.problem.campaigns[name]]
        return list(dict.fromkeys(item for item in items if item in self.artifacts))

    @property
    def priorities(self) -> dict[str, int]:
        """Priority of each source's fits, of audits and of searches.

        What stands first in `ranking` is fitted first; an audit goes just before the first source
        whose features it decides, a search before the first that takes its params from it.
        """
        order = [source for name in self.ranking for source in self.stands_on(name)]
        first = list(dict.fromkeys(order))
        found = {name: 2 * (len(first) - place) for place, name in enumerate(first)}
        sets = self.problem.feature_sets()
        for audit in self.problem.audits:
            readers = [
                found[name]
                for name, source in self.problem.sources.items()
                if (read := sets[source.features].audit) and read.name == audit
            ]
            found[audit] = max(readers, default=0) + 1
        for search in self.problem.searches:
            takers = [
                found[name]
                for name, source in self.problem.sources.items()
                if source.params_from and source.params_from.search == search
            ]
            found[search] = max(takers, default=0) + 1
        return found

    # All, and what is shown of it

    @property
    def everything(self) -> list[str]:
        """What `all` asks for: each artifact by name, so that a deleted one comes back."""
        names = [f"{self.results}/folds.parquet", f"{self.results}/tables/targets.parquet"]
        names += [*self.groups_artifact(), *self.test_targets_artifact]
        names += self.sample_artifact if self.problem.submissions.blends else []
        for files in (self.inner_files, self.source_groups):
            names += sorted({file for name in self.shown_sources for file in files[name]})
        for name in self.problem.submissions.blends:
            if name in self.shown:
                names += [file.format(artifact=name) for file in self.submission_files.values()]
        for name in self.shown:
            names += self.artifact_files(name)
        for name in self.problem.audits:
            names += self.audit_results(name)
        for name in self.shown_searches:
            names += self.search_results(name)
        if self.shown:
            stems = ("leaderboard.parquet", "leaderboard.csv", "leaderboard_targets.parquet")
            names += [f"{self.results}/{stem}" for stem in (*stems, "experiments.jsonl")]
            names += [f"{self.results}/comparisons/{p}.parquet" for p in self.shown_comparisons]
            names += self.report_files
        return names

    @property
    def final_files(self) -> dict[str, list[str]]:
        """What a person looks for in the end."""
        blends = self.problem.submissions.blends
        return {
            "submission": [f"{self.results}/submissions/{name}.parquet" for name in blends],
            "report": [f"{self.results}/report.html"],
        }

    @property
    def report_files(self) -> list[str]:
        """Figures of the report."""
        folder = f"{self.results}/report"
        drawn = ("leaderboard", "honesty", "heatmap", "correlations", "fit_seconds")
        files = [f"{folder}/{name}.svg" for name in drawn]
        files += [f"{folder}/leaderboard.html", f"{folder}/correlations.parquet"]
        shown = [name for name in self.blends if name in self.shown]
        files += [f"{folder}/weights/{name}.svg" for name in shown]
        for name in self.problem.audits:
            stems = ("effects", "targets", "drift")
            files += [f"{folder}/audits/{name}/{stem}.svg" for stem in stems]
        for name in self.shown_searches:
            files += self.search_figures(name)
        return [*files, *([f"{folder}/comparisons.svg"] if self.shown_comparisons else [])]

    @property
    def leaderboard_entries(self) -> list[dict[str, Any]]:
        """What the leaderboard lists, with its files."""
        return [self._entry(name) for name in self.shown]

    def _entry(self, name: str) -> dict[str, Any]:
        """An artifact with its folder; only what was fitted here has `fits`."""
        scores = self.problem.submissions.scores
        return {
            "name": name,
            "kind": "blend" if name in self.problem.blends else "source",
            "folder": self.folder(name),
            "fits": name in self.problem.sources,
            **({"scores": scores[name].slice()} if name in scores else {}),
        }

    @property
    def status_entries(self) -> list[dict[str, Any]]:
        """What `status` lists."""
        return [self.status_entry(name) for name in self.artifacts]

    def status_entry(self, name: str) -> dict[str, Any]:
        """An artifact with all that `status` needs to know of it."""
        entry = self._entry(name)
        if name not in self.problem.sources:
            return entry
        source, groups = self.problem.sources[name], self.problem.groups
        return {
            **entry,
            "scratch": f"{self.scratch}/sources/{name}",
            "source": source.slice(),
            "groups": given_groups(self.problem, groups),
            "group_files": self.group_files(source.group_names(groups)),
        }
