"""CSV that a spreadsheet opens as what it is: text never runs as a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

FORMULA = ("=", "+", "-", "@", "\t", "\n")  # what a cell begins with that is computed


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV. A text that a spreadsheet would compute stands behind an apostrophe, which it
    shows as text; numbers stay as they are."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([_plain(one) for one in row] for row in rows)
    return out.getvalue()


def _plain(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = str(value).replace("\r\n", "\n").replace("\r", "\n")  # alone, csv would not quote it
    return f"'{text}" if text.startswith(FORMULA) and not _number(text) else text


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
