"""What a budget is spent in: runs of Snakemake, the files that they make, and the machine's clock."""

import os
import shutil
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from blendmake.budget.last_resort import make_last_resort
from blendmake.files import read_note, read_parquet, replacing
from blendmake.fits.bagging import bag_count
from blendmake.labels import labels_of, read_labels
from blendmake.presets import best_of, candidate, crowned, read_preset, resized, write_preset
from blendmake.provenance import provenance
from blendmake.stats.auc import auc
from blendmake.submission import write_submission
from blendmake.tables.facts import facts_of_tables
from blendmake.window import DEADLINE
from snakemake_runs import SnakemakeRun, load

LAST_RESORT = "last_resort"


class Shop:
    """The workflow's folder (budget.spending.Workshop).

    Args:
        facts: what the rule says (rules/plan_budget.py).
        code: digest of the code.
        end: when all must be over, seconds since the epoch.
    """

    def __init__(self, facts, code, end):
        self.facts, self.code, self.end = facts, code, end
        self.results, self.scratch = Path(facts["results"]), Path(facts["scratch"])
        self.preset_file = Path(facts["preset_file"])
        self.preset = {"left": {}, "whole": [], **read_preset(self.preset_file, facts["asked"])}
        self._running = None
        self.log = Path(facts["log"])
        self._fallback = None
        self._shape = None
        self._scores = {}
        self._said = 0
        load(facts["rules"])

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

    def prepare(self):
        return self._run(self.facts["prepare"])

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
        targets = self._problem.targets
        best = self.blend_of(whole)
        if targets > 1 and len(whole) > 1:
            blends = crowned(whole, {best: None}, targets)
        else:
            blends = {"champion": {"method": "mean", "sources": [best], "scale": "logit"}}
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

    def _resize(self, choice):
        """Give a source of the preset its rounds; what was fitted with others is cleared."""
        name = choice.candidate.name
        if name not in self.preset["sources"] or choice.share == 1:
            return
        source = resized(self.preset["sources"][name], choice.share)
        self.preset = {**self.preset, "sources": {**self.preset["sources"], name: source}}
        for folder in (self.results, self.scratch):
            shutil.rmtree(folder / "sources" / name, ignore_errors=True)

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
        found = []
        for name, source in {**first, **self.facts["own"], **more}.items():
            if not self.is_whole(name) or name in self.preset["left"]:
                one = candidate(name, source, self._problem, self.facts["folds"])
                found.append(replace(one, done=min(0.95, self.progress(name))))
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
        config = {**self.facts["own"], **self.preset["sources"]}[source]
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
            self._scores[artifact] = (key, self._macro_auc(path))
        return self._scores[artifact][1]

    def _macro_auc(self, path):
        _, names, labels = read_labels(self.results / "tables" / "targets.parquet")
        table = read_parquet(path)
        covered, predicted = labels_of(table, read_note(path)["id_columns"])
        scores = []
        for j, target in enumerate(covered):
            truth = labels[:, names.index(target)]
            known = truth == truth
            if len({*truth[known]}) == 2:
                scores.append(auc(truth[known], predicted[known, j]))
        return sum(scores) / len(scores) if scores else None

    def hand_in(self, artifact):
        if not self.facts["submissions"]:
            return None
        if artifact is None:
            if self._fallback is None:
                return None
            with suppress(ChildProcessError):
                os.waitpid(self._fallback, 0)
            artifact = LAST_RESORT
        files = self._submissions(artifact)
        if not all(file.exists() for file in files):
            return None
        if artifact != LAST_RESORT:
            for file in self._submissions(LAST_RESORT):
                file.unlink(missing_ok=True)
        for file in files:
            with replacing(self.results / f"submission{file.suffix}") as temporary:
                shutil.copyfile(file, temporary)
        return str(files[-1])

    def last_resort(self):
        handed_in = (self.results / "submission.parquet").exists()
        if not self.facts["submissions"] or (handed_in and self.standing()):
            return
        sys.stdout.flush()
        self._fallback = os.fork()
        if self._fallback == 0:
            status = 1
            try:
                self._make_last_resort()
                status = 0
            except Exception as error:
                with self.log.open("a", encoding="utf-8") as log:
                    traceback.print_exc(file=log)
                    log.write(f"ERROR: the last resort could not be made: {error}\n")
            finally:
                os._exit(status)

    def _make_last_resort(self):
        tables = self.results / "tables"
        settings, seed = self.facts["submission"], self.facts["seed"]
        note = provenance({"family": LAST_RESORT}, self.code, name=LAST_RESORT, kind=LAST_RESORT)
        predictions = self.results / LAST_RESORT / "test.parquet"
        told = make_last_resort(
            {part: tables / f"{part}.arrow" for part in ("train", "test")},
            tables / "columns.parquet",
            tables / "targets.parquet",
            self.results / "folds.parquet",
            predictions,
            note,
            seed,
        )
        files = dict(zip(self.facts["submissions"], self._submissions(LAST_RESORT), strict=True))
        sample = self.facts["sample"]
        write_submission(
            predictions,
            sample[0] if sample else None,
            files["parquet"],
            id_columns=settings["id"],
            targets=read_labels(tables / "targets.parquet")[1],
            rename=settings["rename"],
            note={**provenance(settings, self.code), LAST_RESORT: told},
            out_csv=files.get("csv"),
        )

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
    return name.endswith(("_long", "_2", "_3"))
