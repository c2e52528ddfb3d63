"""What a study has found: its finished trials from the best to the worst, kept in the ledger."""

from __future__ import annotations

from supclap_platform.ledger.ledger import Ledger
from supclap_platform.search.study import Book
from supclap_platform.search.winner import (
    Findings,
    Ranked,
    rank,
    search_digest,
    whole_setting,
    write_findings,
)


def ranked(book: Book) -> list[Ranked]:
    """The finished trials of a study, best first."""
    found = [
        Ranked(trial.number, whole_setting(book.search, trial.params), list(trial.values))
        for trial in book.finished()
    ]
    return rank(found, book.search.objectives)


def keep_findings(book: Book, ledger: Ledger, ended: bool = True) -> Findings:
    """Writes down what a study has found so far, or where it has ended for good."""
    experiment = book.trials.experiment
    findings = Findings(
        search=search_digest(experiment),
        objectives=[str(objective) for objective in book.search.objectives],
        best=ranked(book),
        trials=len(book.over()),
        left=book.left,
    )
    write_findings(experiment, findings, ledger, ended)
    return findings
