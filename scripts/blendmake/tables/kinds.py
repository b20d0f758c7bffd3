"""Which kind a column is, decided over all files that hold it, and the levels of categories.

A column of a CSV file has no type but what its values look like: named as a category, or seen as
one thing in one file and as another in the next, it is text as it is written, in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from blendmake.errors import BlendmakeError
from blendmake.tables.columns import Column, Wanted, feature_columns
from blendmake.tables.distinct import DistinctValues, pandas_categories
from blendmake.tables.levels import (
    Spelling,
    form_of,
    is_number,
    levels_of,
)
from blendmake.tables.missing import as_missing
from blendmake.tables.naming import shown
from blendmake.tables.user_files import UserTable, is_text, kind_of
from blendmake.tables.written_numbers import (
    USUAL,
    Judged,
    judge,
    mend_of,
    numbers_of,
    type_of_texts,
)

Tables = Mapping[str, Mapping[str, UserTable]]  # by part (train, test) and name of the file
NEAR_ROWS, LEAST_ROWS = 0.8, 50  # levels per row from which a category looks like an id


@dataclass(frozen=True)
class Feature:
    """A feature column as the tables hold it; `kind` is number or category.

    `spellings` say, by part, how the files spell the levels.
    """

    name: str
    file: str
    kind: str
    levels: tuple[str, ...] = ()
    spellings: Mapping[str, Spelling] = field(default_factory=dict)


@dataclass(frozen=True)
class Numbers:
    """A column that is read as numbers: some of its values mean missing, or it is text.

    `dtype` is what it becomes; as it is where None.
    """

    missing: tuple[str, ...]
    dtype: pa.DataType | None = None

    def __call__(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        if self.dtype is not None and form_of(column.type) == "text":
            return numbers_of(column, self.missing, self.dtype)
        return as_missing(column, self.missing) if form_of(column.type) == "number" else column


@dataclass(frozen=True)
class Decided:
    """The features, how columns of numbers are read (by part, file and column), and warnings."""

    features: list[Feature]
    readings: dict[str, dict[str, dict[str, Numbers]]]
    warnings: list[str]

    def prepare(self, tables: Tables) -> None:
        """Have the tables give their columns as decided."""
        for part, by_file in tables.items():
            for label, table in by_file.items():
                table.read_through(self.readings.get(part, {}).get(label, {}))


def decide(tables: Tables, id_columns: Sequence[str], wanted: Wanted) -> Decided:
    """Decide on every feature column, over all files; of numbers only the types are looked at.

    The tables are left so that they give columns as decided.

    Raises:
        BlendmakeError: what is wrong with the columns, with file, column, and value and row.
    """
    columns = feature_columns(tables["train"], tables["test"], id_columns, wanted)
    work = _Work(tables, columns, wanted)
    return work.decided()


class _Work:
    """The decision in its steps; `guesses` are the forms (levels.form_of) as the files were opened."""

    def __init__(self, tables: Tables, columns: Sequence[Column], wanted: Wanted) -> None:
        self.tables, self.wanted = tables, wanted
        self.warnings: list[str] = []
        self.notes: dict[str, list[str]] = {}
        pandas = {t.path: pandas_categories(t.schema) for t in self._every()}
        self.columns = [
            Column(c.name, c.file, c.named or any(c.name in pandas[t.path] for t in self.of(c)))
            for c in columns
        ]
        self.forgotten = {
            name
            for table in self._every()
            for name, ordered in pandas[table.path].items()
            if ordered and not pa.types.is_dictionary(table.schema.field(name).type)
        }
        self.fields = {
            table.path: dict(zip(table.schema.names, table.schema, strict=True))
            for table in self._every()
        }
        self.guesses = {
            c.name: [
                None if pa.types.is_null(kind) else form_of(kind)
                for kind in (self.type_of(t, c.name) for t in self.of(c))
            ]
            for c in self.columns
        }

    def _every(self) -> Iterator[UserTable]:
        for by_file in self.tables.values():
            yield from by_file.values()

    def of(self, column: Column) -> list[UserTable]:
        """The tables that hold a column, train first."""
        return [by_file[column.file] for by_file in self.tables.values() if by_file]

    def type_of(self, table: UserTable, name: str) -> pa.DataType:
        return self.fields[table.path][name].type

    def decided(self) -> Decided:
        self._read_csv_as_text()
        kinds = {c.name: self._kind(c) for c in self.columns}
        texts = self._found(kinds)
        self._note_idle(texts)
        numbers = self._numbers(kinds, texts)
        features = []
        for column in self.columns:
            name = column.name
            if kinds[name] != "category" or name in numbers:
                features.append(Feature(name, column.file, "number"))
                continue
            features.append(self._category(column, texts[name]))
        self._tell()
        readings: dict[str, dict[str, dict[str, Numbers]]] = {}
        for column in self.columns:
            if column.name in numbers:
                for part in self.tables:
                    of_part = readings.setdefault(part, {}).setdefault(column.file, {})
                    of_part[column.name] = numbers[column.name]
        found = Decided(features, readings, self.warnings)
        found.prepare(self.tables)
        return found

    # Types

    def _read_csv_as_text(self) -> None:
        """Read again what is a category, or of two minds, and so text in all CSV files."""
        again: dict[UserTable, list[str]] = {}
        for column in self.columns:
            stated = set(self.guesses[column.name]) - {None}
            if not column.named and (stated <= {"number", "truth"} or stated == {"time"}):
                continue
            for table in self.of(column):
                if table.is_csv:
                    again.setdefault(table, []).append(column.name)
        for table, names in again.items():
            table.read_as_text(names)
            self.fields[table.path] = dict(zip(table.schema.names, table.schema, strict=True))

    def _kind(self, column: Column) -> str:
        """number or category; text may turn out to be numbers."""
        kinds = []
        for table in self.of(column):
            dtype = self.type_of(table, column.name)
            kind = kind_of(dtype, column.named)
            if kind is None:
                raise BlendmakeError(
                    f"{table.path}: column '{column.name}' is of type {dtype}, which no model reads. "
                    "Turn it into numbers or text, or list it under data.ignore."
                )
            kinds.append(kind)
        stated = set(kinds) - {"any"}
        if len(stated) < 2:
            return stated.pop() if stated else "number"
        if not self._text_only(column):
            self._differ(column)
        return "category"  # for now: its text may hold numbers

    def _differ(self, column: Column, judged: Judged | None = None) -> None:
        """Raise: one table has numbers where the other has text."""
        train, test = self.of(column)
        odd = ""
        if judged is not None and judged.odd:
            table, row = self._first(column, judged.odd[0])
            odd = f" ({shown(judged.odd[0])} in row {row} of {table.path})"
        raise BlendmakeError(
            f"{test.path}: column '{column.name}' is {self.type_of(test, column.name)}, but "
            f"{self.type_of(train, column.name)} in {train.path}{odd}. Give both one type, or list it "
            "under data.categories.columns, or what means missing under data.missing."
        )

    def _kinds_of(self, column: Column) -> set[str | None]:
        kinds = {kind_of(self.type_of(table, column.name), False) for table in self.of(column)}
        return kinds - {"any"}

    def _typed_apart(self, column: Column) -> bool:
        """Whether a file that states types has numbers, or text, and the other has not."""
        return len(self._kinds_of(column)) > 1 and not any(
            table.is_csv and is_text(self.type_of(table, column.name)) for table in self.of(column)
        )

    def _text_only(self, column: Column) -> bool:
        """Whether text that holds numbers, if it does, may stand beside the numbers of the other."""
        types = [self.type_of(table, column.name) for table in self.of(column)]
        dictionary = any(pa.types.is_dictionary(kind) for kind in types)
        return not dictionary and any(map(is_text, types))

    # Values

    def _found(self, kinds: Mapping[str, str]) -> dict[str, list[DistinctValues]]:
        """By category, what each of its tables holds."""
        found: dict[str, list[DistinctValues]] = {}
        for by_file in self.tables.values():
            for label, table in by_file.items():
                names = [
                    c.name for c in self.columns if c.file == label and kinds[c.name] == "category"
                ]
                values = {
                    name: DistinctValues(table, name, self.type_of(table, name)) for name in names
                }
                for batch in table.batches(names) if names else ():
                    for name in names:
                        values[name].add(batch[name])
                for name in names:
                    found.setdefault(name, []).append(values[name].closed())
        return found

    def _numbers(
        self, kinds: Mapping[str, str], texts: Mapping[str, Sequence[DistinctValues]]
    ) -> dict[str, Numbers]:
        """The columns that are read as numbers otherwise than as they are."""
        numbers: dict[str, Numbers] = {}
        errors: list[tuple[Column, Judged]] = []
        for column in self.columns:
            name, missing = column.name, tuple(self.wanted.missing_texts(column.name))
            if kinds[name] == "number":
                if any(map(is_number, missing)):
                    numbers[name] = Numbers(missing)
                continue
            if column.named or not self._text_only(column):
                continue
            judged = self._judged(column, texts[name], missing)
            if not judged.numbers and self._typed_apart(column):
                self._differ(column, judged)
            if judged.numbers:
                path = next(t.path for t in self.of(column) if is_text(self.type_of(t, name)))
                numbers[name] = Numbers((*USUAL, *missing), type_of_texts(judged, name, path))
            elif judged.told == "error":
                errors.append((column, judged))
            elif (
                len({kind_of(self.type_of(t, name), False) for t in self.of(column)} - {"any"}) > 1
            ):
                self._differ(column)
            else:
                self._note(column, judged)
        if errors:
            raise BlendmakeError(self._error(errors))
        return numbers

    def _judged(
        self, column: Column, values: Sequence[DistinctValues], missing: Sequence[str]
    ) -> Judged:
        every = pc.unique(pa.concat_arrays([v.texts for v in values if v.form == "text"]))
        drop = pc.is_in(every, value_set=pa.array(missing, pa.string()))
        text = [t for t in self.of(column) if is_text(self.type_of(t, column.name))]
        guessed = all(table.is_csv for table in text)
        relieved = bool(pc.any(drop).as_py())
        return judge(every.filter(pc.invert(drop)), guessed=guessed, relieved=relieved)

    def _error(self, errors: Sequence[tuple[Column, Judged]]) -> str:
        column, judged = errors[0]
        table, row = self._first(column, judged.odd[0])
        more = f" and {', '.join(map(shown, judged.odd[1:4]))}" if len(judged.odd) > 1 else ""
        header = "if row 1 is the header, data.csv: {header: true}; "
        header = header if row == 1 and table.is_csv and not more else ""
        text = (
            f"{table.path}, row {row}: column '{column.name}' holds {shown(judged.odd[0])}{more} among "
            f"{judged.count:,} different numbers. What to do: {header}"
            f"{mend_of(judged.odd, is_csv=table.is_csv)}."
        )
        if len(errors) > 1:
            rest = [f"{c.name} ({shown(j.odd[0])})" for c, j in errors[1:]]
            text += f" Likewise {_listed(rest)}."
        return text

    def _first(self, column: Column, text: str) -> tuple[UserTable, int]:
        """The file and the row, counted from 1, that first hold a text."""
        for table in self.of(column):
            start = 0
            for batch in table.batches([column.name]):
                row = pc.index(batch[column.name].cast(pa.string()), text).as_py()
                if row >= 0:
                    return table, start + row + 1
                start += batch.num_rows
        raise AssertionError(f"{column.name}: {text}")

    def _category(self, column: Column, values: Sequence[DistinctValues]) -> Feature:
        name, missing = column.name, set(self.wanted.missing_texts(column.name))
        forms = {form for form in self.guesses[name] if form is not None}
        if all(table.is_csv for table in self.of(column)) and forms <= {"number", "truth"}:
            missing |= set(USUAL)
        parts = [part for part, by_file in self.tables.items() if by_file]
        found = {p: value.found(missing) for p, value in zip(parts, values, strict=True)}
        levels, spellings = levels_of(name, found)
        self._look_at(column, levels, list(spellings.values()), values[0].rows)
        return Feature(name, column.file, "category", levels or ("",), spellings)

    # Warnings

    def _note_idle(self, texts: Mapping[str, Sequence[DistinctValues]]) -> None:
        """Note texts of `missing` that no column of text holds; numbers are not looked for."""
        meant: set[str] = set()
        met: set[str] = set()
        for column in self.columns:
            missing = [t for t in self.wanted.missing_texts(column.name) if not is_number(t)]
            meant.update(missing)
            for values in texts.get(column.name, ()) if missing else ():
                held = pc.is_in(pa.array(missing, pa.string()), value_set=values.texts)
                met.update(pc.filter(pa.array(missing, pa.string()), held).to_pylist())
        # Among numbers of a CSV file the usual ones are missing already.
        idle = meant - met - set(USUAL) - {""}
        if idle:
            self.notes["idle"] = sorted(map(repr, idle))

    def _note(self, column: Column, judged: Judged) -> None:
        if judged.told:
            self.notes.setdefault("odd", []).append(f"{column.name} ({shown(judged.odd[0])})")
        forms = {form for form in self.guesses[column.name] if form is not None}
        if judged.odd and "text" in forms and len(forms) > 1:
            table, row = self._first(column, judged.odd[0])
            self.notes.setdefault("mixed", []).append(
                f"{column.name} ({shown(judged.odd[0])} in row {row} of {table.path})"
            )

    def _look_at(
        self,
        column: Column,
        levels: Sequence[str],
        spellings: Sequence[Spelling],
        rows: int,
    ) -> None:
        name = column.name
        mine = set(spellings[0].codes.tolist())
        if name in self.forgotten:
            self.notes.setdefault("forgotten", []).append(name)
        if rows >= LEAST_ROWS and len(mine) > NEAR_ROWS * rows:
            self.notes.setdefault("ids", []).append(f"{name} ({len(mine):,} of {rows:,})")
            return
        theirs = set(spellings[1].codes.tolist()) if len(spellings) > 1 else set()
        unseen = sorted(theirs - mine)
        if (
            mine
            and 2 * len(unseen) > len(theirs)
            and (len(theirs) > 2 or len(unseen) == len(theirs))
        ):
            sides = [[levels[i] for i in codes[:3]] for codes in (sorted(mine), unseen)]
            examples = "; ".join(
                f"{part} has {', '.join(map(shown, side))}"
                for part, side in zip(("train", "test"), sides, strict=True)
            )
            self.notes.setdefault("apart", []).append(
                f"{name} ({len(unseen)} of {len(theirs)} levels of test are not in train: {examples})"
            )

    def _tell(self) -> None:
        for key, text in _TOLD.items():
            if self.notes.get(key):
                self.warnings.append(text.format(_listed(self.notes[key])))


_TOLD = {
    "apart": "levels of train and test hardly meet: {}. Models read what train does not hold as "
    "missing. Give both one spelling, or list the column under data.ignore",
    "ids": "about as many levels as rows: {}. Models learn nothing of what occurs once: list it under "
    "data.ignore, or data.id if it is one; if it holds numbers or dates, store it as such",
    "mixed": "text in one file, no text in another, so that it is a category: {}. If that value means "
    "missing, list it under data.missing; if it is a category, under data.categories.columns",
    "odd": "few numbers, and a text that may mean missing: {}. It is a category. If the text means "
    "missing and the column is a number, list it under data.missing; else under "
    "data.categories.columns",
    "idle": "no feature column holds what data.missing names: {}",
    "forgotten": "ordered categories that are not text, whose order parquet forgets: {}. Their levels "
    "ascend. Save them as feather, or as text, if that is not their order",
}


def _listed(notes: Sequence[str], most: int = 5) -> str:
    more = f" and {len(notes) - most} more columns" if len(notes) > most else ""
    return "; ".join(notes[:most]) + more
