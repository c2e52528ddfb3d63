"""A comparison as text, Markdown, JSON and HTML."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from markupsafe import Markup

from supclap_platform.results.comparison import Change, Comparison, Line
from supclap_platform.results.formats import WIDTH
from supclap_platform.results.inference import CONFIDENCE, LEVEL
from supclap_platform.results.pages import policy_hash, resource, template
from supclap_platform.results.text import NONE, aligned, escaped, p_text, pipes

SIGNS = {
    Change.WORSE: "✗",
    Change.BETTER: "✓",
    Change.DIFFERENT: "≠",
    Change.UNDECIDED: "?",
    Change.EQUAL: "≈",
}


def comparison_as_text(one: Comparison) -> str:
    """For a terminal: what it comes to, a verdict on each column, a line for each row and column,
    and what must be known."""
    rest = [line for note in notes_of(one) for line in wrapped(note)]
    parts = [
        [summary_of(one)],
        [f"A  {one.a}", f"B  {one.b}"],
        aligned(column_grid(one)),
        aligned(line_grid(one)),
        rest,
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def wrapped(note: str) -> list[str]:
    """A note as the lines of a list."""
    return textwrap.wrap(note, WIDTH, initial_indent="- ", subsequent_indent="  ")


def comparison_as_markdown(one: Comparison) -> str:
    """The same in Markdown: a pull request's comment, a step's summary."""
    lines = [f"**{escaped(summary_of(one))}**", "", f"- A: {escaped(one.a)}"]
    lines += [f"- B: {escaped(one.b)}"]
    for grid in (column_grid(one), line_grid(one)):
        heads, *rows = grid
        lines += ["", pipes(heads), pipes(["---"] * len(heads))]
        lines += [pipes([escaped(cell) for cell in row]) for row in rows]
    return "\n".join([*lines, "", *(f"- {escaped(note)}" for note in notes_of(one))]) + "\n"


def comparison_as_json(one: Comparison) -> str:
    """For programs: numbers as they are, null where there is none."""
    values = {
        "a": one.a,
        "b": one.b,
        "regression": one.regression,
        "summary": summary_of(one),
        "level": LEVEL,
        "confidence": CONFIDENCE,
        "columns": [
            {
                "column": verdict.column.name,
                "metric": verdict.column.measure.name,
                "low_is_good": verdict.column.measure.low,
                "verdict": str(verdict.change),
                "lines": {str(change): count for change, count in verdict.counts.items()},
            }
            for verdict in one.columns
        ],
        "lines": [_values(line) for line in one.lines],
        "notes": list(one.notes),
    }
    return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def comparison_as_html(one: Comparison) -> str:
    """One page that needs nothing but itself."""
    style = resource("report.css") + resource("compare.css")
    return template("compare.html").render(
        title=f"{one.a} → {one.b}",
        one=one,
        summary=summary_of(one),
        columns=[(SIGNS[v.change], v, *cells) for v, cells in _by_column(one)],
        heads=line_grid(one)[0],
        lines=[(SIGNS[line.change], line, words_of(line, one)) for line in one.lines],
        notes=notes_of(one),
        style=Markup(style),
        style_hash=policy_hash(style),
    )


COMPARISON_FORMATS: dict[str, Callable[[Comparison], str]] = {
    "txt": comparison_as_text,
    "md": comparison_as_markdown,
    "json": comparison_as_json,
    "html": comparison_as_html,
}


def summary_of(one: Comparison) -> str:
    """What it comes to, in a sentence."""
    lines = len(one.lines)
    counts = {change: sum(line.change is change for line in one.lines) for change in Change}
    found = ", ".join(f"{count} {change}" for change, count in counts.items() if count)
    word = "No regression"
    if one.regression:
        worse = [v.column.name for v in one.columns if v.change is Change.WORSE]
        word = f"Regression in {', '.join(worse)}"
    return f"{word}: of {lines} {'line' if lines == 1 else 'lines'} {found}"


def column_grid(one: Comparison) -> list[list[str]]:
    """A verdict on each column, and what it rests on; the first line are heads."""
    return [["column", "verdict", "its lines"], *([v.column.name, *c] for v, c in _by_column(one))]


def _by_column(one: Comparison) -> list[tuple[Any, tuple[str, str]]]:
    return [
        (v, (str(v.change), ", ".join(f"{count} {change}" for change, count in v.counts.items())))
        for v in one.columns
    ]


def line_grid(one: Comparison) -> list[list[str]]:
    """A line for each row and column; the first are heads."""
    over = ["95 % interval", "queries"] if one.of_models else ["95 % interval", "seeds", "queries"]
    more = [] if one.of_models else ["over queries too"]
    heads = ["row", "column", "A", "B", "B − A", *over, *more, "p", "corrected", "verdict"]
    return [heads, *(words_of(line, one) for line in one.lines)]


def words_of(line: Line, one: Comparison) -> list[str]:
    """What a line shows under each head of `line_grid`."""
    verdict = str(line.change)
    if line.change is Change.EQUAL and not line.same and line.within is not None:
        verdict = f"equal within {line.within:g}"
    number = NONE if line.queries is None else str(line.queries)
    return [
        line.row,
        line.column.name,
        _number(line, line.a),
        _number(line, line.b),
        _number(line, line.effect, sign=True),
        _interval(line, line.interval),
        *([] if one.of_models else [line.n]),
        number,
        *([] if one.of_models else [_interval(line, line.wide)]),
        p_text(line.p),
        p_text(line.corrected),
        verdict,
    ]


def notes_of(one: Comparison) -> list[str]:
    """What could not be judged and why, what is missing, and what the columns mean."""
    notes = []
    for line in one.lines:
        where = f"{line.row}, {line.column.name}"
        if line.reasons:
            notes.append(f"{where}: cannot be judged: {'; '.join(line.reasons)}")
        if line.remarks and not line.same:
            notes.append(f"{where}: {'; '.join(line.remarks)}")
    notes += _alike(one)
    return [*notes, *one.notes, *_legend(one)]


def _alike(one: Comparison) -> Iterable[str]:
    """Lines that ask nothing, by why."""
    found: dict[str, dict[str, None]] = {}
    for line in one.lines:
        if line.same:
            found.setdefault("; ".join(line.remarks), {})[line.row] = None
    for why, rows in found.items():
        count = sum(line.same and "; ".join(line.remarks) == why for line in one.lines)
        are = "line is" if count == 1 else "lines are"
        yield f"{count} {are} equal by {why}: {', '.join(rows)}"


def _legend(one: Comparison) -> Iterable[str]:
    asked = sum(not line.same for line in one.lines)
    what = (
        "p is of a t test over clips, all queries of one together"
        if one.of_models
        else "effects are means over seeds, paired seed by seed; p is of the t test over seeds"
    )
    yield (
        f"B − A; {what}, corrected over the {asked} lines that ask anything (Holm); a line is "
        f"decided where the corrected p is at most {LEVEL:g}. A column is worse where any of its "
        "rows is."
    )
    bounds = {line.column.name: line.within for line in one.lines if line.within is not None}
    if bounds:
        shown = ", ".join(f"{name} ±{bound:g}" for name, bound in bounds.items())
        yield f"equal: certainly within what does not matter, by two one-sided tests ({shown})"
    low = [v.column.name for v in one.columns if v.column.measure.ranked and v.column.measure.low]
    if low:
        yield f"a low number is the good one of {', '.join(low)}"
    neither = [v.column.name for v in one.columns if not v.column.measure.ranked]
    if neither:
        yield f"no value is the better one of {', '.join(neither)}"
    if not one.of_models and any(line.wide is not None for line in one.lines):
        yield (
            "the interval over seeds speaks of these test queries; that over queries too, a "
            "crossed bootstrap of the kept ranks, of others like them"
        )


def _values(line: Line) -> dict[str, Any]:
    return {
        "row": line.row,
        "column": line.column.name,
        "verdict": str(line.change),
        "a": line.a,
        "b": line.b,
        "effect": line.effect,
        "interval": line.interval,
        "p": line.p,
        "corrected": line.corrected,
        "seeds": list(line.seeds),
        "unpaired": line.unpaired,
        "queries": line.queries,
        "interval_over_queries_too": line.wide,
        "within": line.within,
        "same": line.same,
        "cannot_be_judged": list(line.reasons),
        "remarks": list(line.remarks),
    }


def _number(line: Line, value: float | None, sign: bool = False) -> str:
    if value is None:
        return NONE
    digits = max(2, line.column.measure.decimals)
    text = format(value, f"{'+' if sign else ''}.{digits}f")
    return text.replace("-", "−")


def _interval(line: Line, ends: tuple[float, float] | None) -> str:
    if ends is None:
        return NONE
    return "[" + ", ".join(_number(line, end, sign=True) for end in ends) + "]"
