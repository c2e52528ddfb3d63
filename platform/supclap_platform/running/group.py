"""The workers of a cell under Ray Train: processes of their own, which train it together."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Any

from supclap.errors import InputError
from supclap.patience import MARGIN
from supclap.scratch import sweep
from supclap.secrets import masked
from supclap.storage import Folder
from supclap.stored import as_kind, read_values
from supclap.wording import gist
from supclap_platform.experiment.run import Crash, RunError
from supclap_platform.ledger.holding import Held
from supclap_platform.ledger.leases import LeaseName, parse_lease
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.logs import captured
from supclap_platform.ledger.names import RAY_TRAIN
from supclap_platform.ledger.terms import has_ended, is_finished
from supclap_platform.running.doing import noted, waiting, waits_no_more
from supclap_platform.running.ending import (
    Fatal,
    LostCell,
    Refused,
    Stopped,
    WorkersLost,
    log_error,
)
from supclap_platform.running.machine import seats
from supclap_platform.running.ray_internals import letting_go
from supclap_platform.running.root_cause import root_cause
from supclap_platform.running.task import Report, Task, run_of, threads, timeout_of

FATAL = "fatal.json"  # left by a worker under Ray Train that must not be restarted
STOP = "stop"  # asks the workers under Ray Train to end; the cell can go on later
WATCH_SECONDS = 1.0
PATIENCE = 60.0  # seconds that workers that were asked to end get


@dataclass(frozen=True)
class _Left:
    """What a worker leaves in `FATAL`. ``node``: Ray's id of its node."""

    error: str
    input: bool
    node: str = ""


def ask_workers_to_end(ledger: Ledger, signature: str) -> None:
    """Asks the workers of a cell under Ray Train, which reports to a search, to end."""
    holder = ledger.overview([signature]).leases.get(signature)
    if holder is not None:
        ledger.cell(signature).write(f"{holder.nonce}/{STOP}", b"")


def watch_workers(task: Task, ledger: Ledger, lease: Held, report: Report) -> None:
    """Waits for the workers in a thread of its own, and reports what they note in the ledger.

    When `ask_workers_to_end` asks for it, the workers end first and Ray Train gives back what it
    had reserved. Ended from outside, its placement group would stay behind, and hold the cores.
    """
    folder = lease.folder
    ended: list[BaseException | None] = []

    def wait() -> None:
        try:
            train_in_workers(task, ledger, lease)
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
            raise Stopped
        events = ledger.events(task.signature)
        for event in events[reported:]:
            report(event)
        reported = max(reported, len(events))
    if ended[0] is not None:
        raise ended[0]
    for event in ledger.events(task.signature)[reported:]:
        report(event)


def train_in_workers(task: Task, ledger: Ledger, lease: Held) -> None:
    """Runs the cell's workers under Ray Train and waits for them."""
    # One report or death is noticed per poll; the default of 2 s is long beside a short epoch.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    # A relative path in a configuration means what it says, not a folder of Ray Train's.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from supclap_platform.running.interface import NamedInterface

    given = task.resources
    share: dict[str, float] = {"CPU": given.cpu, "GPU": given.devices}
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
            use_gpu=given.devices > 0,
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
            backend="nccl" if given.devices > 0 else "gloo",
            timeout_s=ceil((timeout_of(task) + MARGIN).total_seconds()),
        ),
    )
    try:
        with letting_go(), waiting(folder, seats(given)):
            trainer.fit()
    except Exception as error:
        _raise_fatal(folder)
        if not cell.exists(str(lease.name)):
            raise LostCell from error
        if isinstance(error, ControllerError):  # no worker began: Ray Train tries that once
            raise Crash(f"its workers could not be started: {root_cause(error)}") from error
        raise WorkersLost(f"Ray Train: {root_cause(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            folder.delete(RAY_TRAIN)
    _raise_fatal(folder)
    if not cell.exists(str(lease.name)):  # the workers have ended because of it
        raise LostCell


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
    sweep()
    torch.set_num_threads(threads(task.resources))
    rank = get_context().get_world_rank()
    group = Workers.current(timeout_of(task)).from_first(
        lambda: ledger.begin_group(task.signature, lease.nonce).base.rpartition("/")[2]
    )
    folder = cell.below(group)
    if is_finished(cell, group):
        return  # the group before has finished, and one of its workers was lost after that
    if rank == 0:
        waits_no_more(attempt)
    with captured(folder, task.label, rank), noted(folder) if rank == 0 else nullcontext():
        try:
            task.load_code()
            run = run_of(task, ledger, folder, lambda _: None)
            task.method.fit(task.configuration(), run)
        except Exception as error:
            if not isinstance(error, InputError | RunError):
                log_error(error, task.storage)
            left = _for_good(error, task.storage)
            if left is not None and not has_ended(cell, group):  # else it is not the present one
                node = ray.get_runtime_context().get_node_id()
                attempt.write(FATAL, json.dumps(asdict(replace(left, node=node))).encode())
            raise  # Ray Train starts the workers anew, and says nothing of it


def _for_good(error: Exception, storage: str) -> _Left | None:
    """What an error leaves that new workers would meet again; None of every other one."""
    from supclap.memory import asked_for

    if isinstance(error, InputError | RunError):
        return _Left(str(error), isinstance(error, InputError))
    if asked_for(error) is None:
        return None
    return _Left(masked(f"{type(error).__name__}: {gist(error, None)}", storage), False)


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
    raise Refused(left.error, left.node) if left.input else Fatal(left.error)
