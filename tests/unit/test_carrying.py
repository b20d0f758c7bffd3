"""What is carried out of a machine while it works: what, when, and what another one makes of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blendmake.digests import sha256
from blendmake.errors import BlendmakeError
from blendmake.packing import carrying, folder
from blendmake.packing.archive import Archive, Member, Unit, write_archive
from blendmake.packing.carrying import Carrier
from blendmake.packing.folder import archives_in, label_of
from blendmake.packing.telling import unpacked_text
from blendmake.packing.unpacking import unpack
from keeping import check_folder
from unit.test_packing import BLEND, FOLD, INNER, ROOTS, SOURCE, Machine, write

KEPT = Path("../kept")
FIT = "scratch/p/sources/s/fold1/key/t{}.parquet"


class Carrying(Machine):
    """A machine whose work is carried to ../kept."""

    now = 0.0

    def start(self) -> Carrier:
        os.chdir(self.folder)
        KEPT.mkdir(exist_ok=True)
        plan = self.plan() | {"keep_at": "../kept", "preset_file": "results/p/preset.json"}
        self.carrier = Carrier(plan, self.book, lambda: self.now)
        return self.carrier

    def look(self, times: int = 2) -> list[str]:
        """What stands at ../kept after some looks."""
        for _ in range(times):
            self.carrier.look()
        return labels()


def labels() -> list[str]:
    return [label_of(path) for path in archives_in(KEPT, "p")]


def listed() -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in archives_in(KEPT, "p")}


@pytest.fixture(autouse=True)
def _same_folder_afterwards() -> Iterator[None]:
    before = Path.cwd()
    yield
    os.chdir(before)


@pytest.fixture
def machine(tmp_path: Path) -> Carrying:
    made = Carrying(tmp_path / "a", "revision of a")
    made.start()
    return made


@pytest.fixture
def other(tmp_path: Path) -> Callable[[], Machine]:
    return lambda: Machine(tmp_path / "b", "revision of b")


ALL = [
    "inner.parquet",
    "sources.s.fold0.oof.parquet",
    "sources.s.oof.parquet",
    "blends.b.oof.parquet",
]


def test_each_job_is_an_archive_written_once(machine: Carrying) -> None:
    machine.make_fold()
    assert machine.look(1) == []  # its records may be half written
    assert machine.look(1) == ALL[:2]
    first = listed()
    machine.make_all()
    assert machine.look() == ALL
    assert first.items() <= listed().items()
    before = listed()
    assert machine.look(3) == ALL and listed() == before
    machine.start()  # the run after it knows what has been carried
    assert machine.look(3) == ALL and listed() == before
    assert not [path for path in KEPT.rglob("*") if path.name.startswith(".")]


def test_what_is_made_anew_replaces_its_archive(machine: Carrying) -> None:
    machine.make_all()
    machine.look()
    machine.make("blend", {f"{BLEND}/oof.parquet": [5.0]}, [f"{SOURCE}/oof.parquet"])
    assert machine.look() == ALL
    [path] = [path for path in archives_in(KEPT, "p") if label_of(path).startswith("blends")]
    assert next(Archive(path).members).sha256 == sha256(Path(f"{BLEND}/oof.parquet"))


def test_what_is_unfinished_waits(machine: Carrying) -> None:
    machine.make_all()
    machine.book.unfinished |= {f"{SOURCE}/oof.parquet", f"{SOURCE}/fits.parquet"}
    assert machine.look() == ALL[:2]
    machine.book.unfinished.clear()
    assert machine.look() != ALL  # nothing of the files has changed
    machine.carrier.look(last=True)
    assert labels() == ALL


def test_another_machine_unpacks_the_folder(
    machine: Carrying, other: Callable[[], Machine]
) -> None:
    machine.make_all()
    machine.look()
    b = other()
    Path(INNER).unlink()
    result = b.unpack("../kept")
    assert result.kept == [] and result.left_out == {} and result.refused == {}
    assert len(result.placed) == 7
    for path in result.placed:
        assert sha256(b.folder / path) == sha256(machine.folder / path)
    assert b.book.records[f"{FOLD}/oof.parquet"]["inputs"][INNER] == sha256(Path(INNER))
    again = b.unpack("../kept/p")  # the problem's own folder is as good
    assert again.placed == [] and len(again.there) == 7


def test_of_a_torn_copy_the_rest_is_taken(machine: Carrying, other: Callable[[], Machine]) -> None:
    machine.make_all()
    machine.look()
    last = archives_in(KEPT, "p")[-1]
    with tarfile.open(last) as tar:
        member = tar.getmembers()[-1]
    for size in (member.offset_data + member.size - 1, member.offset_data, 700, 0):
        os.truncate(last, size)
        b = other()
        os.chdir(b.folder)
        result, manifest = unpack(b.plan("../kept"), b.book)
        assert len(result.placed) == 5 and list(result.refused) == [last.name]
        text = unpacked_text(result, manifest, ROOTS)
        assert f"not taken: ../kept/p/{last.name} is " in text
        assert "Nothing was unpacked" not in text
        shutil.rmtree(b.folder)
        os.chdir(machine.folder)
    # What was being written when the machine died is no archive yet.
    (KEPT / "p" / ".x.000009.tar.host-1.tmp").write_bytes(b"half")
    assert last in archives_in(KEPT, "p") and len(labels()) == 4
    # The next run on the first machine carries it again.
    machine.start()
    assert machine.look() == ALL


def test_a_damaged_middle_takes_what_stands_on_it_as_the_records_say(
    machine: Carrying, other: Callable[[], Machine]
) -> None:
    machine.make_all()
    machine.look()
    [fold] = [path for path in archives_in(KEPT, "p") if "fold0" in path.name]
    content = bytearray(fold.read_bytes())
    content[-6000] ^= 1  # the list is whole, a file is not
    fold.write_bytes(content)
    result = other().unpack("../kept")
    assert list(result.refused) == [fold.name]
    assert f"{FOLD}/oof.parquet" not in result.placed and f"{SOURCE}/oof.parquet" in result.placed


def test_nothing_of_a_folder_is_whole_or_of_this_problem(
    machine: Carrying, other: Callable[[], Machine]
) -> None:
    b = other()
    with pytest.raises(BlendmakeError, match=r"holds no whole archive of problem 'p'"):
        b.unpack("../kept")
    os.chdir(machine.folder)
    machine.make_fold()
    machine.look()
    for path in archives_in(KEPT, "p"):
        os.truncate(path, 100)
    with pytest.raises(BlendmakeError, match=r"holds no whole archive .* is damaged"):
        b.unpack("../kept")


def test_lists_without_end_are_refused(
    machine: Carrying, other: Callable[[], Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each list is short enough, and there are many."""
    machine.make_all()
    machine.look()
    monkeypatch.setattr(folder, "MOST_MANIFEST", 2000)
    with pytest.raises(BlendmakeError, match="have more than 2,000 bytes"):
        other().unpack("../kept")


def test_other_data_is_refused_as_of_an_archive(machine: Carrying, tmp_path: Path) -> None:
    machine.make_all()
    machine.look()
    c = Machine(tmp_path / "c", "revision of c", seed=2)
    with pytest.raises(BlendmakeError, match="the folds differ"):
        c.unpack("../kept")
    assert not Path(SOURCE).exists()


def test_of_two_copies_of_a_unit_the_latest_counts(
    machine: Carrying, other: Callable[[], Machine], tmp_path: Path
) -> None:
    """As a copy of the folder has them that was taken twice."""
    machine.make_all()
    machine.look()
    shutil.copytree(KEPT, tmp_path / "copy")
    machine.make_all(7.0)
    machine.look()
    shutil.copytree(KEPT, tmp_path / "copy", dirs_exist_ok=True)
    assert len(list((tmp_path / "copy/p").iterdir())) == 4 + 3
    result = other().unpack("../copy")
    assert result.left_out == {} and result.kept == [] and len(result.placed) == 6
    assert sha256(Path(f"{BLEND}/oof.parquet")) == sha256(machine.folder / BLEND / "oof.parquet")


def test_inputs_come_first_whenever_they_were_written(
    machine: Carrying, other: Callable[[], Machine]
) -> None:
    """A machine that died after it had made an input anew, and not yet what stands on it."""
    machine.make_all()
    machine.look()
    machine.make("split", {INNER: [3.0]}, [])
    machine.make("fit 1", {f"{FOLD[:-1]}1/oof.parquet": [1.0]}, [INNER])
    assert machine.look()[-2:] == ["inner.parquet", "sources.s.fold1.oof.parquet"]
    b = other()
    Path(INNER).unlink()
    result = b.unpack("../kept")
    assert set(result.placed) == {INNER, f"{FOLD[:-1]}1/oof.parquet"}
    assert result.left_out[f"{FOLD}/oof.parquet"] == f"made of another {INNER}"


@pytest.mark.parametrize(
    ("files", "records", "told"),
    [
        (("results/p/x.json", "results/p/x.json/y.json"), ({}, {}), "as a file and as a folder"),
        (
            ("results/p/x.json", "results/p/y.json"),
            ({"y": "results/p/y.json"}, {"x": "results/p/x.json"}),
            "files made of each other",
        ),
    ],
)
def test_archives_that_no_run_has_written_are_refused_together(
    files: tuple[str, str],
    records: tuple[dict[str, str], dict[str, str]],
    told: str,
    machine: Carrying,
    other: Callable[[], Machine],
) -> None:
    """Each of them might have been; nothing of either is put in place."""
    machine.make_fold()
    machine.look()
    [first, *_] = archives_in(KEPT, "p")
    about = Archive(first).manifest
    for number, (path, of) in enumerate(zip(files, records, strict=True)):
        shutil.rmtree("results/p/x.json", ignore_errors=True)
        Path("results/p/x.json").unlink(missing_ok=True)
        write(path, "{}")
        member = Member(path, 2, sha256(Path(path)))
        record = {"job": path, "inputs": dict.fromkeys(of.values())}
        unit = Unit([member], {path: record} if of else {})
        write_archive(KEPT / "p" / f"x.{900 + number:06d}.tar", [unit], about)
    b = other()
    with pytest.raises(BlendmakeError, match=told):
        b.unpack("../kept")
    assert not Path(FOLD).exists()


def test_finished_fits_go_in_batches_until_their_fold_stands(
    machine: Carrying, other: Callable[[], Machine]
) -> None:
    machine.make_fold()
    for k in (0, 1):
        write(FIT.format(k), f"fit {k}")
    write(FIT.format(9).replace("t9", ".t9"), "half a fit")
    assert machine.look().count("scratch.sources.s.fold1") == 1
    write(FIT.format(2), "fit 2")
    assert machine.look(3).count("scratch.sources.s.fold1") == 1  # not each by itself
    machine.now += carrying.BATCH
    assert machine.look().count("scratch.sources.s.fold1") == 2
    batches = [path for path in archives_in(KEPT, "p") if label_of(path).startswith("scratch")]
    paths = [[member.path for member in Archive(path).members] for path in batches]
    assert paths == [[FIT.format(0), FIT.format(1)], [FIT.format(2)]]
    b = other()
    assert {FIT.format(k) for k in range(3)} <= set(b.unpack("../kept").placed)
    os.chdir(machine.folder)
    made = {f"{FOLD[:-1]}1/oof.parquet": [1.0, 2.0]}
    machine.make("fit 1", made, [INNER])
    assert "scratch.sources.s.fold1" not in machine.look()
    machine.now += carrying.BATCH
    machine.start()
    assert "scratch.sources.s.fold1" not in machine.look(3)  # though scratch still holds them


def test_targets_of_an_audit_go_until_its_fold_stands(machine: Carrying) -> None:
    machine.make_fold()
    write("scratch/p/audits/main/fold0/key/t0.parquet", "a finished target")
    assert "scratch.audits.main.fold0" in machine.look()
    fold = "results/p/audits/main/fold0"
    made = {f"{fold}/{part}.parquet": [1.0] for part in ("features", "columns")}
    machine.make("audit 0", made, [INNER])
    now = machine.look()
    assert "scratch.audits.main.fold0" not in now and now[-1] == "audits.main.fold0.columns.parquet"


def test_what_grows_is_copied_seldom_and_as_a_whole(machine: Carrying) -> None:
    machine.make_fold()
    write("scratch/p/searches/f/journal.log", "trial 0\n")
    write("scratch/p/searches/f/place.json", "{}")
    write("scratch/p/sources/s/fold1/key/net/checkpoint.pt", "epoch 1")
    grown = ["scratch.searches.f.growing", "scratch.sources.s.fold1.key.net.growing"]
    assert set(grown) <= set(machine.look())
    before = listed()
    write("scratch/p/searches/f/journal.log", "trial 0\ntrial 1\n")
    machine.look()
    assert listed() == before
    machine.now += carrying.OFTEN
    machine.look()
    assert len(listed()) == len(before) and listed() != before
    write("scratch/p/searches/f/journal.log", "trial 0\ntrial 1\ntrial 2\n")
    machine.carrier.look(last=True)
    [path] = [path for path in archives_in(KEPT, "p") if "searches" in path.name]
    assert [member.bytes for member in Archive(path).members] == [24, 2]


def test_a_preset_that_changes_is_carried_by_itself(
    machine: Carrying, other: Callable[[], Machine]
) -> None:
    machine.make_fold()
    machine.look()
    write("results/p/preset.json", json.dumps({"whole": ["s"]}))
    assert machine.look()[-1] == "preset"
    write("results/p/preset.json", json.dumps({"whole": ["s", "t"]}))
    before = listed()
    assert machine.look().count("preset") == 1 and machine.look(3) == labels()
    assert len(listed()) == len(before)
    b = other()
    with pytest.raises(BlendmakeError, match=r"was written out otherwise"):
        b.unpack("../kept", preset={"whole": ["s"]})
    b.unpack("../kept", preset={"whole": ["s", "t"]})


def test_a_folder_that_fails_is_told_and_tried_again(
    machine: Carrying, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.make_fold()
    whole = carrying.write_archive

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(carrying, "write_archive", full)
    with pytest.raises(BlendmakeError, match=r"\.\./kept: no space left"):
        machine.look()
    monkeypatch.setattr(carrying, "write_archive", whole)
    assert machine.look() == ALL[:2]
    monkeypatch.setattr(machine.carrier, "_device", -1)
    machine.make_all()
    with pytest.raises(BlendmakeError, match="no longer the file system"):
        machine.look()


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("none", r"keep_at=none: there is no such folder; .* mkdir -p none"),
        ("file", r"keep_at=file: this is no folder"),
        ("results/p/kept", r"this is inside results/p/"),
        ("link", r"this is inside results/p/"),
        ("/proc", r"keep_at=/proc: it cannot be written to \("),
    ],
)
def test_folders_that_are_refused(
    where: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results/p/kept").mkdir(parents=True)
    Path("link").symlink_to("results/p/kept")
    Path("file").touch()
    with pytest.raises(BlendmakeError, match=words) as told:
        check_folder(where, ["results/p", "scratch/p"])
    assert "\n" not in str(told.value)
    Path("good").mkdir()
    check_folder("good", ["results/p", "scratch/p"])
    assert list(Path("good").iterdir()) == []


def carried(machine: Carrying, where: str) -> subprocess.CompletedProcess[str]:
    """The process beside a run, of a run that ends at once."""
    plan = machine.plan() | {"keep_at": where, "preset_file": "results/p/preset.json"}
    scripts = Path(carrying.__file__).parents[2]
    return subprocess.run(
        [sys.executable, str(scripts / "carry_out.py")],
        input=json.dumps(plan) + "\n",
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(scripts)},
    )


def test_the_process_beside_a_run_says_whether_all_was_carried(machine: Carrying) -> None:
    write("results/p/preset.json", json.dumps({"whole": ["s"]}))
    write("../kept/p", "a file where the folder should be")
    done = carried(machine, "../kept")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "keep_at: not all that stands is at ../kept (0 archives" in done.stderr
    Path("../kept/p").unlink()
    done = carried(machine, "../kept")
    assert done.returncode == 0 and labels() == ["preset"]
    assert "keep_at: what stands is at ../kept (1 archives written in this run" in done.stderr
