"""Where cells stand, from a listing of their folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from supclap.run_files import EVENTS, MODEL, MODEL_INDEX, POINTER, RANKS, RESULT
from supclap.s3 import Listed
from supclap_platform.ledger.leases import alive
from supclap_platform.ledger.names import EARLY, FAILURE
from supclap_platform.ledger.records import Overview, State
from supclap_platform.ledger.terms import Terms


def overview_of(found: Mapping[str, Terms]) -> Overview:
    """The states of cells from their terms, by signature."""
    beats = {
        signature: {name: beat for name, beat in terms.leases().items() if alive(name, beat)}
        for signature, terms in found.items()
    }
    states = {s: _state(terms, bool(beats[s])) for s, terms in found.items()}
    files = {
        f"{signature}/{name}": listed
        for signature, terms in found.items()
        for name, listed in _files(terms)
    }
    running = {s: next(iter(beats[s])) for s in beats if states[s] is State.RUNNING}
    return Overview(states, running, files)


def _files(terms: Terms) -> Iterator[tuple[str, Listed]]:
    """The files of a cell, and those of its run, that say where it stands, by their own names."""
    place = terms.present
    model = f"{MODEL}/{MODEL_INDEX}"
    run = (RESULT, EVENTS, RANKS, model) if terms.finished is not None else (EVENTS,)
    for name in run:
        if (listed := terms.files.get(f"{place}/{name}" if place else name)) is not None:
            yield name, listed
    for name in (FAILURE, EARLY):
        if (listed := terms.files.get(name)) is not None:
            yield name, listed


def _state(terms: Terms, leased: bool) -> State:
    if terms.finished is not None:
        return State.DONE
    if leased:
        return State.RUNNING
    if FAILURE in terms.files:
        return State.FAILED
    return State.RESUMABLE if terms.last_with(POINTER) is not None else State.TO_RUN
