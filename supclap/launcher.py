"""One run in several processes of this machine, started here: `supclap train --workers 2`.

Ray Train and torchrun start the processes themselves; there every process calls `fit` directly.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from supclap.bounds import clip_seconds
from supclap.config import RunConfig, parse_config
from supclap.data import open_data
from supclap.errors import InputError
from supclap.events import Event
from supclap.feasibility import check_folders, check_run
from supclap.progress import Doing, activity, listening, relay
from supclap.record import Record
from supclap.scratch import scratch_folder
from supclap.storage import Folder
from supclap.training import TrainingError, fit
from supclap.user_code import UserCode, needed_by
from supclap.workers import Workers, check_devices, join

# After one worker is gone the others fail on their own, with errors that only say so. The one that
# went first is to be named, so it is waited for shortly.
GRACE_SECONDS = 2.0
RELAY_EVERY = 0.2  # seconds
# What a worker may say of the run itself; it counts before the others' words that they were left.
FAULTS: dict[str, type[Exception]] = {"input": InputError, "training": TrainingError}


class WorkerLost(RuntimeError):
    """A worker's process is gone (killed, out of memory); the run can be started again."""


def launch(config: RunConfig, place: str, workers: int) -> Generator[Event, None, None]:
    """The events of `fit` in ``workers`` new processes, which share this process's threads.

    Raises:
        InputError: there are fewer GPUs than workers, though some.
        InputError, TrainingError: as `fit` does, from whichever worker.
        WorkerLost: a worker's process ended without a word; the others are stopped.
    """
    check_devices(workers, "--workers")
    finished = Record(Folder.at(place)).look(config)
    if finished is not None:
        yield from finished
        return
    check_run(config, workers)
    check_folders(config.model, clip_seconds(config.data))
    with activity("opening the data"):
        open_data(config.data)  # faults show before anything starts; the workers find it made
    code = needed_by(config)
    context = get_context("spawn")
    threads = max(1, torch.get_num_threads() // workers)
    with scratch_folder("workers") as scratch:
        meeting = (scratch / "meeting").as_uri()
        pipes: list[Connection] = []
        processes: list[SpawnProcess] = []
        try:
            for rank in range(workers):
                reader, writer = context.Pipe(duplex=False)
                values = config.model_dump(mode="json")
                arguments = (writer, code, values, place, rank, workers, meeting, threads)
                name = f"worker {rank}"
                process = context.Process(target=_work, args=arguments, name=name)
                process.start()
                writer.close()  # the reader then sees the end of a worker that is gone
                pipes.append(reader)
                processes.append(process)
            relay(Doing("starting the workers"))
            yield from _listen(pipes, processes)
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                process.join()


class Relay:
    """Sends what a worker is busy with to the process that started it, not more often than seen."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._sent, self._what = 0.0, ""

    def __call__(self, doing: Doing | None) -> None:
        what, now = doing.what if doing else "", time.monotonic()
        if what != self._what or now - self._sent > RELAY_EVERY:
            self._sent, self._what = now, what
            self._pipe.send(("doing", doing))


def _listen(
    pipes: list[Connection], processes: Sequence[BaseProcess]
) -> Generator[Event, None, None]:
    """Events until every worker has said that it is done; the first failure is raised."""
    waiting = list(pipes)
    while waiting:
        said = [(pipe, *_heard(pipe)) for pipe in _ready(waiting)]
        for _, kind, content in said:
            if kind in FAULTS:
                raise FAULTS[kind](content)
        for pipe, kind, content in said:
            if kind == "doing":
                relay(content)
            elif kind == "event":
                yield content
            elif kind == "done":
                waiting.remove(pipe)
            else:
                raise _lost(content, processes)


def _ready(pipes: list[Connection]) -> list[Connection]:
    return [pipe for pipe in connection.wait(pipes) if isinstance(pipe, Connection)]


def _heard(pipe: Connection) -> tuple[str, Any]:
    try:
        kind, content = pipe.recv()
    except EOFError:
        return "lost", None
    return kind, content


def _lost(content: str | None, processes: Sequence[BaseProcess]) -> WorkerLost:
    """Who went first, if it was killed; else what a worker said (``content``)."""
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline:
        for process in processes:
            code = process.exitcode
            if code is not None and code < 0:
                how = signal.Signals(-code).name
                return WorkerLost(
                    f"{process.name} of {len(processes)} was killed ({how}); start the same "
                    "command again to go on from the last checkpoint"
                )
        time.sleep(0.05)  # the pipe closes before the system knows the exit code
    return WorkerLost(content or "a worker ended without a word; start the same command again")


def _work(
    pipe: Connection,
    code: UserCode,
    values: dict[str, Any],
    place: str,
    rank: int,
    size: int,
    meeting: str,
    threads: int,
) -> None:
    """What each process does. Events come from rank 0, failures from any."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who stops the workers
    torch.set_num_threads(threads)
    try:
        code.load()  # before the configuration may name a part of it
        join(init_method=meeting, rank=rank, world_size=size)
        with listening(Relay(pipe)) if rank == 0 else nullcontext():
            for event in fit(parse_config(values), Folder.at(place), workers=Workers.current()):
                if rank == 0:
                    pipe.send(("event", event))
        pipe.send(("done", None))
    except InputError as error:
        pipe.send(("input", str(error)))
    except TrainingError as error:
        pipe.send(("training", str(error)))
    except Exception as error:
        pipe.send(("failed", f"worker {rank}: {type(error).__name__}: {error}"))
        raise


def _end_with_parent() -> None:
    """A worker must not train on, and write, after the process that started it was killed."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
