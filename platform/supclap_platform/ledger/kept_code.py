"""The user's code as an experiment's last run has had it: which of `<storage>/code/` it is.

<storage>/experiments/<name>/code.json   the hash (`supclap.user_code.travel`)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from supclap.storage import Folder
from supclap.stored import as_kind, read_values, sealed
from supclap.user_code import UserCode, stored
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.own_code import Kept
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.names import EXPERIMENTS

KEPT = "code.json"


@dataclass(frozen=True)
class _Kept:
    code: str


def keep_code(experiment: Experiment, ledger: Ledger) -> None:
    """Keeps what an experiment's file and its parts run, before any cell is started."""
    for one in (experiment, *experiment.parts):
        if one.code:
            one.code.write(ledger.storage)
            named = sealed({"code": one.code.hash})
            ledger.experiment_folder(one.name).write(KEPT, named)


def kept_in(place: str | Path) -> Kept:
    """Where `load_experiment` looks for a file that does not lie beside the experiment's:
    ``CodePolicy(kept=kept_in("supclap-results"))``."""
    return lambda experiment: kept_code(Folder.at(place), experiment)


def kept_code(storage: Folder, experiment: str) -> UserCode:
    """What `keep_code` has kept last of an experiment; nothing is run.

    Raises:
        InputError: it is not what was written.
    """
    folder = storage.below(f"{EXPERIMENTS}/{experiment}")
    try:
        values = read_values(folder, KEPT)
    except FileNotFoundError:
        return UserCode()
    return stored(storage, as_kind(values, _Kept, folder.uri_of(KEPT)).code)
