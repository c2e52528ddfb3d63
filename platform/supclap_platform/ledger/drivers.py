"""Who drives an experiment right now: each `supclap run` holds a lease beside its results.

A driver's lease shuts nobody out: several runs of one experiment share its cells. Removing it is
how `supclap stop` asks the driver to stop, from any machine that sees the storage.
"""

from __future__ import annotations

from datetime import datetime

from supclap_platform.ledger.leases import Lease, LeaseName, alive, hold, leases_in
from supclap_platform.ledger.ledger import Ledger

FOLDER = "drivers"
HEARTBEAT = 2.0  # seconds; also how long a request to stop may go unnoticed


def announce(ledger: Ledger, experiment: str) -> Lease:
    """This process as a driver; ``lost`` becomes true when it is asked to stop."""
    return hold(ledger.experiment_folder(experiment).below(FOLDER), HEARTBEAT)


def drivers_of(ledger: Ledger, experiment: str) -> list[LeaseName]:
    """The live drivers of an experiment."""
    found = leases_in(ledger.experiment_folder(experiment).below(FOLDER))
    return [name for name, beat in found.items() if alive(name, beat)]


def own_beat(ledger: Ledger, experiment: str) -> datetime | None:
    """The last heartbeat of this process as a driver, on the storage's clock; None of another.
    Raises OSError."""
    own = LeaseName.own()
    found = leases_in(ledger.experiment_folder(experiment).below(FOLDER))
    mine = (beat for name, beat in found.items() if (name.host, name.pid) == (own.host, own.pid))
    return max(mine, default=None)


def ask_to_stop(ledger: Ledger, experiment: str) -> list[LeaseName]:
    """Asks every live driver of an experiment to stop; returns those asked."""
    folder = ledger.experiment_folder(experiment).below(FOLDER)
    asked = drivers_of(ledger, experiment)
    for name in asked:
        folder.delete(str(name))
    return asked
