"""Index files: csv and json, with errors that name file and line."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from supclap.data.sources.files import no_file
from supclap.errors import InputError, nearest
from supclap.wording import counted, gist, is_text

Row = dict[str, str]
Broken = Callable[[str, str], None]  # takes a row that cannot be read: where it is, and the reason

_MOST_LINES = 100  # of one record: a quote that is never closed takes no more with it


def refuse(where: str, reason: str) -> None:
    """Ends at the first broken row. Raises InputError."""
    raise InputError(f"{where}: {reason}")


def rows(
    path: Path, columns: Sequence[str], valid: Sequence[str] = (), broken: Broken = refuse
) -> Iterator[tuple[str, Row]]:
    """The rows of a csv file with a header: ("train.csv:2", {column: text}).

    ``broken`` is given each row that is not valid csv, not UTF-8, or of another number of fields.

    Raises:
        InputError: the file cannot be read, a column of ``columns`` is not there, or one is there
            that is not ``valid`` (where that is given).
    """
    _check_file(path)
    lines = _lines(path)
    header_row = next(_parsed(path, lines, 0, 0, refuse), None)
    if header_row is None:
        raise InputError(f"{path}: is empty; expected the columns {', '.join(columns)}")
    _, fields, start = header_row
    if "\0" in "".join(fields):
        raise InputError(f"{path}: is not UTF-8 text")
    header = [name.strip() for name in fields]
    absent = [name for name in columns if name not in header]
    if absent:
        raise InputError(
            f"{path}: no column {', '.join(absent)}; found {', '.join(header)}; "
            f"expected {', '.join(columns)}{_other_mark(fields)}"
        )
    twice = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    if twice:  # one of them would be read, and nothing would say which
        raise InputError(f"{path}: column {', '.join(twice)} stands twice; keep one of each name")
    for name in header:
        if valid and name not in valid:
            raise InputError(
                f"{path}: unknown column '{name}'{nearest(name, valid)} (valid: {', '.join(valid)})"
            )
    hint = "; a text with a comma needs quotes"
    for where, fields, _ in _parsed(path, lines, start, len(header), broken):
        if len(fields) == len(header):
            yield where, dict(zip(header, fields, strict=True))
        else:
            broken(where, _wrong_number(fields, header) + hint)


def bare_rows(
    path: Path, columns: Sequence[str], broken: Broken = refuse
) -> Iterator[tuple[str, Row]]:
    """The rows of a csv file without a header, whose columns are ``columns``; as `rows`."""
    _check_file(path)
    for where, fields, _ in _parsed(path, _lines(path), 0, len(columns), broken):
        if len(fields) == len(columns):
            yield where, dict(zip(columns, fields, strict=True))
        else:
            broken(where, _wrong_number(fields, columns))


def _other_mark(header: Sequence[str]) -> str:
    """What to do where another mark than a comma separates the fields; "" where none seems to."""
    names = {";": "';'", "\t": "tabs", "|": "'|'"}
    mark = next((mark for mark in names if len(header) == 1 and mark in header[0]), None)
    return "" if mark is None else f"; its fields are separated by {names[mark]}: use commas"


def _wrong_number(fields: Sequence[str], columns: Sequence[str]) -> str:
    return f"{counted(len(fields), 'field')}, expected {len(columns)} ({', '.join(columns)})"


def number(text: str, where: str, column: str) -> float:
    """A column's value as a finite number. Raises InputError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {column} '{text}' is not a number")
    return value


def load_json(path: Path) -> Any:
    """A json file's content. Raises InputError with the line of a syntax error."""
    _check_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, lists in lists
        raise InputError(f"{path}: not usable JSON: {gist(error)}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _check_file(path: Path) -> None:
    fault = no_file(path)
    if fault:
        raise InputError(f"{path}: {fault}")


def _lines(path: Path) -> list[str]:
    """The lines of a text file with their ends. A byte that is not UTF-8 spoils its line alone."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return list(file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _parsed(
    path: Path, lines: Sequence[str], start: int, width: int, broken: Broken
) -> Iterator[tuple[str, list[str], int]]:
    """The records from line ``start`` (counted from 0) on: where, fields, the line behind.

    A quoted text may hold line breaks: a record is named by its first line. Behind a broken one
    reading goes on in the next line. ``width``: the number of fields of a row.
    """
    at = start
    while at < len(lines):
        where = f"{path.name}:{at + 1}"
        end = min(at + _MOST_LINES, len(lines))
        reader = csv.reader((lines[i] for i in range(at, end)), strict=True)
        reason = ""
        fields: list[str] = []
        try:
            fields = next(reader)
        except csv.Error as error:
            reason = f"not valid csv: {error}"
        used = max(reader.line_num, 1)
        if not reason and used > 1 and _swallows_rows(lines[at + 1 : at + used], width):
            reason = "not valid csv: a quote is opened and not closed"
        if not reason and not is_text("".join(fields)):
            reason = "is not UTF-8 text"
        at += 1 if reason else used
        if reason:
            broken(where, reason)
        elif any(text.strip() for text in fields):
            yield where, fields, at


def _swallows_rows(lines: Sequence[str], width: int) -> bool:
    """Whether one of a text's further lines looks like a row of its own."""
    return width > 2 and any(
        line.count(",") == width - 1 and " " not in line.split(",")[0].strip() for line in lines
    )
