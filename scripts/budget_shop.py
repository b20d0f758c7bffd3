"""What a budget is spent in: runs of Snakemake, the files that they make, and the machine's clock."""

import shutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from blendmake.budget.measure import WORDS, key_of, measured
from blendmake.fits.bagging import bag_count
from blendmake.labels import label_columns, read_known, read_targets_of
from blendmake.predictions import read_predictions
from blendmake.presets import (
    NUMBERED,
    again,
    alone,
    best_of,
    candidate,
    crowned,
    is_crowned,
    read_preset,
    resized,
    write_preset,
)
from blendmake.tables.facts import facts_of_tables
from blendmake.window import DEADLINE
from budget_fallback import place
from snakemake_runs import SnakemakeRun, load


class Shop:
    """The workflow's folder (budget.spending.Workshop).

    Args:
        facts: what the rule says (rules/plan_budget.py).
        fallback: what makes the last resort.
        end: when all must be over, seconds since the epoch.
        grace: seconds after it that the last resort may still take.
    """

    def __init__(self, facts, fallback, end, grace=0.0):
        self.facts, self.fallback, self.end, self.grace = facts, fallback, end, grace
        self.results, self.scratch = Path(facts["results"]), Path(facts["scratch"])
        self.preset_file = Path(facts["preset_file"])
        self.preset = {"left": {}, "whole": [], **read_preset(self.preset_file, facts["asked"])}
        self._running = None
        self.log = Path(facts["log"])
        self._shape = None
        self._scores = {}
        self._said = 0

    # The clock, and whoever waits

    def now(self):
        return time.time()

    def sleep(self, seconds):
        time.sleep(seconds)

    def tell(self, text):
        print(text, flush=True)
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"{text}\n")

    # Runs

    def _run(self, targets):
        load(self.facts["rules"])
        # Runs of their own: what the outer one had planned before a source was chosen is not theirs.
        environment = {
            self.facts["spent"]: "1",
            self.facts["planned"]: "",
            DEADLINE: repr(self.end),
        }
        self._said = self.log.stat().st_size if self.log.exists() else 0
        arguments = self.facts["arguments"]
        self._running = SnakemakeRun([str(t) for t in targets], arguments, self.log, environment)
        return self._running

    def close(self):
        """End what still runs: this run is interrupted."""
        if self._running is not None and self._running.ended() is None:
            self._running.stop()
        self.fallback.stop()

    def prepare(self):
        return self._run(self.facts["prepare"])

    def ground_of(self, source):
        files = self.facts["grounds"].get(source.rstrip("0123456789_"), [])
        files = self.facts["grounds"].get(source, files)
        return self._run(files) if not all(Path(file).exists() for file in files) else None

    def crowding(self):
        # How long this process has run, and how long it was ready to run and has waited for a core.
        with suppress(OSError, ValueError):
            ran, waited, _ = map(int, Path("/proc/self/schedstat").read_text().split())
            return (ran + waited) / ran if ran else 1.0
        return 1.0

    def fit(self, choice, whole):
        if choice is not None:
            self._resize(choice)
        name = self.blend_of(whole)
        self._build(whole, {name: best_of(whole)} if len(whole) > 1 else {})
        files = [self._file(source) for source in whole[-1:]]
        for artifact in {name, *filter(self._covers_all, whole)}:
            files += self._submissions(artifact)
        return self._run([*files, self._file(name)])

    def crown(self, whole):
        best = self.blend_of(whole)
        if is_crowned(self._problem) and len(whole) > 1:
            targets, by_auc = self._problem.targets, self.facts["by_auc"]
            blends = crowned(whole, {best: None}, targets, by_auc)
        else:
            blends = {"champion": alone(best, self._problem)}
        self._build(whole, blends)
        return self._run([self._file("champion"), *self._submissions("champion")])

    def finish(self, left, wholly):
        stands = [name for name in self.preset["blends"] if self._stands(name)]
        blends = {name: made for name, made in self.preset["blends"].items() if name in stands}
        if "champion" not in blends:
            blends["champion"] = self.preset["blends"]["champion"]
            left = {**left, "champion": "there was no time for it"}
        # A list that ends well has nothing left that a further run would do.
        done = not set(left) or all("brought nothing" in reason for reason in left.values())
        self.preset = {**self.preset, "blends": blends, "left": left, "finished": done}
        write_preset(self.preset_file, self.preset)
        return self._run(["all"] if wholly else [self.results / "leaderboard.parquet"])

    def _build(self, whole, blends):
        """Write out that these sources stand, or are just being fitted, and these blends on them."""
        known = self.preset["blends"]
        mine = {k: v for k, v in known.items() if k not in blends}
        left = {k: v for k, v in self.preset["left"].items() if k not in {*whole, *blends}}
        self.preset = {**self.preset, "blends": {**mine, **blends}, "left": left, "whole": whole}
        write_preset(self.preset_file, self.preset)

    def drop(self, source, whole):
        blend = self.blend_of(whole)
        blends = {k: v for k, v in self.preset["blends"].items() if k != blend}
        left = {**self.preset["left"], source: "unfinished"}
        whole = [name for name in self.preset["whole"] if name != source]
        self.preset = {**self.preset, "blends": blends, "left": left, "whole": whole}
        write_preset(self.preset_file, self.preset)
        if not whole:
            self.fallback.offer(source)

    def _resize(self, choice):
        """Give a source of the preset its rounds; what was fitted with others is cleared."""
        name = choice.candidate.name
        more = self._further()
        if name in more:
            self._add(name, more[name])
        if name not in self.preset["sources"] or choice.share == 1:
            return
        source = resized(self.preset["sources"][name], choice.share)
        self.preset = {**self.preset, "sources": {**self.preset["sources"], name: source}}
        for folder in (self.results, self.scratch):
            shutil.rmtree(folder / "sources" / name, ignore_errors=True)

    def _further(self):
        """Sources of the preset once more, of other seeds: once those of the list are there."""
        return again(self.preset["sources"], self.standing())

    def _add(self, name, source):
        (listed,) = self.preset["campaigns"].values()
        order = [*(one for one in listed if one != "champion"), name, "champion"]
        self.preset = {
            **self.preset,
            "sources": {**self.preset["sources"], name: source},
            "campaigns": dict.fromkeys(self.preset["campaigns"], order),
        }

    # Sources

    @property
    def _problem(self):
        """facts.Facts of the tables, which stand."""
        if self._shape is None:
            self._shape = facts_of_tables(self.results / "tables")
        return self._shape

    def candidates(self):
        first = {k: v for k, v in self.preset["sources"].items() if not _is_more(k)}
        more = {k: v for k, v in self.preset["sources"].items() if _is_more(k)}
        further = self._further()
        found = []
        for name, source in {**first, **self.facts["own"], **more, **further}.items():
            if not self.is_whole(name) or name in self.preset["left"]:
                one = candidate(name, source, self._problem, self.facts["folds"])
                done = 0.0 if name in further else min(0.95, self.progress(name))
                found.append(replace(one, done=done, further=name in further))
        return found

    def _covers_all(self, source):
        """Whether a source can be handed in alone: a submission has all targets."""
        own = self.facts["own"].get(source, {})
        return own.get("targets", ["all"]) in ("all", ["all"])

    def standing(self):
        whole = self.preset["whole"]
        return [name for name in whole if self.is_whole(name)]

    def is_whole(self, source):
        return self._file(source).exists()

    def progress(self, source):
        """Fits of the newest settings in scratch, and folds that are done."""
        sources = {**self.facts["own"], **self.preset["sources"]}
        if source not in sources:
            return 0.0  # another seed, of which nothing is written out before it begins
        config = sources[source]
        fits = self._problem.targets * bag_count(config.get("bagging"))
        folds = range(self.facts["folds"])
        return sum(self._of_fold(source, k, fits) for k in folds) / len(folds)

    def _of_fold(self, source, fold, fits):
        if (self.results / "sources" / source / f"fold{fold}" / "oof.parquet").exists():
            return 1.0
        with suppress(OSError, ValueError):
            kept = (self.scratch / "sources" / source / f"fold{fold}").iterdir()
            newest = max((p for p in kept if p.is_dir()), key=lambda p: p.stat().st_mtime)
            return min(1.0, len(list(newest.glob("*.parquet"))) / fits)
        return 0.0

    # Blends and what is handed in

    def blend_of(self, whole):
        return whole[0] if len(whole) == 1 else f"best_of_{len(whole)}"

    def champion(self):
        return "champion"

    def _file(self, artifact, part="oof"):
        kind = "blends" if artifact in self.preset["blends"] else "sources"
        return self.results / kind / artifact / f"{part}.parquet"

    def _stands(self, artifact):
        return artifact not in self.preset["left"] and self._file(artifact).exists()

    def _submissions(self, artifact):
        return [Path(f.format(artifact=artifact)) for f in self.facts["submissions"].values()]

    def score(self, artifact):
        if not self._stands(artifact):
            return None
        path = self._file(artifact)
        key = path.stat().st_mtime_ns
        if self._scores.get(artifact, (None, None))[0] != key:
            self._scores[artifact] = (key, self._measured(path))
        return self._scores[artifact][1]

    def measure(self):
        return WORDS[key_of(read_targets_of(self.results / "tables" / "targets.parquet"))]

    def _measured(self, path):
        known, found = (
            read_known(self.results / "tables" / "targets.parquet"),
            read_predictions(path),
        )
        columns = label_columns(found.targets, known.names, path)
        return measured(known.labels[:, columns], found.values, found.of)

    def hand_in(self, artifact):
        if not self.facts["submissions"]:
            return None
        if artifact is None:
            self.fallback.settle(self.end + self.grace)
            return str(self.fallback.files[-1]) if self.fallback.stands() else None
        files = self._submissions(artifact)
        if not all(file.exists() for file in files):
            return None
        self.fallback.clear()
        place(files, self.results)
        return str(files[-1])

    def look_after(self):
        self.fallback.look_after()

    def last_resort(self):
        return self.fallback.told()

    # What went wrong

    def error(self):
        with self.log.open(encoding="utf-8", errors="replace") as log:
            log.seek(self._said)
            text = log.read()
        lines = [line for line in text.splitlines() if "ERROR: " in line]
        told = lines[0].split("ERROR: ", 1)[1] if lines else text.strip()[-1500:]
        return f"{told} (more in {self.log})"


def _is_more(name):
    """Whether a source is of those that come when a ladder is done."""
    return name.endswith("_long") or NUMBERED.search(name) is not None
