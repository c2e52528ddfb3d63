"""What an experiment says at its end, all from the ledger: table, verdicts, figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supclap.progress import activity
from supclap.storage import Folder
from supclap_platform.experiment.reader import Experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.formats import FORMATS
from supclap_platform.results.table import Table
from supclap_platform.results.tables import build_table

if TYPE_CHECKING:
    from supclap_platform.results.evidence import Evidence
    from supclap_platform.results.verdicts import Verdict


@dataclass(frozen=True)
class Conclusion:
    """A table and the verdicts on the claims; no verdicts where the file has no claims."""

    table: Table
    verdicts: tuple[Verdict, ...]

    def text(self, form: str = "txt") -> str:
        """The table, then the verdicts where the format has them and two can stand in one text."""
        shown = FORMATS[form](self.table)
        if not self.verdicts or form not in ("txt", "md"):
            return shown
        from supclap_platform.results.verdict_formats import VERDICT_FORMATS

        return f"{shown}\n{VERDICT_FORMATS[form](self.verdicts)}"

    def files(self) -> dict[str, bytes]:
        """Every format of both, by file name."""
        files = {f"table.{end}": render(self.table).encode() for end, render in FORMATS.items()}
        if self.verdicts:
            from supclap_platform.results.verdict_formats import verdict_files

            files |= verdict_files(self.verdicts)
        return files

    def write(self, folder: Folder) -> list[str]:
        """Writes the files; verdicts on claims that the file no longer makes are removed."""
        files = self.files()
        for name in folder.names():
            if name.startswith("verdicts") and name not in files:
                folder.delete(name)
        for name, content in files.items():
            folder.write(name, content)
        return [f"{folder.uri}/{name}" for name in files]


@activity("making the table and the verdicts")
def conclude(
    experiment: Experiment,
    ledger: Ledger,
    mixed: bool = False,
    evidence: Evidence | None = None,
) -> Conclusion:
    """The conclusion from what the ledger holds now, or from evidence that is at hand.

    Raises InputError as `build_table` does.
    """
    table = build_table(experiment, ledger, mixed, evidence.cells if evidence else None)
    if not experiment.claims:
        return Conclusion(table, ())
    from supclap_platform.results.verdicts import judge  # SciPy takes a second to import

    return Conclusion(table, judge(experiment, ledger, evidence))
