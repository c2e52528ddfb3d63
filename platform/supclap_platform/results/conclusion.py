"""What an experiment says at its end, all from the ledger: table, verdicts, figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from supclap.progress import activity
from supclap.storage import Folder
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.records import State
from supclap_platform.results.evidence import Evidence
from supclap_platform.results.formats import FORMATS, rendered
from supclap_platform.results.table import Table
from supclap_platform.results.tables import build_table

if TYPE_CHECKING:
    from supclap_platform.results.verdicts import Outcome, Verdict


@dataclass(frozen=True)
class Conclusion:
    """A table and the verdicts on the claims; no verdicts where the file has no claims."""

    experiment: Experiment
    evidence: Evidence
    table: Table
    verdicts: tuple[Verdict, ...]

    @property
    def name(self) -> str:
        return self.experiment.name

    @property
    def runs(self) -> tuple[int, int]:
        """How many of the runs behind the table are done, and how many there are."""
        states = {run.signature: run.state for row in self.table.rows for run in row.runs}
        return sum(state is State.DONE for state in states.values()), len(states)

    def count(self, outcome: Outcome) -> int:
        """How many verdicts have that outcome."""
        return sum(one.outcome is outcome for one in self.verdicts)

    def text(self, form: str = "txt") -> str:
        """The table, then the verdicts where the format has them and two can stand in one text."""
        shown = FORMATS[form](self.table)
        if not self.verdicts or form not in ("txt", "md"):
            return shown
        from supclap_platform.results.verdict_formats import VERDICT_FORMATS

        return f"{shown}\n{VERDICT_FORMATS[form](self.verdicts)}"

    @cached_property
    def files(self) -> Mapping[str, bytes]:
        """Every format of both, by file name."""
        files = rendered(self.table)
        if self.verdicts:
            from supclap_platform.results.verdict_formats import verdict_files

            files |= verdict_files(self.verdicts)
        return files

    def write(self, folder: Folder) -> list[str]:
        """Writes the files; verdicts on claims that the file no longer makes are removed."""
        for name in folder.names():
            if name.startswith("verdicts") and name not in self.files:
                folder.delete(name)
        folder.write_all(self.files)
        return [folder.uri_of(name) for name in self.files]


def concluded(
    experiment: Experiment,
    ledger: Ledger,
    mixed: bool = False,
    cells: Sequence[Cell] | None = None,
) -> Conclusion:
    """The conclusion from what the ledger holds now, without a word on the terminal meanwhile.

    Args:
        mixed: as `build_table` has it, and so are the errors.
        cells: all of the experiment's, where they are known already.
    """
    evidence = Evidence(experiment, ledger, cells)
    table = build_table(experiment, ledger, mixed, evidence.cells)
    if not experiment.claims:
        return Conclusion(experiment, evidence, table, ())
    from supclap_platform.results.verdicts import judge  # SciPy takes a second to import

    return Conclusion(experiment, evidence, table, judge(experiment, ledger, evidence))


# As `concluded`; a terminal shows that it lasts.
conclude = activity("making the table and the verdicts")(concluded)


def conclude_parts(
    experiment: Experiment,
    ledger: Ledger,
    mixed: bool = False,
    cells: Sequence[Cell] | None = None,
) -> tuple[Conclusion, ...]:
    """The conclusion of each part of an experiment that includes others, else its own.

    ``cells``: as `concluded` has them, of the whole experiment.
    """
    if experiment.parts:
        return tuple(conclude(part, ledger, mixed) for part in experiment.parts)
    return (conclude(experiment, ledger, mixed, cells),)
