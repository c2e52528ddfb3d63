"""Where a cell's run stands: below a row of the table, below the search, or below a stage."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from supclap_platform.experiment.cells import INIT
from supclap_platform.ledger.history import SEARCH, History
from supclap_platform.ledger.known_table import KnownColumn, KnownRow, KnownTable, row_of
from supclap_platform.ledger.plan import TRIAL
from supclap_platform.ledger.records import Known
from supclap_platform.mirror.content import FAILED, FINISHED, KILLED, RUNNING

KIND = "kind"  # tag: which of these a run is
OF_EXPERIMENT, OF_ROW, OF_SEARCH, OF_STAGE, OF_CELL = "experiment", "row", "search", "stage", "cell"
OF_EARLIER = "earlier"  # a row that the file no longer has
ALIKE = 20  # signs that MLflow shows of a name in a column as it first opens


@dataclass(frozen=True)
class Group:
    """What cells are gathered under: a row (or what was one), the search, or a stage."""

    kind: str
    name: str


class Layout:
    """Which group each cell of a history belongs to, and what each group is called.

    Args:
        cells: every cell that any of its runs has asked for.
    """

    def __init__(self, history: History, cells: Sequence[Known]) -> None:
        self._searches = SEARCH in history.tags
        self._rows = {row.name: (table, row) for table in history.tables for row in table.rows}
        self.groups = dict.fromkeys(self.group(cell) for cell in cells)
        self.names = telling_names([group.name for group in self.groups])

    def group(self, cell: Known) -> Group:
        """The group that a cell belongs to."""
        name = row_of(cell)
        if name not in self._rows:
            if self._searches and name.startswith(TRIAL):
                return Group(OF_SEARCH, OF_SEARCH)
            if name.rpartition(": ")[2] == INIT:
                return Group(OF_STAGE, name)
            if self._rows:
                return Group(OF_EARLIER, name)
        return Group(OF_ROW, name)

    def row(self, group: Group) -> tuple[KnownTable, KnownRow] | None:
        """The row of the table, and its table; None for what the table does not have (now)."""
        return self._rows.get(group.name) if group.kind == OF_ROW else None

    def columns(self, cell: Known) -> tuple[KnownColumn, ...]:
        """The columns of the table that a cell is in."""
        found = self.row(self.group(cell))
        return found[0].columns if found else ()

    def params(self, cell: Known) -> dict[str, str]:
        """What tells a cell's row from others."""
        found = self.row(self.group(cell))
        return dict(found[1].params) if found else {}

    def cell_name(self, cell: Known) -> str:
        """How a cell's run is called: what differs below its group comes first."""
        if self.group(cell).kind == OF_SEARCH:
            return f"{cell.variant}, seed {cell.seed}"
        return f"seed {cell.seed}, {cell.variant}"


def telling_names(names: Iterable[str]) -> dict[str, str]:
    """Each name as MLflow shows it. Of names that begin alike MLflow shows the same first signs:
    what differs in them stands first, then the whole name."""
    shown: dict[str, str] = {}
    by_start: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        by_start.setdefault(name[:ALIKE], []).append(name)
    for alike in by_start.values():
        begin = _common(min(alike), max(alike)) if len(alike) > 1 else ""
        words = re.match(r".*[\s=,;:/]", begin, re.DOTALL)  # not within a word or a number
        for name in alike:
            rest = name[words.end() if words else 0 :]
            shown[name] = f"{rest} | {name}" if words and rest else name
    return shown


def _common(one: str, other: str) -> str:
    """What two names begin with; of the first and the last of many, what all begin with."""
    pairs = zip(one, other, strict=False)
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def status_of_group(statuses: Sequence[str], whole: bool, driving: bool) -> str:
    """The status of a group's run.

    Args:
        statuses: of its cells' runs.
        whole: whether every cell that is asked for has one.
        driving: whether this process is about to run what is left.
    """
    if RUNNING in statuses or (driving and not whole):
        return RUNNING
    if FAILED in statuses:
        return FAILED
    return FINISHED if whole and set(statuses) <= {FINISHED} else KILLED
