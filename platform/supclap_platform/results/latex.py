"""A table as LaTeX, with booktabs and headings that span a group's and a column's figures."""

from __future__ import annotations

from collections.abc import Sequence

from supclap_platform.results.slots import Kind, Slot, blocks_of, parted, slots_of
from supclap_platform.results.table import Row, Table
from supclap_platform.results.text import runs_line

WIDEST = 10  # columns of figures in one tabular; what is wider is cut


def as_latex(table: Table) -> str:
    """A booktabs table; the runs behind each row stand in comments."""
    pieces = parted(slots_of(table), lambda columns: sum(map(len, columns)) <= WIDEST)
    # Code and data are for who makes the numbers again, not for who reads the paper.
    notes = [note for note in table.notes if note != table.made_with]
    lines = [
        *([f"% {table.made_with}"] if table.made_with else []),
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{tex(' '.join([_sentence(table.title), *notes]))}}}",
        *([f"\\label{{{table.label}}}"] if table.label else []),
    ]
    for place, piece in enumerate(pieces):
        lines += ["", "\\medskip"] if place else []
        lines += _tabular(table, piece)
    return "\n".join([*lines, "\\end{table}"]) + "\n"


def _tabular(table: Table, columns: list[list[Slot]]) -> list[str]:
    slots = [slot for column in columns for slot in column]
    lines = [
        f"\\begin{{tabular}}{{l{'r' * len(slots)}}}",
        "\\toprule",
        *_heads(columns),
        "\\midrule",
    ]
    for row in table.rows:
        texts = [tex(slot.text(row)) for slot in slots]
        marked = (
            f"\\textbf{{{t}}}" if s.best(row) else t for t, s in zip(texts, slots, strict=True)
        )
        lines.append(" & ".join([tex(row.name), *marked]) + f" \\\\ % {_runs(row, slots)}")
    return [*lines, "\\bottomrule", "\\end{tabular}"]


def _heads(columns: list[list[Slot]]) -> list[str]:
    lines = []
    blocks = blocks_of(columns)
    if blocks[0][0] is not None:
        spans = [(str(name), sum(map(len, block))) for name, block in blocks]
        lines += _spanning(spans)
    metrics = [(column[0].column.heading, len(column)) for column in columns]
    if all(span == 1 for _, span in metrics):
        return [*lines, _line([name for name, _ in metrics])]
    lines += _spanning(metrics)
    kinds = [str(slot.kind) for column in columns for slot in column]
    return [*lines, _line(["Δ" if kind == Kind.PAPER_DIFFERENCE else kind for kind in kinds])]


def _spanning(spans: Sequence[tuple[str, int]]) -> list[str]:
    cells, rules, at = [], [], 2
    for name, span in spans:
        cells.append(f"\\multicolumn{{{span}}}{{c}}{{{tex(name)}}}")
        rules.append(f"\\cmidrule(lr){{{at}-{at + span - 1}}}")
        at += span
    return [" & ".join(["", *cells]) + " \\\\", " ".join(rules)]


def _line(names: Sequence[str]) -> str:
    return " & ".join(["", *map(tex, names)]) + " \\\\"


def _runs(row: Row, slots: Sequence[Slot]) -> str:
    shown = {slot.column.group for slot in slots}
    found = []
    for group, runs in row.runs_of_groups():
        listed = runs_line([f"{run.seed}: {run.signature} {run.state}" for run in runs])
        if group in shown:
            found.append(listed if group is None else f"{group}: {listed}")
    return "; ".join(found)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


_TEX = {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "±": "$\\pm$",
    "−": "$-$",
    "Δ": "$\\Delta$",
    "–": "--",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "[": "{[}",  # at the head of a row it would belong to the end of the row before
    "*": "{*}",
} | {sign: "\\" + sign for sign in "&%$#_{}"}


def tex(text: str) -> str:
    """Text with LaTeX's signs made plain."""
    return "".join(_TEX.get(sign, sign) for sign in text)
