"""Checks of any part within a small run: the same run twice, in chunks, resumed, on two workers."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from supclap.checking.finding import Finding
from supclap.config import RunConfig, parse_config
from supclap.errors import InputError
from supclap.events import EpochEnded, Event
from supclap.model.folder import WEIGHTS
from supclap.overrides import override
from supclap.progress import STEPS, Doing, listening
from supclap.run_files import MODEL
from supclap.storage import Folder
from supclap.training import TrainingError, fit
from supclap.workers import more_than_devices

# Two epochs of four steps.
SMALL: dict[str, Any] = {
    "data": {"name": "soundscenes", "clips": 64},
    "model": {
        "audio": {"name": "cnn", "width": 8, "layers": 2},
        "text": {"name": "transformer", "width": 32, "layers": 1, "vocabulary": 300},
        "dim": 16,
    },
    "epochs": 2,
    "batch_size": 16,
    "checkpoint_steps": 1,
    "select": {"split": "last"},
}
STOP_AT = 6  # steps: in the middle of the second epoch
CLOSE = 1e-3  # of losses of runs that add up in another order

Outcome = tuple[dict[str, float], bytes]  # the last epoch's figures, and the weights


def small_run(changes: Mapping[str, Any]) -> RunConfig:
    """A run of a few seconds that names the part. Raises InputError: a key of it is missing."""
    return parse_config(override(SMALL, changes), "check")


def check_run_of(config: RunConfig, scratch: Path, workers: bool = True) -> Iterator[Finding]:
    """The small run, and what must be equal to it.

    Args:
        scratch: a folder for the runs.
        workers: two processes are started too.
    """
    try:
        first = _train(config, scratch / "first")
    except (InputError, TrainingError) as error:
        yield Finding("run", False, str(error))
        return
    loss = first[0]["train.loss"]
    yield Finding("run", True, f"two epochs of four steps end at a loss of {loss:.6g}")
    yield _same("same again", first, _elsewhere(config, scratch / "again"), _HIDDEN)
    yield _same("resumed", first, _resumed(config, scratch / "resumed"), _FORGOTTEN)
    yield _near("chunks", first, config.model_copy(update={"chunk": 4}), scratch / "chunks", 1)
    if workers and more_than_devices(2):
        only = "not on one GPU, which NCCL refuses; with CUDA_VISIBLE_DEVICES= all is on the CPU"
        yield Finding("two workers", None, only)
    elif workers:
        yield _near("two workers", first, config, scratch / "workers", 2)


_HIDDEN = "it reads a clock or a global generator"
_FORGOTTEN = "it keeps something that no checkpoint holds"


def _train(config: RunConfig, folder: Path) -> Outcome:
    return _outcome(fit(config, Folder.at(str(folder))), folder)


def _outcome(events: Iterator[Event], folder: Path) -> Outcome:
    ended = [event for event in events if isinstance(event, EpochEnded)]
    figures = ended[-1].metrics
    return figures, (folder / MODEL / WEIGHTS).read_bytes()


def _elsewhere(config: RunConfig, folder: Path) -> Outcome:
    """The same run at another time, with other global random numbers."""
    clock = time.time
    with (
        mock.patch.object(time, "time", side_effect=lambda: clock() + 12_345.678),
        torch.random.fork_rng(devices=[]),
    ):
        torch.manual_seed(987)
        random.seed(987)
        np.random.seed(987)
        return _train(config, folder)


class _Stop(Exception):
    pass


def _resumed(config: RunConfig, folder: Path) -> Outcome:
    """Stopped between two steps and begun again."""
    done = 0

    def stop(doing: Doing | None) -> None:
        nonlocal done
        if doing is not None and doing.unit == STEPS and doing.done:
            done += 1
            if done == STOP_AT:
                raise _Stop

    try:
        with listening(stop):
            _train(config, folder)
    except _Stop:
        pass
    return _train(config, folder)


def _same(check: str, first: Outcome, other: Outcome, why: str) -> Finding:
    """Equal to the bit."""
    if first == other:
        return Finding(check, True, "the same weights and figures to the bit")
    gap = f"loss {first[0]['train.loss']:.9g} against {other[0]['train.loss']:.9g}"
    return Finding(check, False, f"another end ({gap}): {why}")


def _near(check: str, first: Outcome, config: RunConfig, folder: Path, workers: int) -> Finding:
    """Equal but for the order in which numbers are added."""
    try:
        if workers == 1:
            other = _train(config, folder)
        else:
            from supclap.launcher import launch

            other = _outcome(launch(config, str(folder), workers), folder)
    except (InputError, TrainingError) as error:
        return Finding(check, False, str(error))
    one, two = first[0]["train.loss"], other[0]["train.loss"]
    text = f"loss {one:.7g} against {two:.7g}"
    return Finding(check, abs(one - two) <= CLOSE * max(1.0, abs(one)), text)
