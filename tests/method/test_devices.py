"""More workers on a machine than it has GPUs are refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import supclap.launcher
import supclap.workers
from supclap.config import parse_config
from supclap.errors import InputError
from supclap.launcher import launch
from supclap.workers import Workers


class Started(Exception):
    """So far it came."""


def started(*_: object, **__: object) -> None:
    raise Started


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A machine with so many GPUs, at first one; nothing is started and no group joined."""
    found = [1]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found[0] > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: found[0])
    monkeypatch.setattr(supclap.launcher, "open_data", started)
    monkeypatch.setattr(supclap.workers, "join", started)
    return found


def test_two_workers_are_not_started_on_one_gpu(gpus: list[int], tmp_path: Path) -> None:
    config = parse_config({})

    def begin(workers: int) -> str:
        try:
            next(launch(config, str(tmp_path), workers))
        except InputError as error:
            return str(error)
        except Started:
            return "started"
        raise AssertionError

    assert begin(2) == (
        "--workers 2: this machine has 1 GPU, and NCCL refuses two workers on one; give "
        "--workers 1, or CUDA_VISIBLE_DEVICES= to train on the CPU"
    )
    assert begin(1) == "started"
    gpus[0] = 2
    assert begin(2) == "started"
    assert begin(3).startswith("--workers 3: this machine has 2 GPUs, and NCCL")
    gpus[0] = 0
    assert begin(3) == "started"


@pytest.mark.parametrize(
    ("beside", "refused"),
    [
        ({"LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "0"}, True),  # by each of them
        ({"LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0"}, False),  # the other is on another machine
        ({"LOCAL_RANK": "1"}, True),
        ({}, False),  # who knows where the others are
    ],
)
def test_nor_are_those_that_torchrun_has_started(
    gpus: list[int], monkeypatch: pytest.MonkeyPatch, beside: dict[str, str], refused: bool
) -> None:
    assert not dist.is_initialized()
    for name in ("LOCAL_WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"WORLD_SIZE": "2"} | beside).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError if refused else Started) as error:
        Workers.current()
    if refused:
        assert str(error.value).startswith("torchrun --nproc-per-node 2: this machine has 1 GPU, ")
