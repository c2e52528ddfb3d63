"""What the parts of an including experiment say together: every claim, and what is missing."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from supclap.csv_text import csv_text
from supclap.storage import Folder
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.results.conclusion import Conclusion
from supclap_platform.results.formats import WIDTH
from supclap_platform.results.text import aligned, escaped, pipes
from supclap_platform.results.verdict_formats import (
    HEADS,
    columns_of,
    grid_of,
    outcomes_of,
    values_of,
    words_of,
)


@dataclass(frozen=True)
class Summary:
    """The parts in the file's order, each concluded as if it had been run by itself."""

    title: str
    parts: tuple[Conclusion, ...]
    without: str = ""  # which files have no part in the profile

    @property
    def gaps(self) -> list[str]:
        """What is missing, each with its part."""
        found = [f"{part.name}: {gap}" for part in self.parts for gap in part.table.gaps]
        return [*found, self.without] if self.without else found

    def text(self, form: str = "txt") -> str:
        """Every part as it would be shown by itself, then all together where the format can."""
        shown = [part.text(form) for part in self.parts]
        if form == "csv":
            head = shown[0].partition("\n")[0] + "\n"
            return head + "".join(text.partition("\n")[2] for text in shown)
        if form in SUMMARY_FORMATS:
            shown.append(SUMMARY_FORMATS[form](self))
        return "\n".join(shown)

    @cached_property
    def files(self) -> Mapping[str, bytes]:
        """Every format of what the parts say together, by file name."""
        return {f"verdicts.{end}": render(self).encode() for end, render in SUMMARY_FORMATS.items()}

    def write(self, folder: Folder) -> list[str]:
        """Writes the files to the folder of the including experiment."""
        folder.write_all(self.files)
        return [folder.uri_of(name) for name in self.files]


def summarise(experiment: Experiment, parts: Sequence[Conclusion]) -> Summary:
    """What the conclusions of an including experiment's parts say together."""
    return Summary(experiment.about or experiment.name, tuple(parts), experiment.without)


def summary_as_text(summary: Summary) -> str:
    """Counts for each part, every claim with its verdict, what is missing."""
    lines = [summary.title, "", *aligned(_counts(summary)), ""]
    claims = _claims(summary)
    if claims:
        lines += [*aligned(claims), ""]
    if summary.gaps:
        lines += ["What is missing:", ""]
        lines += [line for gap in summary.gaps for line in textwrap.wrap(gap, WIDTH)]
        lines.append("")
    lines += textwrap.wrap(_ON_CORRECTION, WIDTH)
    return "\n".join(lines) + "\n"


def summary_as_markdown(summary: Summary) -> str:
    """The same in Markdown."""
    heads, *rows = _counts(summary)
    lines = [f"**{escaped(summary.title)}**", "", pipes(heads), pipes(["---"] * len(heads))]
    lines += [pipes([escaped(cell) for cell in row]) for row in rows]
    claims = _claims(summary)
    if claims:
        heads, *rows = claims
        lines += ["", pipes(heads), pipes(["---"] * len(heads))]
        lines += [pipes([escaped(cell) for cell in cells]) for cells in rows]
    if summary.gaps:
        lines += ["", "What is missing:", "", *(f"- {escaped(gap)}" for gap in summary.gaps)]
    return "\n".join([*lines, "", _ON_CORRECTION]) + "\n"


def summary_as_csv(summary: Summary) -> str:
    """One line for each claim, as a part's own verdicts.csv has it, with the part's name."""
    found = [(part.name, one) for part in summary.parts for one in part.verdicts]
    columns = columns_of(one for _, one in found)
    rows = [[name, *values_of(one)[: len(columns)]] for name, one in found]
    return csv_text([["experiment", *columns], *rows])


SUMMARY_FORMATS: dict[str, Callable[[Summary], str]] = {
    "txt": summary_as_text,
    "md": summary_as_markdown,
    "csv": summary_as_csv,
}
_HEADS = ("", "verdict", "effect", "adjusted", "95 % interval", "corrected", "seeds", "claim")
_ON_CORRECTION = (
    "The claims of each experiment are corrected for among themselves (Holm), as each asks a "
    "question of its own; no correction is made over all experiments together."
)


def _counts(summary: Summary) -> list[list[str]]:
    """A line for each part and one for all: verdicts by outcome, runs done of those declared."""
    outcomes = outcomes_of(one for part in summary.parts for one in part.verdicts)
    rows = [["", *map(str, outcomes), "runs done"]]
    for part in summary.parts:
        done, wanted = part.runs
        counts = [str(part.count(outcome)) for outcome in outcomes]
        rows.append([part.name, *counts, f"{done}/{wanted}"])
    totals = [str(sum(part.count(outcome) for part in summary.parts)) for outcome in outcomes]
    return [*rows, ["all", *totals, _distinct(summary.parts)]]


def _distinct(parts: Sequence[Conclusion]) -> str:
    """Runs that several parts share count once."""
    states = {
        run.signature: run.state for part in parts for row in part.table.rows for run in row.runs
    }
    return f"{sum(state == 'done' for state in states.values())}/{len(states)}"


def _claims(summary: Summary) -> list[list[str]]:
    """A head, and a line for each claim; the name of an experiment stands in its first. Empty
    where there are none."""
    every = [one for part in summary.parts for one in part.verdicts]
    if not every:
        return []
    shown = grid_of(every)[0]
    heads = [head for head in _HEADS if head in shown]
    lines = [heads]
    for part in summary.parts:
        for place, one in enumerate(part.verdicts, 1):
            own = dict(zip(HEADS, words_of(place, one), strict=True))
            lines.append([part.name if place == 1 else "", *(own[head] for head in heads[1:])])
    return lines
