"""What a study has found, as the ledger keeps it: its finished trials from best to worst."""

from __future__ import annotations

from supclap_platform.search.study import Book
from supclap_platform.search.winner import (
    Findings,
    Ranked,
    rank,
    search_digest,
    whole_setting,
)


def ranked(book: Book) -> list[Ranked]:
    """The finished trials of a study, best first."""
    found = [
        Ranked(trial.number, whole_setting(book.search, trial.params), list(trial.values))
        for trial in book.finished()
    ]
    return rank(found, book.search.objectives)


def findings_of(book: Book) -> Findings:
    """What a study has found so far."""
    return Findings(
        search=search_digest(book.trials.experiment),
        objectives=[str(objective) for objective in book.search.objectives],
        best=ranked(book),
        trials=len(book.over()),
        left=book.left,
    )
