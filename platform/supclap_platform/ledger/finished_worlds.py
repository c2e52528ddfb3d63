"""Made clips in the cache of this machine that no cell of a storage needs any more."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path

from supclap.errors import InputError
from supclap.run_files import CONFIG
from supclap_platform.experiment.supclap_method import SUPCLAP
from supclap_platform.ledger.history import Histories
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.names import EXPERIMENTS
from supclap_platform.ledger.records import Known, State


def finished_worlds(ledger: Ledger, there: Collection[Path]) -> set[Path]:
    """Those that finished cells have had and that no cell still needs which the last run of an
    experiment has asked for.

    A cell that has not begun has left no configuration. Where each seed of an experiment has worlds
    of its own, it is taken to need those of its seed, else all that any cell of the experiment has
    had.

    Args:
        there: what is made and kept in the cache.
    """
    if not there:
        return set()
    overview = ledger.overview()
    made: dict[str, set[Path]] = {}  # of cells that have left a configuration
    for signature in overview.states:
        places = _made(ledger, signature)
        if places is not None:
            made[signature] = places & set(there)
    done = {s for s in made if overview.of(s) is State.DONE}
    needed = {place for s in made.keys() - done for place in made[s]}
    for cells in _asked(ledger):
        by_seed: dict[int, set[Path]] = {}
        for cell in cells:
            by_seed.setdefault(cell.seed, set()).update(made.get(cell.signature, ()))
        had = [places for places in by_seed.values() if places]
        own = len(had) > 1 and sum(map(len, had)) == len(set().union(*had))
        left = {c.seed for c in cells if overview.of(c.signature) is not State.DONE}
        for seed, places in by_seed.items():
            if seed in left or (left and not own):
                needed |= places
    return {place for signature in done for place in made[signature]} - needed


def _asked(ledger: Ledger) -> Iterator[list[Known]]:
    """The cells of each experiment, under all profiles: of its last runs; of all its runs where
    none of them was followed."""
    histories = Histories(ledger)
    for name in ledger.storage.names(EXPERIMENTS):
        last = [cell for history in histories.of(name) for cell in history.cells]
        yield last or [cell for _, cell in ledger.asked(name)]


def _made(ledger: Ledger, signature: str) -> set[Path] | None:
    """Where the cache has, or had, what was made for a cell; None where its configuration is not
    there, or needs code of the user's to be read."""
    try:
        values = json.loads(ledger.folder(signature).read(CONFIG))
        return set(SUPCLAP.made(SUPCLAP.parse_stored(values, signature)))
    except (OSError, ValueError, InputError):
        return None
