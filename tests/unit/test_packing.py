"""Archives: what goes in, what is refused, and what is put in place beside what stands."""

from __future__ import annotations

import io
import json
import os
import resource
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from blendmake.digests import sha256
from blendmake.errors import BlendmakeError
from blendmake.files import digest_of, read_parquet, write_parquet
from blendmake.packing.archive import FORMAT, Archive, Member, Unit, write_archive
from blendmake.packing.identity import differences, identity
from blendmake.packing.packing import pack
from blendmake.packing.records import Record
from blendmake.packing.telling import packed_text, unpacked_text
from blendmake.packing.unpacking import Unpacked, unpack
from helpers import files_below, flip_byte
from problems import write_problem

ROWS, TEST_ROWS = 60, 20
ROOTS = ["results/p", "scratch/p"]
OWN = [f"results/p/{name}" for name in ("tables", "targets.parquet", "folds.parquet")]
FOLDS = "results/p/folds.parquet"
INNER = "results/p/inner.parquet"
FOLD = "results/p/sources/s/fold0"
SOURCE = "results/p/sources/s"
BLEND = "results/p/blends/b"
BASE = {
    "columns": "results/p/tables/columns.parquet",
    "test": "results/p/tables/test.arrow",
    "targets": "results/p/targets.parquet",
    "folds": FOLDS,
}


@dataclass
class Book:
    """Records as a build system keeps them: by path, what was read and what it held."""

    format: str = "book 1"
    records: dict[str, Record] = field(default_factory=dict)
    unfinished: set[str] = field(default_factory=set)

    def refresh(self) -> None:
        pass

    def read(self, path: str) -> Record | None:
        return None if path in self.unfinished else self.records.get(path)

    def is_unfinished(self, path: str) -> bool:
        return path in self.unfinished

    def write(self, path: str, record: Record) -> None:
        self.records[path] = record

    def placed(self, path: str) -> None:
        self.unfinished.discard(path)

    def job_of(self, record: Record) -> str:
        return str(record["job"])

    def inputs_of(self, record: Record) -> dict[str, str | None]:
        return dict(record["inputs"])

    def with_inputs(self, record: Record, digests: Mapping[str, str]) -> Record:
        return {**record, "inputs": {**record["inputs"], **digests}}


class Machine:
    """A working folder of its own, with data, folds and records."""

    def __init__(self, folder: Path, revision: str, **changes: Any) -> None:
        self.folder, self.book, self.revision = folder, Book(), revision
        draw = np.random.default_rng(0)
        x, y = draw.normal(size=(ROWS + TEST_ROWS, 2)), draw.random((ROWS, 2)) < 0.4
        settings: dict[str, Any] = {"train": x[:ROWS], "test": x[ROWS:], "labels": y, "seed": 1}
        settings |= changes
        write_problem(
            folder / "results" / "p",
            {name: settings["train"][:, j] for j, name in enumerate("ab")},
            {name: settings["test"][:, j] for j, name in enumerate("ab")},
            settings["labels"].astype(float),
            ["t0", "t1"],
            seed=settings["seed"],
            folds=settings.get("folds", 3),
        )
        for path in BASE.values():
            if path.endswith(".parquet") and path != BASE["columns"]:
                self._stamp(folder / path)
        self._stamp(folder / INNER)
        os.chdir(folder)
        self.book.records[INNER] = self._record("split", [FOLDS, BASE["targets"]])

    def _stamp(self, path: Path) -> None:
        """The same artifact as another revision of the code has made it: other bytes."""
        table = read_parquet(path)
        note = json.loads(table.schema.metadata[b"blendmake"])
        kept = {key: value for key, value in note.items() if key not in ("content", "seal")}
        write_parquet(table, path, {**kept, "git_revision": self.revision})

    def _record(self, job: str, inputs: Iterable[str]) -> Record:
        return {"job": job, "inputs": {path: sha256(Path(path)) for path in inputs}}

    def make(self, job: str, files: Mapping[str, Any], inputs: Sequence[str]) -> None:
        """What a job makes: a column of numbers in each of its files."""
        for path, values in files.items():
            note = {"git_revision": self.revision}
            write_parquet(pa.table({"x": np.asarray(values, float)}), Path(path), note)
            self.book.records[path] = self._record(job, inputs)

    def make_all(self, value: float = 1.0) -> None:
        """A fold, a source of it, a blend of that, and work that has been begun."""
        self.make_fold(value)
        made = {f"{SOURCE}/oof.parquet": [value, 2.0], f"{SOURCE}/fits.parquet": [value]}
        self.make("assemble", made, [f"{FOLD}/oof.parquet", f"{FOLD}/fits.parquet", FOLDS])
        self.make("blend", {f"{BLEND}/oof.parquet": [value]}, [f"{SOURCE}/oof.parquet", FOLDS])

    def make_fold(self, value: float = 1.0) -> None:
        made = {f"{FOLD}/oof.parquet": [value, 2.0], f"{FOLD}/fits.parquet": [value]}
        self.make("fit", made, [BASE["targets"], FOLDS, INNER])
        write(f"{FOLD}/models/m.txt", f"model {value}")

    def plan(self, archive: str | None = "../x.tar", **changes: Any) -> dict[str, Any]:
        files = [f"{FOLD}/oof.parquet", f"{FOLD}/fits.parquet"]
        files += [f"{SOURCE}/oof.parquet", f"{SOURCE}/fits.parquet", f"{BLEND}/oof.parquet"]
        plan = {
            "archive": archive,
            "problem": "p",
            "roots": ROOTS,
            "own": OWN,
            "base": BASE,
            "preset": None,
            "files": files,
            "beside": {f"{FOLD}/oof.parquet": [f"{FOLD}/models"]},
            "scratch": [
                {"folder": "scratch/p/sources/s", "patterns": ("fold*/*/*",)},
                {"folder": "scratch/p/searches/f", "patterns": ("*.log", "*.json"), "whole": True},
            ],
        }
        return plan | changes

    def unpack(self, archive: str = "../x.tar", **changes: Any) -> Unpacked:
        os.chdir(self.folder)
        return unpack(self.plan(archive, **changes), self.book)[0]


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


@pytest.fixture(autouse=True)
def _same_folder_afterwards() -> Any:
    before = Path.cwd()
    yield
    os.chdir(before)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Machine]:
    def made(name: str, **changes: Any) -> Machine:
        return Machine(tmp_path / name, f"revision of {name}", **changes)

    return made


@pytest.fixture
def packed(make: Callable[..., Machine]) -> Machine:
    """A machine whose work stands in x.tar beside it."""
    machine = make("a")
    machine.make_all()
    write("scratch/p/sources/s/fold1/key/t0.parquet", "a finished fit")
    write("scratch/p/sources/s/fold1/key/lock", "")
    write("scratch/p/sources/s/fold1/key/lock-0of2", "")
    write("scratch/p/sources/s/fold1/key/.t1.parquet.host-1.tmp", "half a fit")
    write("scratch/p/searches/f/journal.log", "trial 0\n")
    write("scratch/p/searches/f/place.json", "{}")
    pack(machine.plan(), machine.book)
    return machine


def everything(folder: Path) -> dict[str, str]:
    return {name: sha256(folder / name) for name in files_below(folder)}


def test_what_is_packed_comes_back(packed: Machine, make: Callable[..., Machine]) -> None:
    with tarfile.open("../x.tar") as tar:
        names = tar.getnames()
    assert names[0] == "manifest.json"
    assert not [name for name in names if "lock" in name or ".tmp" in name or "tables" in name]
    b = make("b")
    Path(INNER).unlink()
    result = b.unpack()
    assert result.kept == [] and result.left_out == {}
    assert len(result.placed) == 5 + 1 + 1 + 3
    for path in result.placed:
        assert sha256(b.folder / path) == sha256(packed.folder / path)
    assert not list(b.folder.rglob("unpacking"))
    # The base files here have other bytes, and the records say so; the rest is as it was.
    assert sha256(Path(FOLDS)) != sha256(packed.folder / FOLDS)
    record = b.book.records[f"{FOLD}/oof.parquet"]
    assert record["inputs"] == {
        BASE["targets"]: sha256(Path(BASE["targets"])),
        FOLDS: sha256(Path(FOLDS)),
        INNER: sha256(packed.folder / INNER),
    }
    dates = {Path(path).stat().st_mtime_ns for path in result.placed}
    assert dates == {max(Path(path).stat().st_mtime_ns for path in (BASE["targets"], FOLDS))}
    again = b.unpack()
    assert again.placed == [] and again.kept == []
    assert len(again.there) == len(result.placed)


def test_the_texts_tell_what_became_of_what(packed: Machine, make: Callable[..., Machine]) -> None:
    chosen = pack(packed.plan("../y.tar"), packed.book)
    text = packed_text(chosen, Path("../y.tar"), ROOTS)
    assert "sources/s" in text and "scratch/searches/f" in text and "../y.tar: 10 files" in text
    b = make("b")
    b.make_fold(3.0)
    os.chdir(b.folder)
    result, manifest = unpack(b.plan(), b.book)
    text = unpacked_text(result, manifest, ROOTS)
    assert "2 differ here, and stay as they are" in text
    assert f"left out: made of another {FOLD}/oof.parquet" in text
    assert "delete those that differ" in text


# What goes in


def test_what_is_unfinished_or_out_of_date_is_left_out(packed: Machine) -> None:
    packed.book.unfinished.add(f"{FOLD}/fits.parquet")
    chosen = pack(packed.plan("../y.tar"), packed.book)
    assert "not finished" in chosen.left_out[f"{FOLD}/fits.parquet"]
    packed.book.unfinished.clear()
    # The folds are made anew, otherwise; the blend is not of them, but of what is.
    write_parquet(pa.table({"fold": [0]}), Path(FOLDS), {"n": 1})
    packed.book.records[f"{BLEND}/oof.parquet"]["inputs"].pop(FOLDS)
    chosen = pack(packed.plan("../z.tar"), packed.book)
    assert set(chosen.left_out) == {
        INNER,
        f"{BLEND}/oof.parquet",
        *(f"{folder}/{part}.parquet" for folder in (FOLD, SOURCE) for part in ("oof", "fits")),
    }


def test_a_part_comes_with_all_that_it_stands_on(packed: Machine) -> None:
    plan = packed.plan("../y.tar", files=[f"{BLEND}/oof.parquet"], scratch=[])
    chosen = pack(plan, packed.book)
    order = [member.path for unit in chosen.units for member in unit.members]
    assert order[0] == INNER and order[-1] == f"{BLEND}/oof.parquet"
    assert order.index(f"{FOLD}/oof.parquet") < order.index(f"{SOURCE}/oof.parquet")
    assert f"{FOLD}/models/m.txt" in order
    assert set(chosen.base) == {FOLDS, BASE["targets"]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"archive": None}, "Name the archive: snakemake pack --config pack=FILE.tar"),
        ({"archive": "../x.tar"}, "x.tar exists"),
        ({"archive": "../y.tar", "files": [], "scratch": []}, "nothing to pack"),
    ],
)
def test_packing_is_refused(packed: Machine, changes: dict[str, Any], words: str) -> None:
    before = sha256(Path("../x.tar"))
    with pytest.raises(BlendmakeError, match=words):
        pack(packed.plan(**changes), packed.book)
    assert sha256(Path("../x.tar")) == before
    assert not Path("../y.tar").exists()


def test_a_file_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("scratch/p/journal.log", "trial 0\n")
    unit = Unit([Member("scratch/p/journal.log", 8, sha256(Path("scratch/p/journal.log")))])
    write("scratch/p/journal.log", "trial 0\ntrial 1\n")  # journals grow
    write_archive(Path("x.tar"), [unit], {})
    with tarfile.open("x.tar") as tar:
        content = tar.extractfile("scratch/p/journal.log")
        assert content is not None and content.read() == b"trial 0\n"
    for text in ("trial 9\n", "tri"):
        write("scratch/p/journal.log", text)
        with pytest.raises(BlendmakeError, match="has changed while it was packed"):
            write_archive(Path("y.tar"), [unit], {})
    assert not Path("y.tar").exists()


# What is refused


def forge(path: Path, paths: Sequence[str], infos: Sequence[tarfile.TarInfo], **about: Any) -> None:
    """An archive made by somebody else, its seal right: every member holds `x`."""
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    units = [asdict(Unit([Member(one, 1, digest)])) for one in paths]
    given = {"problem": "p", "records": "book 1", "preset": None, "base": {}, "identity": {}}
    manifest = {"format": FORMAT, **given, "units": units, **about}
    text = json.dumps({**manifest, "seal": digest_of(manifest)}).encode()
    with tarfile.open(path, "w") as tar:
        head = tarfile.TarInfo("manifest.json")
        head.size = len(text)
        tar.addfile(head, io.BytesIO(text))
        for info in infos:
            tar.addfile(info, io.BytesIO(b"x" * info.size))


def plain(name: str, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = 1
    for key, value in fields.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    "path",
    [
        "/tmp/x",
        "../x",
        "results/p/../../x",
        "results/p/./x",
        "results/p//x",
        "results/other/x",
        "results/pp/x",
        "results/p",
        "scratch/x",
        "config/p.yaml",
        ".snakemake/metadata/x",
        "results/p/.hidden/x",
        "results/p\\..\\x",
        "results/p/tables/train.arrow",
        FOLDS,
    ],
)
def test_a_path_elsewhere_is_refused(
    packed: Machine, make: Callable[..., Machine], path: str
) -> None:
    b = make("b")
    manifest = Archive(packed.folder / "../x.tar").manifest
    about = {"identity": manifest["identity"]}
    forge(b.folder / "../y.tar", [path], [plain(path)], **about)
    before = everything(b.folder)
    with pytest.raises(BlendmakeError, match="is no place for a file of an archive"):
        b.unpack("../y.tar")
    assert everything(b.folder) == before
    # With a path of its own place the same archive is taken.
    forge(b.folder / "../z.tar", ["results/p/x.json"], [plain("results/p/x.json")], **about)
    assert b.unpack("../z.tar").placed == ["results/p/x.json"]


@pytest.mark.parametrize(
    ("paths", "infos", "words"),
    [
        (["results/p/x.json"], [], "ends before results/p/x.json"),
        (["results/p/x.json"], [plain("results/p/x.json", size=2)], "does not match its digest"),
        ([], [plain("results/p/x.json")], "not in its list"),
        (
            ["results/p/x.json"],
            [plain("results/p/x.json"), plain("results/p/x.json")],
            "not in its list",
        ),
        (["results/p/x.json"] * 2, [plain("results/p/x.json")] * 2, "twice"),
        (
            ["results/p/x.json"],
            [plain("results/p/x.json", type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0)],
            "no plain file",
        ),
        (
            ["results/p/x.json"],
            [plain("results/p/x.json", type=tarfile.LNKTYPE, linkname="manifest.json", size=0)],
            "no plain file",
        ),
    ],
)
def test_members_that_are_not_what_the_list_says(
    packed: Machine,
    make: Callable[..., Machine],
    paths: list[str],
    infos: list[tarfile.TarInfo],
    words: str,
) -> None:
    b = make("b")
    identity = Archive(packed.folder / "../x.tar").manifest["identity"]
    first = "results/p/first.json"
    forge(b.folder / "../y.tar", [first, *paths], [plain(first), *infos], identity=identity)
    before = everything(b.folder)
    with pytest.raises(BlendmakeError, match=words):
        b.unpack("../y.tar")
    assert everything(b.folder) == before


def test_a_damaged_archive_is_refused(packed: Machine, make: Callable[..., Machine]) -> None:
    b = make("b")
    whole = (packed.folder / "../x.tar").read_bytes()
    with tarfile.open("../x.tar") as tar:
        members = tar.getmembers()
    before = everything(b.folder)
    places = [0, 600, members[0].offset_data + 40, members[3].offset + 20, members[3].offset_data]
    for place in [*places, members[-1].offset_data]:
        Path("../y.tar").write_bytes(whole)
        flip_byte(Path("../y.tar"), place)
        with pytest.raises(BlendmakeError, match=r"y\.tar is (damaged|no archive)"):
            b.unpack("../y.tar")
        assert everything(b.folder) == before
    for size in (0, 100, 5000, members[4].offset, members[4].offset_data, len(whole) // 2):
        Path("../y.tar").write_bytes(whole[:size])
        with pytest.raises(BlendmakeError, match=r"y\.tar is (damaged|no archive)"):
            b.unpack("../y.tar")
        assert everything(b.folder) == before
    with pytest.raises(BlendmakeError, match="does not exist"):
        b.unpack("../none.tar")
    write("../y.tar", "no tar at all")
    with pytest.raises(BlendmakeError, match=r"y\.tar is damaged"):
        b.unpack("../y.tar")


DRAW = np.random.default_rng(5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 2}, "the folds differ"),
        ({"folds": 4}, r"the folds differ \(3 there, 4 here\)"),
        ({"labels": DRAW.random((ROWS, 2)) < 0.5}, "labels of 't0', 't1' differ"),
        ({"train": DRAW.normal(size=(ROWS, 2))}, "the feature tables differ"),
        ({"test": DRAW.normal(size=(TEST_ROWS, 2))}, "the feature tables differ"),
        ({"test": DRAW.normal(size=(TEST_ROWS + 1, 2))}, "the test rows are others"),
        (
            {
                "train": DRAW.normal(size=(ROWS + 1, 2)),
                "labels": DRAW.random((ROWS + 1, 2)) < 0.5,
            },
            "the train rows are others",
        ),
    ],
)
def test_other_data_or_folds_are_refused(
    packed: Machine, make: Callable[..., Machine], changes: dict[str, Any], words: str
) -> None:
    b = make("b", **changes)
    before = everything(b.folder)
    with pytest.raises(BlendmakeError, match=words):
        b.unpack()
    assert everything(b.folder) == before
    assert set(b.book.records) == {INNER}


def test_groups_and_labels_of_test_rows_are_compared_where_both_have_them(
    make: Callable[..., Machine], tmp_path: Path
) -> None:
    make("a")
    found = []
    for value in (1, 2):
        write_parquet(pa.table({"group": [value]}), tmp_path / f"{value}.parquet")
        more = {"groups": str(tmp_path / f"{value}.parquet")}
        found.append(identity({**BASE, **more, "test_labels": more["groups"]}))
    lines = differences(*found)
    assert len(lines) == 2
    assert "groups of the rows" in lines[0] and "labels of the test rows" in lines[1]
    assert differences(found[0], identity(BASE)) == []


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"format": 2}, "of format 2, and this version of blendmake knows format 1"),
        ({"problem": "q"}, "of problem 'q', and the config of problem 'p'"),
        ({"records": "book 2"}, "records in book 2, and here they are in book 1"),
    ],
)
def test_what_cannot_be_understood_is_refused(
    packed: Machine, make: Callable[..., Machine], about: dict[str, Any], words: str
) -> None:
    b = make("b")
    forge(b.folder / "../y.tar", ["results/p/x.json"], [plain("results/p/x.json")], **about)
    with pytest.raises(BlendmakeError, match=words):
        b.unpack("../y.tar")
    with pytest.raises(BlendmakeError, match="Name the archive: snakemake unpack --config unpack="):
        unpack(b.plan(None), b.book)


def test_another_preset_is_refused(packed: Machine, make: Callable[..., Machine]) -> None:
    pack(packed.plan("../y.tar", preset={"asked": 1, "sources": {}}), packed.book)
    b = make("b")
    with pytest.raises(BlendmakeError, match=r"Delete results/p/preset\.json"):
        b.unpack("../y.tar", preset={"asked": 1, "sources": {"lgb": {}}})
    assert b.unpack("../y.tar", preset={"asked": 1, "sources": {}}).placed


# What stands already


def test_what_stands_with_the_same_content_stays(
    packed: Machine, make: Callable[..., Machine]
) -> None:
    b = make("b")
    b.make_all()  # the same numbers, made at another revision
    before = {path: sha256(Path(path)) for path in b.book.records}
    records = json.dumps(b.book.records)
    result = b.unpack()
    assert before[f"{BLEND}/oof.parquet"] != sha256(packed.folder / BLEND / "oof.parquet")
    assert {path: sha256(Path(path)) for path in before} == before
    assert json.dumps(b.book.records) == records
    assert result.kept == [] and result.left_out == {}
    # What stands on it and is missing here counts as made of it.
    Path(f"{BLEND}/oof.parquet").unlink()
    assert b.unpack().placed == [f"{BLEND}/oof.parquet"]
    own = sha256(Path(f"{SOURCE}/oof.parquet"))
    assert b.book.records[f"{BLEND}/oof.parquet"]["inputs"][f"{SOURCE}/oof.parquet"] == own


def test_what_was_made_otherwise_here_stays(packed: Machine, make: Callable[..., Machine]) -> None:
    b = make("b")
    b.make_fold(5.0)
    before = {path: sha256(Path(path)) for path in b.book.records}
    result = b.unpack()
    assert result.kept == [f"{FOLD}/fits.parquet", f"{FOLD}/oof.parquet"]
    assert Path(f"{FOLD}/models/m.txt").read_text() == "model 5.0"
    assert {path: sha256(Path(path)) for path in before} == before
    # What stands on the archive's fold is not what stands on this one.
    above = {f"{SOURCE}/oof.parquet", f"{SOURCE}/fits.parquet", f"{BLEND}/oof.parquet"}
    assert set(result.left_out) == above
    assert not any(Path(path).exists() or path in b.book.records for path in above)


def test_what_a_killed_job_left_is_replaced(packed: Machine, make: Callable[..., Machine]) -> None:
    b = make("b")
    b.make_fold(5.0)
    b.book.unfinished |= {f"{FOLD}/oof.parquet", f"{FOLD}/fits.parquet"}
    result = b.unpack()
    assert result.kept == [] and result.left_out == {}
    assert sha256(Path(f"{FOLD}/oof.parquet")) == sha256(packed.folder / FOLD / "oof.parquet")
    assert Path(f"{FOLD}/models/m.txt").read_text() == "model 1.0"
    assert not b.book.unfinished


def test_partial_work_that_stands_here_stays(packed: Machine, make: Callable[..., Machine]) -> None:
    b = make("b")
    write("scratch/p/searches/f/place.json", "{}")
    write("scratch/p/sources/s/fold1/key/t0.parquet", "done here too")
    result = b.unpack()
    assert Path("scratch/p/sources/s/fold1/key/t0.parquet").read_text() == "done here too"
    assert Path("scratch/p/searches/f/journal.log").read_text() == "trial 0\n"
    write("scratch/p/searches/f/journal.log", "trial 0\ntrial 1\n")
    Path("scratch/p/searches/f/place.json").unlink()
    result = b.unpack()
    assert "scratch/p/searches/f/journal.log" in result.kept
    assert not Path("scratch/p/searches/f/place.json").exists()


def test_a_kill_while_files_are_moved(
    packed: Machine, make: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    b = make("b")
    whole = os.replace
    moved = 0

    def dies(source: Any, target: Any) -> None:
        nonlocal moved
        if str(target).startswith(("results/p/sources", "results/p/blends")):
            moved += 1
            if moved == 4:
                raise KeyboardInterrupt
        whole(source, target)

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        b.unpack()
    monkeypatch.setattr(os, "replace", whole)
    standing = [path for path in b.plan()["files"] if Path(path).exists()]
    assert standing and all(b.book.read(path) for path in standing)
    result = b.unpack()
    assert result.kept == [] and set(standing) <= set(result.there)
    assert all(Path(path).exists() for path in b.plan()["files"])


# What nobody packs


def refusal(b: Machine) -> str:
    """The one message with which ../y.tar is refused; nothing has changed."""
    before = everything(b.folder)
    with pytest.raises(BlendmakeError) as caught:
        b.unpack("../y.tar")
    assert everything(b.folder) == before
    return str(caught.value)


X = "results/p/x.json"


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (plain(X, type=tarfile.GNUTYPE_SPARSE), "y.tar"),
        (plain(X, pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}), "y.tar"),
        (plain(X, pax_headers={"SCHILY.xattr.user.x": "1"}), "is no plain file"),
        (plain(X, type=tarfile.FIFOTYPE, size=0), "is no plain file"),
        (plain(X, type=tarfile.CHRTYPE, size=0), "is no plain file"),
        (plain(X, type=tarfile.DIRTYPE, size=0), "y.tar"),
        (plain(X, type=tarfile.CONTTYPE), "is no plain file"),
    ],
)
def test_only_plain_files_are_taken(
    packed: Machine, make: Callable[..., Machine], info: tarfile.TarInfo, words: str
) -> None:
    b = make("b")
    identity = Archive(packed.folder / "../x.tar").manifest["identity"]
    forge(b.folder / "../y.tar", [X], [info], identity=identity)
    assert words in refusal(b)


@pytest.mark.parametrize("suffix", [".py", ".so", ".pkl", ".sh", ".pth", ""])
def test_only_kinds_of_files_that_pack_writes_are_taken(
    packed: Machine, make: Callable[..., Machine], suffix: str
) -> None:
    b = make("b")
    identity = Archive(packed.folder / "../x.tar").manifest["identity"]
    path = f"results/p/x{suffix}"
    forge(b.folder / "../y.tar", [path], [plain(path)], identity=identity)
    assert "writes no files of that kind" in refusal(b)


MEMBER = {"path": X, "bytes": 1, "sha256": "0" * 64, "content": None}


@pytest.mark.parametrize(
    "about",
    [
        {"units": [{"members": [{**MEMBER, "bytes": 10**15}], "records": {}}]},
        {"units": [{"members": [{**MEMBER, "bytes": -1}], "records": {}}]},
        {"units": [{"members": [{**MEMBER, "bytes": True}], "records": {}}]},
        {"units": [{"members": [{**MEMBER, "bytes": 1.0}], "records": {}}]},
        {"units": [{"members": [{**MEMBER, "path": 7}], "records": {}}]},
        {"units": [{"members": [{**MEMBER, "path": "results/p/" + "x" * 9999}], "records": {}}]},
        {"units": [{"members": [{**MEMBER, "sha256": "0"}], "records": {}}]},
        {"units": [{"members": [{**MEMBER, "content": 1}], "records": {}}]},
        {"units": [{"members": [{**MEMBER, "more": 1}], "records": {}}]},
        {"units": [{"members": [MEMBER], "records": [1]}]},
        {"units": [{"members": [MEMBER], "records": {X: 1}}]},
        {"units": 7},
        {"units": {"a": 1}},
        {"identity": []},
        {"base": {"a": 1}},
        {"base": None},
        {"preset": "x"},
        {"problem": None},
        {"records": 3},
        {"more": float("nan")},
    ],
)
def test_a_list_of_another_shape_is_refused(
    packed: Machine, make: Callable[..., Machine], about: dict[str, Any]
) -> None:
    b = make("b")
    forge(b.folder / "../y.tar", [], [], **about)
    assert "y.tar is damaged (" in refusal(b)


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["results/p/\x1b[2Jx.json"], "no name that can be shown"),
        (["results/p/a\nb.json"], "no name that can be shown"),
        ([X, f"{X}/y.json"], f"{X} as a file and as a folder"),
        (["results/p/a.json/y.json"], "holds results/p/a.json as a folder, and here it is none"),
        (["results/p/sources.json"], "holds results/p/sources.json as a file, and here it is none"),
    ],
)
def test_names_that_have_no_place_are_refused(
    packed: Machine, make: Callable[..., Machine], paths: list[str], words: str
) -> None:
    b = make("b")
    Path("results/p/sources.json").mkdir()
    Path("results/p/a.json").touch()
    identity = Archive(packed.folder / "../x.tar").manifest["identity"]
    forge(b.folder / "../y.tar", paths, [plain(path) for path in paths], identity=identity)
    assert words in refusal(b)


def test_a_list_of_too_many_values_is_not_read(
    make: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blendmake.packing.archive.MOST_VALUES", 1000)
    b = make("b")
    forge(b.folder / "../y.tar", [], [], more=[0] * 2000)
    assert "its list holds 2," in refusal(b)


def test_files_larger_than_the_archive_are_refused_before_any_is_written(
    make: Callable[..., Machine],
) -> None:
    b = make("b")
    units = [{"members": [{**MEMBER, "bytes": 10**15}], "records": {}}]
    forge(b.folder / "../y.tar", [], [], units=units)
    assert "its files would have more bytes than it has" in refusal(b)


def raw(path: Path, info: tarfile.TarInfo, content: bytes, size: int) -> None:
    """A file of `size` bytes, mostly a hole, that begins with a member as it is given."""
    with open(path, "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + content)
        file.truncate(size)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE])
def test_absurd_sizes_take_no_memory(
    make: Callable[..., Machine], kind: bytes, tmp_path: Path
) -> None:
    b = make("b")
    raw(b.folder / "../y.tar", plain("manifest.json", type=kind, size=2**32), b"", 2**33)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "y.tar is damaged (" in refusal(b)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "NaN", '{"seal": 1e999}', "7"])
def test_a_list_nested_without_end_is_refused(make: Callable[..., Machine], text: str) -> None:
    b = make("b")
    raw(b.folder / "../y.tar", plain("manifest.json", size=len(text)), text.encode(), 2**21)
    assert "y.tar is damaged (" in refusal(b)


def test_an_archive_that_is_no_file_is_refused(make: Callable[..., Machine]) -> None:
    b = make("b")
    os.mkfifo("../y.tar")
    assert "it is no plain file" in refusal(b)
    Path("../y.tar").unlink()
    Path("../y.tar").mkdir()
    assert "holds no whole archive of problem 'p'" in refusal(b)
