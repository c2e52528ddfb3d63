"""A cell as it travels to the process that trains it, and what its method is given there."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from supclap.data.cache import build_once, cache_folder
from supclap.events import Event
from supclap.run_files import MODEL
from supclap.storage import Folder
from supclap.user_code import fetch, needed_by, parts_of
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.method import Configuration, Method
from supclap_platform.experiment.run import Run
from supclap_platform.experiment.schema import Resources
from supclap_platform.ledger.ledger import Ledger

Report = Callable[[Event], None]


@dataclass(frozen=True)
class Task:
    """A cell as it travels to the process that trains it."""

    label: str
    signature: str
    config: Mapping[str, Any]  # as plain values
    resources: Resources
    storage: str  # path or URI
    experiment: str
    code: Mapping[str, str]  # the driver's modules and the parts of the user's, each with its hash
    host: str  # of the driver
    method: Method
    nodes: Mapping[str, str] = field(default_factory=dict)  # Ray's selector of nodes for workers
    share: float = 1.0  # of a device's memory that it is held to; less where `gpu: auto` says so
    user_code: str = ""  # which of the storage's code is loaded first (`supclap.user_code`)

    def load_code(self) -> None:
        """Loads the user's code that the cell needs, from the storage. Raises InputError."""
        if self.user_code:
            fetch(Folder.at(self.storage), self.user_code)

    def configuration(self) -> Configuration:
        """The cell's configuration, once its code is loaded. Raises InputError."""
        return self.method.parse_stored(self.config, self.label)


def task_of(cell: Cell, ledger: Ledger, experiment: str) -> Task:
    """The task for a cell; what it needs of the user's code is in the storage then."""
    code = needed_by(cell.config)
    for one in (code, cell.method.sources):
        one.write(ledger.storage)
    return Task(
        label=cell.label,
        signature=cell.signature,
        config=cell.method.stored(cell.config),
        resources=cell.resources,
        storage=ledger.storage.place,
        experiment=experiment,
        code={**cell.method.all_code(), **parts_of(cell.config)},
        host=os.uname().nodename,
        method=cell.method,
        user_code=code.hash,
    )


def nested(resources: Resources) -> bool:
    """Whether a cell runs under Ray Train, in processes of its own."""
    return resources.workers > 1 or resources.ray_train


def threads(resources: Resources) -> int:
    """Threads of each worker: its cores. Never the machine's, so that cells side by side do not
    fight for them, and the same file gives the same sums on any machine."""
    return max(1, int(resources.cpu))


def timeout_of(task: Task) -> timedelta:
    return timedelta(seconds=task.resources.timeout)


def run_of(task: Task, ledger: Ledger, folder: Folder, report: Report) -> Run:
    """What the cell's method is given here. ``folder``: of the term in which it writes."""
    return Run(folder, report, _models(ledger), timeout_of(task))


def _models(ledger: Ledger) -> Callable[[str], Path]:
    """Where on this machine the model of a finished cell lies, by its signature."""

    def model_of(signature: str) -> Path:
        model = ledger.folder(signature).below(MODEL)
        return model.local or build_once(cache_folder() / f"stage-{signature}", model.copy_to)

    return model_of
