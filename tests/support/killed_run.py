"""A training run that ends where it should not: in a process of its own, which may kill itself, or
here, within a step."""

from __future__ import annotations

import multiprocessing
import os
import signal
from typing import Any

import pytest
import torch
from waiting import PATIENCE

from supclap import training
from supclap.config import RunConfig
from supclap.step import Step
from supclap.storage import Folder
from supclap.training import fit

# Processes that start in a tenth of a second: all that a run imports sooner or later is there (an
# optimizer loads torch._dynamo, reading Arrow lists loads pandas), and no thread runs yet.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["supclap.training", "torch._dynamo", "pandas"])


def train(config: RunConfig, place: str, die_at_write: int | None = None) -> None:
    """In a process of its own: the whole run, or until it kills itself within the n-th write."""
    torch.set_num_threads(1)
    vars(training)["version_of"] = lambda modules: (
        "code"
    )  # somebody may be editing the package meanwhile
    if die_at_write is not None:
        _die_at(die_at_write)
    for _ in fit(config, Folder.at(place)):
        pass


class Left(BaseException):
    """Leaves a run as a kill does: nothing in it waits for such an exception."""


def leave_at(config: RunConfig, folder: Folder, *steps: int) -> None:
    """Trains here until the n-th step that is taken, once for each n, counted over all of them."""
    call, taken = Step.__call__, 0

    def leaving(self: Step, *given: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken in steps:
            raise Left
        return call(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step, "__call__", leaving)
        for _ in steps:
            with pytest.raises(Left):
                list(fit(config, folder))


def _die_at(number: int) -> None:
    """Half of the file is written when SIGKILL comes; or, for odd numbers, all but its name."""
    replace, link, count = os.replace, os.link, 0

    def look(source: str) -> None:
        nonlocal count
        count += 1
        if count == number:
            if number % 2 == 0:
                os.truncate(source, os.path.getsize(source) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def replacing(source: str, target: str) -> None:
        look(source)
        replace(source, target)

    def linking(source: str, target: str) -> None:  # a result gets its name so
        look(source)
        link(source, target)

    os.replace, os.link = replacing, linking  # type: ignore[assignment]


def run(*arguments: Any) -> int | None:
    process = PROCESSES.Process(target=train, args=arguments)
    process.start()
    process.join(PATIENCE)
    return process.exitcode
