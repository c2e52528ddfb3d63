"""Frames put together: rows or arrays under explained columns, and the columns that runs bring."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from supclap_platform.experiment.method import Method
from supclap_platform.results.frame_columns import (
    FRAMES,
    NUMBER,
    PARAMETER,
    TEXT,
    WORD,
    FrameColumn,
    metric_column,
)

METRICS = "metric."  # before a metric that is called like another column
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Frame:
    """Rows with their columns explained."""

    columns: tuple[FrameColumn, ...]
    table: pa.Table


def framed(
    name: str,
    rows: Sequence[Values],
    found: Mapping[str, Sequence[FrameColumn]] | None = None,
) -> Frame:
    """Rows as a table. ``found``: by the name of a pattern the columns that it stands for."""
    columns: list[FrameColumn] = []
    for column in FRAMES[name]:
        columns += (found or {}).get(column.name, ()) if column.pattern else [column]
    arrays = []
    for column in columns:
        values = [row.get(column.name) for row in rows]
        if column.kind == WORD:
            arrays.append(pa.array(values, TEXT).dictionary_encode())
        else:
            arrays.append(pa.array(values, column.kind))
    schema = pa.schema([(column.name, column.kind) for column in columns])
    return Frame(tuple(columns), pa.table(arrays, schema=schema))


def filled(value: Any, length: int, kind: pa.DataType) -> pa.Array:
    """A column of one value, or of an array."""
    if value is None:
        return pa.nulls(length, kind)
    if kind == WORD:
        index = pa.repeat(pa.scalar(0, pa.int32()), length)
        return pa.DictionaryArray.from_arrays(index, pa.array([value], TEXT))
    if getattr(value, "ndim", 0):
        return pa.array(value).cast(kind)
    return pa.repeat(pa.scalar(value, kind), length)


class OpenColumns:
    """Columns that runs bring with them, in the order in which they are met."""

    def __init__(self) -> None:
        self._methods: dict[str, Method] = {}

    def of(self, method: Method, values: Values, above: str = "") -> dict[str, Any]:
        """The values under the names of their columns."""
        row = {}
        for name, value in values.items():
            called = f"{METRICS}{name}" if not above and name in _FIXED else f"{above}{name}"
            self._methods.setdefault(called, method)
            row[called] = value
        return row

    @property
    def names(self) -> list[str]:
        return list(self._methods)

    def metrics(self) -> tuple[FrameColumn, ...]:
        """The columns, of metrics."""
        return tuple(
            metric_column(name, name.removeprefix(METRICS), method)
            for name, method in self._methods.items()
        )


_FIXED = {column.name for name in ("runs", "epochs") for column in FRAMES[name]}


def typed(
    pattern: FrameColumn, names: Iterable[str], rows: list[dict[str, Any]]
) -> tuple[FrameColumn, ...]:
    """The columns of settings: numbers where all are, else text; the rows' values become that."""
    found = []
    for name in names:
        values = [row[name] for row in rows if row.get(name) is not None]
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        found.append(pattern.named(name, NUMBER if numbers and values else TEXT))
        for row in rows:
            value = row.get(name, ...)
            if value is ... or (value is None and pattern is PARAMETER):
                row[name] = None
            elif numbers and values:
                row[name] = None if value is None else float(value)
            else:
                whole = isinstance(value, str)
                row[name] = value if whole else json.dumps(value, ensure_ascii=False)
    return tuple(found)
