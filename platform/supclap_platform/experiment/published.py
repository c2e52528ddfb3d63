"""The paper's own numbers, to stand beside ours (data file: published.yaml, with its source)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

from supclap.errors import InputError, nearest


@dataclass(frozen=True)
class PublishedTable:
    """One table of the paper: row name -> one value for each column, in percent unless said."""

    name: str
    about: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[float, ...]]

    def value(self, row: str, column: str) -> float | None:
        """A published number, or None where the paper (or what is known of it) has none."""
        if row not in self.rows or column not in self.columns:
            return None
        return self.rows[row][self.columns.index(column)]


def published_table(name: str) -> PublishedTable:
    """A table by name. Raises InputError with the nearest one where there is none."""
    tables = _tables()
    if name not in tables:
        raise InputError(
            f"no published table '{name}'{nearest(name, tables)} (valid: {', '.join(tables)})"
        )
    return tables[name]


def source() -> str:
    """Where the numbers are from."""
    return str(_content()["source"])


@cache
def _content() -> dict:
    text = files("supclap_platform.results").joinpath("published.yaml").read_text("utf-8")
    content: dict = yaml.safe_load(text)
    return content


@cache
def _tables() -> dict[str, PublishedTable]:
    return {
        name: PublishedTable(
            name,
            table["about"],
            tuple(table["columns"]),
            {row: tuple(values) for row, values in table["rows"].items()},
        )
        for name, table in _content()["tables"].items()
    }
