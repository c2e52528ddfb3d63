"""What Ray runs for one cell: `run_cell`, in a task of its own on any node of the cluster.

One worker trains in the task's process. Several train under Ray Train, started from there. Either
way the events go to the cell's folder and nowhere else; the driver reads them from the ledger.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from supclap.errors import FULL, InputError, TakenOver
from supclap.events import EpochEnded, Event, from_lines
from supclap.run_files import EVENTS
from supclap.scratch import sweep
from supclap.secrets import masked, without_password
from supclap.storage import Folder
from supclap.stored import Damaged, read_content
from supclap.wording import gist
from supclap_platform.experiment.run import Crash, RunError
from supclap_platform.ledger.holding import Held
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.logs import captured, last_lines
from supclap_platform.ledger.records import State
from supclap_platform.running.doing import noted
from supclap_platform.running.ending import (
    Ending,
    Fatal,
    LostCell,
    Stopped,
    WithoutResult,
    WorkersLost,
    log_error,
)
from supclap_platform.running.group import train_in_workers, watch_workers
from supclap_platform.running.node_check import checked_ledger
from supclap_platform.running.task import Report, Task, nested, run_of, threads


def run_cell(task: Task, report: Report | None = None) -> Ending:
    """Trains one cell to its end, or says why not; an exception leaves it only on Ctrl-C.

    Args:
        report: is given each event. It may raise SystemExit to end the attempt: the cell is given
            back, and can go on later from its last checkpoint.
    """
    sweep()  # who was killed here before has left its log or model
    try:
        ledger = checked_ledger(task)
        lease = ledger.take(task.signature)
    except InputError as error:
        return Ending("failed", str(error), configuration=True, unfit=True)
    except OSError as error:
        text = f"storage {without_password(task.storage)}: {masked(str(error), task.storage)}"
        full = error.errno in FULL  # as with what training writes: no other attempt finds room
        return Ending("failed" if full else "crashed", text, configuration=full)
    if lease is None:
        done = ledger.state(task.signature) is State.DONE
        return Ending("done" if done else "busy")
    with _released(lease) as end, captured(lease.folder, task.label) as log:
        try:
            _train(task, ledger, lease, report)
            if ledger.state(task.signature) is not State.DONE:
                raise WithoutResult("its workers ended without a result")
            end()
            ledger.clear_failure(task.signature)
            return Ending("done")
        except Stopped:
            return Ending("stopped")
        except Exception as error:
            if isinstance(error, LostCell | TakenOver) or lease.over():
                return Ending("busy")  # whatever it was: another process has the cell
            ending = _explained(error, log, task.storage)
            if task.share < 1 and ending.kind == "failed":
                from supclap.memory import was_short  # and with it PyTorch

                return replace(ending, short=was_short(error))
            return ending


def _explained(error: Exception, log: Path, storage: str) -> Ending:
    log_error(error, storage)
    text = masked(gist(error, None), storage)
    if isinstance(error, InputError | Fatal):
        wrong = isinstance(error, InputError)
        return Ending("failed", text, last_lines(log), wrong, node=getattr(error, "node", ""))
    if isinstance(error, RunError):
        return Ending("failed", text, last_lines(log))
    if isinstance(error, Crash | WithoutResult):
        return Ending("crashed", text, last_lines(log))
    if isinstance(error, WorkersLost):  # Ray Train has used up its own restarts
        return Ending("failed", text, last_lines(log))
    from supclap.memory import asked_for  # and with it PyTorch, which the driver does without

    text = f"{type(error).__name__}: {text}"
    if asked_for(error) is not None:  # another attempt would find no memory either
        return Ending("failed", text, last_lines(log))
    return Ending("crashed", text, last_lines(log))


@contextlib.contextmanager
def _released(lease: Held) -> Iterator[Callable[[], None]]:
    """Gives the lease back; where the storage is away, it runs out by itself.

    Yields what is to be called when there is a result.
    """
    published = False

    def end() -> None:
        nonlocal published
        published = True

    try:
        yield end
    finally:
        with contextlib.suppress(OSError):
            lease.release(published)


def _train(task: Task, ledger: Ledger, lease: Held, report: Report | None) -> None:
    if not nested(task.resources):
        _train_here(task, ledger, lease, report)
    elif report is None:
        train_in_workers(task, ledger, lease)
    else:
        watch_workers(task, ledger, lease, report)


def _trained(folder: Folder) -> float:
    """For how many seconds the run in a folder was trained, up to its last whole epoch."""
    try:
        events = from_lines(read_content(folder, EVENTS), folder.uri_of(EVENTS))
    except (FileNotFoundError, Damaged):
        return 0.0
    return sum(event.seconds for event in events if isinstance(event, EpochEnded))


def _train_here(task: Task, ledger: Ledger, lease: Held, report: Report | None) -> None:
    import torch

    def report_event(event: Event) -> None:
        if lease.lost:
            raise LostCell
        if report is not None:
            report(event)

    torch.set_num_threads(threads(task.resources))
    if task.resources.devices:
        from supclap.device_share import hold_to, trained_before

        trained_before(_trained(lease.folder))
        if task.share < 1:
            hold_to(task.share)
    with noted(lease.folder):
        task.method.fit(task.configuration(), run_of(task, ledger, lease.folder, report_event))
