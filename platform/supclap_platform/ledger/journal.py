"""What an experiment has said so far, moment by moment: its rows' numbers and its counts.

    <storage>/experiments/<name>/parents/<digest>/journal.json

MLflow's runs of rows, and of the experiment itself, show it. As it is kept here, a store that is
made anew shows the same points at the same times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

from supclap.storage import Folder
from supclap.stored import Count, as_kind, read_values, sealed

JOURNAL = "journal.json"
EXPERIMENT = ""  # what lines on the experiment as a whole are of


@dataclass(frozen=True)
class Account:
    """What an experiment says at a moment, in words and counts.

    note: Markdown: the question, the verdicts, the table, what to do next. counts: how many claims
    have which verdict.
    """

    note: str
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """The numbers that changed at a moment. ``of``: a row, or the experiment."""

    time: Count  # milliseconds since 1970
    of: str
    values: dict[str, float]


@dataclass(frozen=True)
class Journal:
    """The account as it was given last, and every line, in the order of their times."""

    account: Account | None = None
    lines: tuple[Line, ...] = ()

    @cached_property
    def _by_row(self) -> dict[str, list[Line]]:
        """The lines by what they are of: experiments have thousands of rows."""
        found: dict[str, list[Line]] = {}
        for line in self.lines:
            found.setdefault(line.of, []).append(line)
        return found

    def of(self, row: str) -> list[Line]:
        """The lines of a row, or of the experiment."""
        return self._by_row.get(row, [])

    def now(self, of: str) -> dict[str, float]:
        """The latest numbers of a row, or of the experiment."""
        found: dict[str, float] = {}
        for line in self.of(of):
            found |= line.values
        return found

    def noted(self, numbers: Mapping[str, Mapping[str, float]], time: int) -> Journal:
        """With what differs from the latest numbers noted, after every other line.

        A number that there is no longer becomes NaN: MLflow cannot take one back.

        Args:
            numbers: of rows, or of the experiment.
        """
        lines = list(self.lines)
        for of, given in numbers.items():
            before = self.now(of)
            values = dict.fromkeys(before, float("nan")) | dict(given)
            # A NaN is unlike itself, and still no news.
            changed = {
                n: v for n, v in values.items() if n not in before or not _alike(v, before[n])
            }
            if changed:
                last = lines[-1].time if lines else 0
                lines.append(Line(max(time, last + 1), of, changed))
        return self if len(lines) == len(self.lines) else replace(self, lines=tuple(lines))


def _alike(one: float, other: float) -> bool:
    return one == other or (one != one and other != other)


def read_journal(folder: Folder) -> Journal:
    """The journal in a history's folder; an empty one where there is none. Raises Damaged."""
    try:
        return as_kind(read_values(folder, JOURNAL), Journal, folder.uri_of(JOURNAL))
    except FileNotFoundError:
        return Journal()


def write_journal(folder: Folder, journal: Journal) -> None:
    """Keeps the journal. Raises OSError."""
    folder.write(JOURNAL, sealed(asdict(journal)))
