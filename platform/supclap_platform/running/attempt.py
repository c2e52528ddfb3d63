"""What Ray runs for one cell: `run_cell`, in a task of its own on any node of the cluster.

One worker trains in the task's process. Several train under Ray Train, started from there. Either
way the events go to the cell's folder and nowhere else; the driver reads them from the ledger.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil
from pathlib import Path
from typing import Any, Literal

from supclap.data.cache import build_once, cache_folder
from supclap.errors import FULL, InputError, TakenOver
from supclap.events import Event
from supclap.patience import MARGIN
from supclap.run_files import MODEL
from supclap.secrets import masked, without_password
from supclap.storage import Folder
from supclap.stored import as_kind, read_values
from supclap.user_code import fetch, needed_by, parts_of
from supclap.wording import gist
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.method import Configuration, Method
from supclap_platform.experiment.run import Crash, Run, RunError
from supclap_platform.experiment.schema import Resources
from supclap_platform.ledger.leases import LeaseName, parse_lease
from supclap_platform.ledger.ledger import EXPERIMENTS, Held, Ledger, open_ledger
from supclap_platform.ledger.logs import captured, last_lines
from supclap_platform.ledger.records import State
from supclap_platform.ledger.terms import has_ended
from supclap_platform.running.doing import noted, waiting, waits_no_more
from supclap_platform.running.machine import seats
from supclap_platform.running.ray_internals import letting_go
from supclap_platform.running.root_cause import root_cause

RAY_TRAIN = "ray-train"  # in the cell's folder, while Ray Train works on it
FATAL = "fatal.json"  # left by a worker under Ray Train that must not be restarted
STOP = "stop"  # asks the workers under Ray Train to end; the cell can go on later
WATCH_SECONDS = 1.0
PATIENCE = 60.0  # seconds that workers that were asked to end get


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
    user_code: str = ""  # which of the storage's code is loaded first (`supclap.user_code`)

    def load_code(self) -> None:
        """Loads the user's code that the cell needs, from the storage. Raises InputError."""
        if self.user_code:
            fetch(Folder.at(self.storage), self.user_code)

    def configuration(self) -> Configuration:
        """The cell's configuration, once its code is loaded. Raises InputError."""
        return self.method.parse_stored(self.config, self.label)


@dataclass(frozen=True)
class Ending:
    """How an attempt at a cell ended.

    done: the result is in the ledger. busy: a live process elsewhere works on it.
    failed: for a reason that another attempt would meet again. crashed: worth another attempt.
    stopped: as `ask_workers_to_end` asked. An executor also says lost: its machine is gone; and
    moved: the machine lacks something, and another is to be tried.

    unfit: what was in the way is the machine's, and in the way of every cell there.
    node: Ray's id of where it happened, if not where the attempt was started.
    """

    kind: Literal["done", "busy", "failed", "crashed", "stopped", "lost", "moved"]
    error: str = ""
    log: tuple[str, ...] = field(default=())
    configuration: bool = False
    unfit: bool = False
    node: str = ""


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


def ask_workers_to_end(ledger: Ledger, signature: str) -> None:
    """Asks the workers of a cell under Ray Train, which reports to a search, to end."""
    holder = ledger.overview([signature]).leases.get(signature)
    if holder is not None:
        ledger.cell(signature).write(f"{holder.nonce}/{STOP}", b"")


def threads(resources: Resources) -> int:
    """Threads of each worker: its cores. Never the machine's, so that cells side by side do not
    fight for them, and the same file gives the same sums on any machine."""
    return max(1, int(resources.cpu))


Report = Callable[[Event], None]


def run_cell(task: Task, report: Report | None = None) -> Ending:
    """Trains one cell to its end, or says why not; an exception leaves it only on Ctrl-C.

    Args:
        report: is given each event. It may raise SystemExit to end the attempt: the cell is given
            back, and can go on later from its last checkpoint.
    """
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
                raise _WithoutResult("its workers ended without a result")
            end()
            ledger.clear_failure(task.signature)
            return Ending("done")
        except _Stopped:
            return Ending("stopped")
        except Exception as error:
            if isinstance(error, _TakenOver | TakenOver) or lease.over():
                return Ending("busy")  # whatever it was: another process has the cell
            return _explained(error, log, task.storage)


def _explained(error: Exception, log: Path, storage: str) -> Ending:
    _log(error, storage)
    text = masked(gist(error, None), storage)
    if isinstance(error, InputError | _Fatal):
        wrong = isinstance(error, InputError)
        return Ending("failed", text, last_lines(log), wrong, node=getattr(error, "node", ""))
    if isinstance(error, RunError):
        return Ending("failed", text, last_lines(log))
    if isinstance(error, Crash | _WithoutResult):
        return Ending("crashed", text, last_lines(log))
    if isinstance(error, _WorkersLost):  # Ray Train has used up its own restarts
        return Ending("failed", text, last_lines(log))
    from supclap.memory import asked_for  # and with it PyTorch, which the driver does without

    text = f"{type(error).__name__}: {text}"
    if asked_for(error) is not None:  # another attempt would find no memory either
        return Ending("failed", text, last_lines(log))
    return Ending("crashed", text, last_lines(log))


def _log(error: Exception, storage: str) -> None:
    """Into the cell's log. A library may quote what it was given."""
    print(masked("".join(traceback.format_exception(error)), storage), file=sys.stderr)


class _TakenOver(RuntimeError):
    """Another process holds the cell now."""


class _WithoutResult(RuntimeError):
    """Training has ended, and there is no result."""


class _Stopped(RuntimeError):
    """The workers have ended because they were asked to."""


class _Fatal(RuntimeError):
    """A worker under Ray Train ended in a RunError."""


@dataclass(frozen=True)
class _Left:
    """What a worker leaves in `FATAL`. ``node``: Ray's id of its node."""

    error: str
    input: bool
    node: str = ""


class _Refused(InputError):
    """A worker's InputError, with its node."""

    def __init__(self, text: str, node: str) -> None:
        super().__init__(text)
        self.node = node


class _WorkersLost(RuntimeError):
    """The workers under Ray Train failed more often than they may."""


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
        _train_in_workers(task, ledger, lease)
    else:
        _watch_workers(task, ledger, lease, report)


def _train_here(task: Task, ledger: Ledger, lease: Held, report: Report | None) -> None:
    import torch

    def report_event(event: Event) -> None:
        if lease.lost:
            raise _TakenOver
        if report is not None:
            report(event)

    torch.set_num_threads(threads(task.resources))
    with noted(lease.folder):
        task.method.fit(task.configuration(), _run(task, ledger, lease.folder, report_event))


def _watch_workers(task: Task, ledger: Ledger, lease: Held, report: Report) -> None:
    """Waits for the workers in a thread of its own, and reports what they note in the ledger.

    When `ask_workers_to_end` asks for it, the workers end first and Ray Train gives back what it
    had reserved. Ended from outside, its placement group would stay behind, and hold the cores.
    """
    folder = lease.folder
    ended: list[BaseException | None] = []

    def wait() -> None:
        try:
            _train_in_workers(task, ledger, lease)
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    waiting = threading.Thread(target=wait, name="workers", daemon=True)
    waiting.start()
    reported = 0
    while waiting.is_alive() or not ended:
        waiting.join(WATCH_SECONDS / 2)
        if folder.exists(STOP):
            waiting.join(PATIENCE)
            folder.delete(STOP)
            raise _Stopped
        events = ledger.events(task.signature)
        for event in events[reported:]:
            report(event)
        reported = max(reported, len(events))
    if ended[0] is not None:
        raise ended[0]
    for event in ledger.events(task.signature)[reported:]:
        report(event)


def _train_in_workers(task: Task, ledger: Ledger, lease: Held) -> None:
    """Runs the cell's workers under Ray Train and waits for them."""
    # One report or death is noticed per poll; the default of 2 s is long beside a short epoch.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    # A relative path in a configuration means what it says, not a folder of Ray Train's.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from supclap_platform.running.interface import NamedInterface

    given = task.resources
    share: dict[str, float] = {"CPU": given.cpu, "GPU": given.gpu}
    if given.memory:
        share["memory"] = given.memory * 2**20
    workers: Any = given.workers
    if given.min_workers is not None and given.min_workers < given.workers:
        workers = (given.min_workers, given.workers)
    cell, folder = ledger.cell(task.signature), lease.folder
    trainer = TorchTrainer(
        _work,
        train_loop_config={"task": task, "lease": str(lease.name)},
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=given.gpu > 0,
            resources_per_worker=share,
            label_selector=dict(task.nodes) or None,
        ),
        run_config=RunConfig(
            # A name of its own: under one that it knows Ray Train would go on from its own state.
            name=secrets.token_hex(4),
            storage_path=folder.below(RAY_TRAIN).base,
            storage_filesystem=folder.filesystem,
            failure_config=FailureConfig(max_failures=given.max_failures),
        ),
        torch_config=NamedInterface(
            backend="nccl" if given.gpu > 0 else "gloo",
            timeout_s=ceil((_timeout(task) + MARGIN).total_seconds()),
        ),
    )
    try:
        with letting_go(), waiting(folder, seats(given)):
            trainer.fit()
    except Exception as error:
        _raise_fatal(folder)
        if not cell.exists(str(lease.name)):
            raise _TakenOver from error
        if isinstance(error, ControllerError):  # no worker began: Ray Train tries that once
            raise Crash(f"its workers could not be started: {root_cause(error)}") from error
        raise _WorkersLost(f"Ray Train: {root_cause(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            folder.delete(RAY_TRAIN)
    _raise_fatal(folder)
    if not cell.exists(str(lease.name)):  # the workers have ended because of it
        raise _TakenOver


def _work(arguments: dict[str, Any]) -> None:
    """What each worker under Ray Train runs."""
    import ray
    import torch
    from ray.train import get_context

    from supclap.workers import Workers

    task: Task = arguments["task"]
    ledger = Ledger(Folder.at(task.storage))
    lease = parse_lease(arguments["lease"])
    assert lease is not None
    cell = ledger.cell(task.signature)
    attempt = cell.below(lease.nonce)
    if attempt.exists(FATAL) or attempt.exists(STOP) or not cell.exists(str(lease)):
        return  # Ray Train has restarted the workers; what ended them would be met again
    _end_with(lease, cell)
    torch.set_num_threads(threads(task.resources))
    rank = get_context().get_world_rank()
    group = Workers.current(_timeout(task)).from_first(
        lambda: ledger.begin_group(task.signature, lease.nonce).base.rpartition("/")[2]
    )
    folder = cell.below(group)
    if rank == 0:
        waits_no_more(attempt)
    with captured(folder, task.label, rank), noted(folder) if rank == 0 else nullcontext():
        try:
            task.load_code()
            run = _run(task, ledger, folder, lambda _: None)
            task.method.fit(task.configuration(), run)
        except (InputError, RunError) as error:
            wrong = isinstance(error, InputError)
            if not has_ended(cell, group):  # else its group is not the present one any more
                node = ray.get_runtime_context().get_node_id()
                left = {"error": str(error), "input": wrong, "node": node}
                attempt.write(FATAL, json.dumps(left).encode())
            raise
        except Exception as error:  # Ray Train starts the workers anew, and says nothing of it
            _log(error, task.storage)
            raise


def _end_with(lease: LeaseName, cell: Folder) -> None:
    """Ends this process when it is asked to, or the cell is no longer its trial's: what it would
    still write is of no use to anybody."""

    def watch() -> None:
        import time

        while True:
            time.sleep(WATCH_SECONDS)
            with contextlib.suppress(OSError):
                stopped = cell.exists(f"{lease.nonce}/{STOP}")
                if lease.dead(0.0) or stopped or not cell.exists(str(lease)):
                    os._exit(1)

    threading.Thread(target=watch, name="lease watch", daemon=True).start()


def _raise_fatal(folder: Folder) -> None:
    try:
        left = as_kind(read_values(folder, FATAL), _Left, folder.uri_of(FATAL))
    except FileNotFoundError:
        return
    folder.delete(FATAL)
    raise _Refused(left.error, left.node) if left.input else _Fatal(left.error)


def _run(task: Task, ledger: Ledger, folder: Folder, report: Report) -> Run:
    """What the cell's method is given here. ``folder``: of the term in which it writes."""
    return Run(folder, report, _models(ledger), _timeout(task))


def _timeout(task: Task) -> timedelta:
    return timedelta(seconds=task.resources.timeout)


def _models(ledger: Ledger) -> Callable[[str], Path]:
    """Where on this machine the model of a finished cell lies, by its signature."""

    def model_of(signature: str) -> Path:
        model = ledger.folder(signature).below(MODEL)
        return model.local or build_once(cache_folder() / f"stage-{signature}", model.copy_to)

    return model_of
