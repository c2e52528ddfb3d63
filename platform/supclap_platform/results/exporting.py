"""An experiment's frames as files of a folder, with a schema that explains each column.

    DIR/runs.parquet, epochs, queries, trials, verdicts, table    or .csv, or both
    DIR/schema.json                                               columns, types, units, versions

The folder appears whole: it is written beside its place and then renamed.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from supclap.errors import InputError
from supclap.progress import activity
from supclap_platform.ledger.staleness import code_of_today
from supclap_platform.results.frame_columns import FRAMES, TEXT, described
from supclap_platform.results.frame_making import Frame
from supclap_platform.results.opened import Results

FORMATS = ("parquet", "csv")
SCHEMA = "schema.json"
FORMAT = 1  # of the schema
AT_ONCE = 250_000  # rows that are written together


def export(results: Results, place: Path, formats: Sequence[str]) -> dict[str, int]:
    """Writes every frame to a folder; the number of rows of each.

    Raises:
        InputError: the folder holds other files than an export's, or cannot be written.
    """
    check_place(place)
    scratch = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        counts = dict.fromkeys(FRAMES, 0)
        explained: dict[str, Any] = {}
        with activity("exporting"):
            for name in sorted(FRAMES, key="queries".__eq__):  # last: verdicts keep what they read
                counts[name], columns = _write(results.frames(name), name, scratch, formats)
                files = [f"{name}.{ending}" for ending in formats]
                explained[name] = {"files": files, "rows": counts[name], "columns": columns}
        text = json.dumps(_schema(results, explained), ensure_ascii=False, indent=1)
        (scratch / SCHEMA).write_text(f"{text}\n", encoding="utf-8")
        _put_in_place(scratch, place)
    except OSError as error:
        raise InputError(f"--to {place}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return counts


def check_place(place: Path) -> None:
    """Raises InputError unless a folder is absent, empty, or an earlier export alone."""
    if not place.exists() and not place.is_symlink():
        return
    if place.is_symlink() or not place.is_dir():
        raise InputError(f"--to {place}: not a folder; name one that is to be made")
    there = {path.name for path in place.iterdir()}
    foreign = sorted(there - _of_export(place))
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise InputError(
            f"--to {place}: holds what no export has written ({foreign[0]}{more}); name another "
            "folder, or empty it"
        )


def _of_export(place: Path) -> set[str]:
    """The files of the export that lies in a folder; none where there is none."""
    try:
        regular = (place / SCHEMA).is_file()  # a named pipe would be waited for
        schema = json.loads((place / SCHEMA).read_bytes()) if regular else {}
        frames = schema["frames"].values()
        return {SCHEMA, *chain.from_iterable(frame["files"] for frame in frames)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return set()


def _put_in_place(scratch: Path, place: Path) -> None:
    """Renames the written folder to its place; what lies there is an earlier export."""
    if not place.exists():
        scratch.rename(place)
        return
    before = place.with_name(f"{scratch.name}.before")
    place.rename(before)
    try:
        scratch.rename(place)
    except OSError:
        before.rename(place)
        raise
    shutil.rmtree(before)


def _write(
    frames: Iterator[Frame], name: str, folder: Path, formats: Sequence[str]
) -> tuple[int, list[dict[str, Any]]]:
    """Writes a frame piece by piece; its number of rows, and its columns as plain values."""
    first = next(frames)
    rows = 0
    with ExitStack() as stack:
        writers = []
        if "parquet" in formats:
            writer = pq.ParquetWriter(folder / f"{name}.parquet", first.table.schema)
            writers.append(stack.enter_context(writer).write_table)
        if "csv" in formats:
            csv = _Csv(folder / f"{name}.csv", first.table.schema)
            writers.append(stack.enter_context(csv).write_table)
        for table in _gathered(chain([first], frames)):
            rows += len(table)
            for write in writers:
                write(table)
    return rows, described(first.columns)


def _gathered(frames: Iterator[Frame]) -> Iterator[pa.Table]:
    """The same rows in fewer and larger tables."""
    waiting: list[pa.Table] = []
    for frame in frames:
        waiting.append(frame.table)
        if sum(map(len, waiting)) >= AT_ONCE:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


class _Csv:
    """Writes tables to a file of CSV, words as text."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        kinds = ((f.name, TEXT if pa.types.is_dictionary(f.type) else f.type) for f in schema)
        self._schema = pa.schema(list(kinds))
        self._writer = pacsv.CSVWriter(path, self._schema)

    def __enter__(self) -> _Csv:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def write_table(self, table: pa.Table) -> None:
        self._writer.write_table(table.cast(self._schema))


def _schema(results: Results, frames: dict[str, Any]) -> dict[str, Any]:
    """What explains the files, as plain values. Of the same results it is the same."""
    experiment = results.experiment
    cells = [cell for part in results.parts for cell in part.evidence.cells]
    return {
        "format": FORMAT,
        "experiment": experiment.name,
        "about": experiment.about,
        "profile": experiment.profile,
        "changes": experiment.changes,
        "storage": results.ledger.storage.uri,
        "versions": {
            "supclap": version("supclap"),
            "code of today": code_of_today(cells),
            "python": platform.python_version(),
            "pyarrow": pa.__version__,
        },
        "frames": frames,
    }
