"""What a node must have before a cell begins there: the driver's storage and its code."""

from __future__ import annotations

import os

from supclap.errors import InputError
from supclap.secrets import without_password
from supclap.storage import Folder
from supclap.user_code import needed_by
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.names import EXPERIMENTS
from supclap_platform.running.task import Task


def checked_ledger(task: Task) -> Ledger:
    """The driver's ledger, seen from here.

    Raises:
        InputError: the node runs other code than the driver, or does not see its storage.
    """
    ledger = _seen_ledger(task)
    check_code(task)
    return ledger


def check_code(task: Task) -> None:
    """Loads the code that a cell needs. Raises InputError where it is not the driver's."""
    here = os.uname().nodename
    if task.user_code:
        task.load_code()
        config = task.configuration()  # of a search's code, what this cell alone needs
        needed_by(config).write(Folder.at(task.storage))
    own = task.method.code(task.configuration())
    other = sorted(name for name in own if own[name] != task.code.get(name))
    if other and here == task.host:
        raise InputError(
            f"supclap's code was changed after the run began ({', '.join(other)}); start the run "
            "again"
        )
    if other:
        raise InputError(
            f"the node {here} has other code than the driver ({', '.join(other)}): install the "
            "same on every node, or use `supclap submit`, which uploads it"
        )


def _seen_ledger(task: Task) -> Ledger:
    ledger = open_ledger(task.storage)
    # A listing, as an object store has no folder to look for: it takes one request, not two.
    if not ledger.storage.names(f"{EXPERIMENTS}/{task.experiment}"):
        raise InputError(unseen(task.storage))
    return ledger


def unseen(storage: str) -> str:
    """That this node does not see the driver's storage, in words."""
    return (
        f"the node {os.uname().nodename} does not see the driver's storage "
        f"{without_password(storage)}: give --storage a place that all nodes share (s3://, gs://, "
        "a network folder)"
    )
