"""A table as text, Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable

from supclap_platform.metrics import full_name
from supclap_platform.results.tables import Entry, Table, shown
from supclap_platform.results.text import aligned, escaped, pipes

WIDTH = 100  # of the notes below a text table
PAPER = "paper"  # heads the published number beside ours


def as_text(table: Table) -> str:
    """Aligned columns for a terminal; ``*`` marks the best."""
    grid = [_heads(table, str)]
    grid += _body(table, lambda text, best: f"{text} *" if best else text)
    notes = [line for note in table.notes for line in textwrap.wrap(note, WIDTH)]
    return "\n".join([table.title, "", *aligned(grid), "", *notes]) + "\n"


def as_markdown(table: Table) -> str:
    """A Markdown table, the notes, and the runs behind each row."""
    heads = _heads(table, escaped)
    lines = [f"**{escaped(table.title)}**", "", pipes(heads), pipes(["---"] * len(heads))]
    lines += [
        pipes([escaped(line[0]), *line[1:]])
        for line in _body(table, lambda text, best: f"**{text}**" if best else text)
    ]
    lines += [
        "",
        *(f"- {escaped(note)}" for note in table.notes),
        "",
        "Runs (seed: signature):",
        "",
    ]
    for row in table.rows:
        runs = ", ".join(f"{run.seed}: `{run.signature}` {run.state}" for run in row.runs)
        lines.append(f"- {escaped(row.variant)}: {runs}")
    return "\n".join(lines) + "\n"


def as_csv(table: Table) -> str:
    """One line for each row and column, at full precision, with the runs behind it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [
        "experiment",
        "variant",
        "column",
        "metric",
        "mean",
        "std",
        "runs",
        "runs_wanted",
        "best",
    ]
    writer.writerow([*names, "published", "values", "signatures", "states"])
    for row in table.rows:
        for column, entry in zip(table.columns, row.entries, strict=True):
            summary = entry.summary
            writer.writerow(
                [
                    table.experiment,
                    row.variant,
                    column.name,
                    full_name(column.metric),
                    "" if summary is None else repr(summary.mean),
                    "" if summary is None or summary.std is None else repr(summary.std),
                    len(entry.values),
                    entry.wanted,
                    "yes" if entry.best else "no",
                    "" if entry.published is None else repr(entry.published),
                    " ".join(f"{seed}:{value!r}" for seed, value in entry.values),
                    " ".join(f"{run.seed}:{run.signature}" for run in row.runs),
                    " ".join(
                        f"{run.seed}:{run.state}".replace("to run", "to_run") for run in row.runs
                    ),
                ]
            )
    return out.getvalue()


def as_latex(table: Table) -> str:
    """A booktabs table; the runs behind each row stand in comments."""
    heads = _heads(table, _tex)
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_tex(' '.join([_sentence(table.title), *table.notes]))}}}",
        f"\\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        "\\toprule",
        " & ".join(heads) + " \\\\",
        "\\midrule",
    ]
    body = _body(table, lambda t, best: f"\\textbf{{{_tex(t)}}}" if best else _tex(t))
    for row, line in zip(table.rows, body, strict=True):
        runs = ", ".join(f"{run.seed}: {run.signature} {run.state}" for run in row.runs)
        lines.append(" & ".join([_tex(line[0]), *line[1:]]) + f" \\\\ % {runs}")
    lines += ["\\bottomrule", "\\end{tabular}", "\\end{table}"]
    return "\n".join(lines) + "\n"


FORMATS: dict[str, Callable[[Table], str]] = {
    "txt": as_text,
    "md": as_markdown,
    "csv": as_csv,
    "tex": as_latex,
}


def _heads(table: Table, escape: Callable[[str], str]) -> list[str]:
    heads = [""]
    for column, published in zip(table.columns, table.with_published, strict=True):
        heads += [escape(column.name), PAPER] if published else [escape(column.name)]
    return heads


def _body(table: Table, mark: Callable[[str, bool], str]) -> list[list[str]]:
    lines = []
    for row in table.rows:
        line = [row.variant]
        for column, entry, published in zip(
            table.columns, row.entries, table.with_published, strict=True
        ):
            line.append(mark(shown(entry, column), entry.best))
            if published:
                line.append(_theirs(entry))
        lines.append(line)
    return lines


def _theirs(entry: Entry) -> str:
    return "–" if entry.published is None else f"{entry.published:g}"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


_TEX = {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "±": "$\\pm$",
    "–": "--",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
} | {sign: "\\" + sign for sign in "&%$#_{}"}


def _tex(text: str) -> str:
    return "".join(_TEX.get(sign, sign) for sign in text)
