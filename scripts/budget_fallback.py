"""What a budget hands in if no source ends: made beside all else, each time by a copy of this process.

The rates of positives are in place as soon as the tables stand, then a linear model on a sample of rows;
the mean of the finished folds of a source that did not end, if it is better. Where half of the time is
over and the tables do not stand yet, the rates come from the user's files.
"""

import os
import shutil
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

from blendmake.budget.last_resort import make_last_resort, make_prior
from blendmake.budget.measure import in_words, key_of
from blendmake.budget.unfinished import mean_of_folds
from blendmake.budget.unread import prior_of_files
from blendmake.errors import BlendmakeError
from blendmake.files import read_note, replacing
from blendmake.labels import read_targets_of
from blendmake.predictions import read_predictions
from blendmake.provenance import provenance
from blendmake.submission import read_sample, write_submission

NAME = "last_resort"
# Of the time, after which ids and labels are read beside the tables, which are late.
LATE = 0.4


def place(files, results):
    """Copy what is handed in to where it is looked for, whole or not at all."""
    for file in files:
        with replacing(results / f"submission{file.suffix}") as temporary:
            shutil.copyfile(file, temporary)


class Fallback:
    """The last resort of a budget.

    Args:
        facts: what the rule says (rules/plan_budget.py).
        code: digest of the code.
        log: file for what goes wrong.
        began: when the time began, seconds since the epoch.
    """

    def __init__(self, facts, code, log, began):
        self.facts, self.code, self.log = facts, code, log
        self.late = began + LATE * facts["seconds"]
        self.began = time.time()
        self.results = Path(facts["results"])
        self.folder = self.results / NAME
        self._pid, self._made_from, self._waiting = None, None, []

    @property
    def files(self):
        """The submission as files, whether they stand or not."""
        return [Path(f.format(artifact=NAME)) for f in self.facts["submissions"].values()]

    def stands(self):
        """Whether this run has made one."""
        return all(f.exists() and f.stat().st_mtime >= self.began - 1 for f in self.files)

    def look_after(self):
        """Begin what can be begun."""
        if not self.facts["submissions"] or self._is_busy():
            return
        found = self._signature()
        if found is not None and found != self._made_from:
            self._made_from = found
            self._begin(self._of_tables)
        elif found is None and self._made_from is None and time.time() >= self.late:
            self._made_from = ()
            self._begin(self._of_files)
        elif self._waiting:
            self._begin(self._of_folds, *self._waiting.pop(0))

    def offer(self, source):
        """Take the folds that a source has finished, before anything else happens to them."""
        kept = self.folder / source
        shutil.rmtree(kept, ignore_errors=True)
        for oof in sorted((self.results / "sources" / source).glob("fold*/oof.parquet")):
            test = oof.with_name("test.parquet")
            if test.exists():
                (kept / oof.parent.name).mkdir(parents=True)
                for file in (oof, test):
                    os.link(file, kept / oof.parent.name / file.name)
        if kept.exists():
            self._waiting.append((source, kept))

    def settle(self, until):
        """Wait for what is under way, and begin what waits, as long as there is time."""
        while time.time() < until:
            self.look_after()
            if self._pid is None:
                return
            time.sleep(0.05)
        self.stop()

    def stop(self):
        """End what is under way: what it has put in place stays."""
        if self._is_busy():
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
        self._pid = None

    def clear(self):
        """Something better is in place."""
        self.stop()
        for file in self.files:
            file.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def told(self):
        """What is in place, in words."""
        made = self._made()
        if made.get("kind") == "folds":
            told = f"the mean over {made['folds']} finished folds of {made['source']}"
        else:
            told = "a linear model on a sample" if made.get("kind") == "linear" else "the prior"
        score = in_words(made)
        return told if score is None else f"{told} ({score} on rows held out)"

    def _made(self):
        with suppress(OSError, BlendmakeError):
            return read_note(self.files[0])[NAME]
        return {}

    def _signature(self):
        """Which tables there are: None as long as one is missing."""
        tables = self.results / "tables"
        names = ("train.arrow", "test.arrow", "columns.parquet", "targets.parquet")
        try:
            found = [os.stat(tables / name) for name in names]
        except OSError:
            return None
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)

    # In a copy of the process

    def _is_busy(self):
        if self._pid is not None:
            with suppress(ChildProcessError):
                if os.waitpid(self._pid, os.WNOHANG)[0] == 0:
                    return True
            self._pid = None
        return False

    def _begin(self, make, *arguments):
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid:
            return
        status = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            make(*arguments)
            status = 0
        except BaseException as error:
            with suppress(OSError), self.log.open("a", encoding="utf-8") as log:
                if not isinstance(error, BlendmakeError):
                    traceback.print_exc(file=log)
                log.write(f"The last resort could not be made ({make.__name__[1:]}): {error}\n")
        finally:
            os._exit(status)

    def _note(self):
        return provenance({"family": NAME}, self.code, name=NAME, kind=NAME)

    def _of_tables(self):
        tables = self.results / "tables"
        targets = tables / "targets.parquet"
        of = read_targets_of(targets)
        out = self.folder / "test.parquet"
        told = make_prior(tables / "test.arrow", targets, out, self._note())
        self._hand_in(out, of, told)
        groups = tables / "groups.parquet" if self.facts["groups"] else None
        while groups is not None and not groups.exists():
            time.sleep(0.1)
        told = make_last_resort(
            {part: tables / f"{part}.arrow" for part in ("train", "test")},
            tables / "columns.parquet",
            targets,
            groups,
            out,
            self._note(),
            self.facts["seed"],
        )
        self._hand_in(out, of, told)

    def _of_files(self):
        files, data = self.facts["files"], self.facts["targets"]
        out = self.folder / "test.parquet"
        _, of, told = prior_of_files(
            files["train"],
            files["test"],
            data["id"],
            files["targets"],
            out,
            self._note(),
            columns=data["columns"],
            positive=data.get("positive"),
            task=data.get("task"),
            csv_format=data.get("csv_format"),
            taken=files["taken"],
        )
        self._hand_in(out, of, told)

    def _of_folds(self, source, kept):
        of = read_targets_of(self.results / "tables" / "targets.parquet")
        folds = {
            int(folder.name.removeprefix("fold")): {
                part: folder / f"{part}.parquet" for part in ("oof", "test")
            }
            for folder in kept.iterdir()
        }
        made, out = self._made(), self.folder / f"{source}.parquet"
        told = mean_of_folds(
            folds,
            self.results / "folds.parquet",
            self.results / "tables" / "targets.parquet",
            out,
            self._note(),
            made.get(key_of(of)),
        )
        if told is not None and {*read_predictions(out).targets} == {one.name for one in of}:
            self._hand_in(out, of, {**told, "source": source})

    def _hand_in(self, predictions, targets, told):
        settings = self.facts["submission"]
        files = dict(zip(self.facts["submissions"], self.files, strict=True))
        write_submission(
            predictions,
            self._sample(predictions, targets),
            files["parquet"],
            id_columns=settings["id"],
            targets=targets,
            rename=settings["rename"],
            note={**provenance(settings, self.code), NAME: told},
            out_csv=files.get("csv"),
        )
        place(self.files, self.results)

    def _sample(self, predictions, targets):
        """The sample submission as an artifact; made here where the rule has not come to it yet."""
        if not self.facts["sample"] or Path(self.facts["sample"][0]).exists():
            return self.facts["sample"][0] if self.facts["sample"] else None
        out, settings = self.folder / "sample.parquet", self.facts["submission"]
        read_sample(
            self.facts["files"]["sample"],
            read_predictions(predictions).ids,
            out,
            id_columns=settings["id"],
            targets=targets,
            rename=settings["rename"],
            note={},
            csv_format=self.facts["targets"].get("csv_format"),
        )
        return str(out)
