"""Runs cells without Ray, one at a time, in a process beside this one.

It is for schedulers that start any number of equal processes, as Slurm's job arrays are: they share
the cells by their leases alone.

The process is kept from cell to cell, as Ray keeps its own: Python and PyTorch are loaded once. One
that dies takes its cell along, and the cell is tried again in another.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from supclap.environment import environment
from supclap.errors import InputError
from supclap.storage import Folder
from supclap_platform.experiment.cells import Cell
from supclap_platform.ledger.drivers import drivers_of
from supclap_platform.ledger.leases import LeaseName
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.names import FAILURE
from supclap_platform.ledger.records import State
from supclap_platform.running.attempt import run_cell
from supclap_platform.running.ending import GRACE, Ending
from supclap_platform.running.task import Task, task_of

WATCH_SECONDS = 1.0
LOOK = 10.0  # seconds between looks at whether a cell is still this process's
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def check_alone(cells: list[Cell], file: str) -> None:
    """Raises InputError for a cell that needs Ray: its workers are started by Ray Train."""
    for cell in cells:
        if cell.resources.workers > 1:
            raise InputError(
                f"{file}: {cell.label}: its {cell.resources.workers} data-parallel workers are "
                "started by Ray Train, and `supclap work` is without Ray; use `supclap run`, or "
                "choose other rows with --only"
            )


class WithoutRay:
    """An executor of one place, for `drive`."""

    def __init__(
        self, ledger: Ledger, experiment: str, work: Callable[[Task], Ending] = run_cell
    ) -> None:
        self._ledger = ledger
        self._experiment = experiment
        self._work = work
        self._cell: Cell | None = None  # whose attempt has not been reported yet
        self._known: Ending | None = None  # where it has ended before it began
        self._process: Any = None
        self._pipe: Connection | None = None
        self._kind: tuple[str, bool] | None = None  # what the process may run
        self._looked = 0.0
        self._lost = False  # the last look has found the cell to be finished, or another's
        born = [name.born for name in drivers_of(ledger, experiment)]
        # What those who are at work now have given up is given up for who joins them; what failed
        # before all of them is tried again, as a run does.
        self._since = min([*born, LeaseName.own().born]) / 1000
        self._others = len(born)

    def room_for(self, cell: Cell) -> bool:
        return self._cell is None

    def places(self, cell: Cell) -> int:
        """How many cells are worked on at once, here and by the others that have begun."""
        return 1 + self._others

    def want(self, cells: list[Cell]) -> None:
        """Nothing: a scheduler gives what it was asked for when this process was started."""

    def why_nowhere(self, cell: Cell) -> str:
        """Nothing: of other machines this process knows nothing."""
        return ""

    def waiting_for(self, cell: Cell) -> str:
        """Nothing: its process is there."""
        return ""

    def news(self) -> list[str]:
        """Nothing."""
        return []

    def submit(self, cell: Cell) -> None:
        self._cell = cell
        self._looked, self._lost = time.monotonic(), False
        self._known = self._elsewhere(cell.signature)
        if self._known is not None:
            return
        task = task_of(cell, self._ledger, self._experiment)
        # One worker of Ray Train trains as one without it does, to the bit.
        task = replace(task, resources=cell.resources.model_copy(update={"ray_train": False}))
        kind = (task.user_code, cell.resources.devices > 0)
        if kind != self._kind or self._pipe is None:
            self.close()
            self._begin(kind)
        assert self._pipe is not None
        with contextlib.suppress(OSError):  # it has died just now: `wait` finds that
            self._pipe.send(task)

    def wait(self, seconds: float) -> list[tuple[str, Ending]]:
        """As `Executor.wait`.

        Raises:
            InputError: this machine lacks what every cell needs; others may have it, so that the
                cells are left to them.
        """
        cell, ending = self._cell, self._known
        if cell is None:
            time.sleep(seconds)
            return []
        if ending is None:
            assert self._pipe is not None
            try:
                if self._pipe.poll(seconds):
                    ending = self._pipe.recv()
                elif self._has_lost(cell):
                    self._process.kill()
                    self.close()
                    ending = Ending("busy")
                else:
                    return []
            except (EOFError, OSError):
                ending = Ending("crashed", f"the process of the cell ended: {self._fate()}")
        self._cell = self._known = None
        if ending.unfit:
            raise InputError(ending.error)
        return [(cell.signature, ending)]

    def cancel(self) -> None:
        """Ends the cell's process as Ctrl-C does, so that it gives its lease back. One that has to
        be killed gives nothing back: its lease is taken away."""
        if self._process is None or self._cell is None:
            self.close()
        else:
            pid = self._process.pid
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
            self.close()
            self._ledger.evict(self._cell.signature, LeaseName.own().host, pid)
        self._cell = self._known = None

    def close(self) -> None:
        """Ends the process; it may be begun anew."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.join(GRACE)
            self._process.kill()
            self._process.join()
        self._pipe = self._process = self._kind = None

    def _elsewhere(self, signature: str) -> Ending | None:
        """How it stands with a cell that others have finished, hold or have given up since the plan
        was made; None where it is to be tried here."""
        state = self._ledger.state(signature)
        if state is State.DONE:
            return Ending("done")
        if state is State.RUNNING:
            return Ending("busy")
        if state is State.FAILED:
            if _written(self._ledger.cell(signature), FAILURE) >= self._since:
                return Ending("busy")  # the grid looks for itself, and finds why it was given up
            self._ledger.clear_failure(signature)
        return None

    def _has_lost(self, cell: Cell) -> bool:
        """Whether others have taken the cell, or finished it, while its process here hangs: that
        would be waited for without an end. Two looks say so: one that has just ended says it."""
        if time.monotonic() - self._looked < LOOK:
            return False
        self._looked = time.monotonic()
        with contextlib.suppress(OSError):
            overview = self._ledger.overview([cell.signature])
            holder = overview.leases.get(cell.signature)
            own = (LeaseName.own().host, self._process.pid)
            before = self._lost
            self._lost = overview.of(cell.signature) is State.DONE or (
                holder is not None and (holder.host, holder.pid) != own
            )
            return before and self._lost
        return False

    def _begin(self, kind: tuple[str, bool]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # As Ray sets them: numpy's threads are one, and who asks for no device sees none.
        given = {"OMP_NUM_THREADS": "1"} | ({} if kind[1] else {"CUDA_VISIBLE_DEVICES": ""})
        self._process = context.Process(target=_serve, args=(theirs, os.getpid(), self._work))
        with environment(**given):
            self._process.start()
        theirs.close()
        self._kind = kind

    def _fate(self) -> str:
        self._process.join(GRACE)
        code = self._process.exitcode
        self.close()
        if code is not None and code < 0:
            return f"killed by signal {-code}"
        return f"exit code {code}"


def _serve(pipe: Connection, parent: int, work: Callable[[Task], Ending]) -> None:
    """The process: one cell after another, until the pipe is closed."""
    for number in ENDING:
        signal.signal(number, _interrupt)
    threading.Thread(target=_end_with, args=(parent,), name="parent watch", daemon=True).start()
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            pipe.send(work(pipe.recv()))


def _interrupt(number: int, frame: Any) -> None:
    """Once: a terminal and a scheduler send their signals to this process too, and giving a lease
    back must not be interrupted."""
    for each in ENDING:
        signal.signal(each, _pass)  # not SIG_IGN: Python takes one that comes just now for a fault
    raise KeyboardInterrupt


def _pass(number: int, frame: Any) -> None:
    """Leaves a further signal at that."""


def _end_with(parent: int) -> None:
    """Ends this process when the one that began it was killed: nobody would wait for its cells."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def _written(folder: Folder, name: str) -> float:
    """When a file was written, in seconds since 1970; 0 where it is not there."""
    info = folder.filesystem.get_file_info(f"{folder.base}/{name}")
    return info.mtime.timestamp() if info.mtime is not None else 0.0
