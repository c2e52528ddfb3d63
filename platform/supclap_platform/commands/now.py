"""An experiment as it is by now: what of it only the ledger knows."""

from __future__ import annotations

from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.search.winner import with_winner


def as_of_now(experiment: Experiment, ledger: Ledger) -> tuple[Experiment, str]:
    """The experiment with its search's winner, where there is one, and with as many seeds of each
    row as its claims need; and how far its claims are, in words.

    The words are empty where the number of seeds is fixed. Raises InputError as `cells_of`.
    """
    experiment = with_winner(experiment, ledger)
    if not experiment.sequential:
        return experiment, ""
    from supclap_platform.results.looks import standing_of  # SciPy takes a second to import

    return standing_of(experiment, ledger)
