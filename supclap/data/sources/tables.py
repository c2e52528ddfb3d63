"""Index files: csv and json, with errors that name file and line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from supclap.data.sources.files import no_file
from supclap.errors import InputError, nearest

Row = dict[str, str]


def rows(
    path: Path, columns: Sequence[str], valid: Sequence[str] = ()
) -> Iterator[tuple[str, Row]]:
    """The rows of a csv file with a header: ("train.csv:2", {column: text}).

    Raises:
        InputError: a column of ``columns`` is not there, one is there that is not ``valid`` (where
            that is given), or a row has another number of fields.
    """
    header: list[str] | None = None
    for where, fields in _records(path):
        if header is None:
            header = [name.strip() for name in fields]
            absent = [name for name in columns if name not in header]
            if absent:
                raise InputError(
                    f"{path}: no column {', '.join(absent)}; found {', '.join(header)}; "
                    f"expected {', '.join(columns)}"
                )
            for name in header:
                if valid and name not in valid:
                    raise InputError(
                        f"{path}: unknown column '{name}'{nearest(name, valid)} "
                        f"(valid: {', '.join(valid)})"
                    )
            continue
        if len(fields) != len(header):
            raise InputError(
                f"{where}: {len(fields)} fields, expected {len(header)} ({', '.join(header)}); "
                f"a text with a comma needs quotes"
            )
        yield where, dict(zip(header, fields, strict=True))
    if header is None:
        raise InputError(f"{path}: is empty; expected the columns {', '.join(columns)}")


def bare_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """The rows of a csv file without a header, whose columns are ``columns``."""
    for where, fields in _records(path):
        if len(fields) != len(columns):
            raise InputError(
                f"{where}: {len(fields)} fields, expected {len(columns)} ({', '.join(columns)})"
            )
        yield where, dict(zip(columns, fields, strict=True))


def number(text: str, where: str, column: str) -> float:
    """A column's value as a number. Raises InputError."""
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{where}: {column} '{text}' is not a number") from None


def load_json(path: Path) -> Any:
    """A json file's content. Raises InputError with the line of a syntax error."""
    _check_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _check_file(path: Path) -> None:
    fault = no_file(path)
    if fault:
        raise InputError(f"{path}: {fault}")


def _records(path: Path) -> Iterator[tuple[str, list[str]]]:
    _check_file(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            line = 1  # a quoted text may hold line breaks: a record is named by its first line
            for fields in reader:
                if any(text.strip() for text in fields):
                    yield f"{path.name}:{line}", fields
                line = reader.line_num + 1
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None
    except csv.Error as error:
        raise InputError(f"{path}:{line}: not valid csv: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
