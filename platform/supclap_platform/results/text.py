"""Pieces of text and Markdown that tables and verdicts share."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache

NONE = "–"  # in the place of a value that there is not
RUNS = 80  # that a line names: those of two rows with forty seeds


def pipes(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def escaped(text: str) -> str:
    """Text with Markdown's signs made plain."""
    for sign in "\\`*_|<>[]":
        text = text.replace(sign, "\\" + sign)
    return text


def runs_line(runs: Sequence[str], between: str = ", ") -> str:
    """Runs in a line; of a row with hundreds of seeds the first ones, as CSV has all."""
    shown = between.join(runs[:RUNS])
    return shown if len(runs) <= RUNS else f"{shown} and {len(runs) - RUNS} more, in the .csv file"


def p_text(value: float | None) -> str:
    """A p, four decimals."""
    if value is None:
        return NONE
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"


def width_of(text: str) -> int:
    """Columns that a terminal takes for a text."""
    return sum(map(_columns, text))


@cache  # of the few signs that there are; a table has thousands of rows
def _columns(sign: str) -> int:
    if unicodedata.combining(sign):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def padded(text: str, width: int) -> str:
    """Text filled up with spaces on the right."""
    return text + " " * (width - width_of(text))


def aligned(grid: Sequence[Sequence[str]]) -> list[str]:
    """Lines of aligned columns; the first, their heads, is underlined."""
    widths = [max(width_of(line[i]) for line in grid) for i in range(len(grid[0]))]
    lines = ["  ".join(padded(c, w) for c, w in zip(line, widths, strict=True)) for line in grid]
    heads, *rest = (line.rstrip() for line in lines)
    return [heads, "-" * max(width_of(line) for line in (heads, *rest)), *rest]
