"""What a part reads or keeps beside its arguments: the clock, global random numbers, own state.

A run that was killed goes on from its checkpoint, which has none of these, and ends elsewhere.
"""

from __future__ import annotations

import copy
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")


@contextmanager
def watched_clock(file: str, read: set[str]) -> Iterator[None]:
    """Notes in ``read`` which clocks of `time` the code of a file reads, and the line."""

    def watching(name: str, clock: Callable[[], Any]) -> Callable[[], Any]:
        def look() -> Any:
            frame = sys._getframe(1)
            if frame.f_code.co_filename == file:
                read.add(f"time.{name} in line {frame.f_lineno}")
            return clock()

        return look

    with ExitStack() as patches:
        for name in CLOCKS:
            patches.enter_context(
                mock.patch.object(time, name, watching(name, getattr(time, name)))
            )
        yield


def generators() -> dict[str, Any]:
    """The states of the global generators, by what they are called."""
    return {
        "Python's random": random.getstate(),
        "numpy.random": str(np.random.get_state(legacy=False)),  # its place, and some of its keys
        "torch's global generator": torch.get_rng_state().numpy().tobytes(),
    }


def hidden_inputs(part: Any, file: str, call: Callable[[], Any]) -> list[str]:
    """What a call of a part's method reads or keeps that nobody knows of; empty where all is well.

    Args:
        file: the part's source.
        call: calls the method, with the same arguments at every time.
    """
    found: set[str] = set()
    before, kept = generators(), own_state(part)
    with watched_clock(file, found):
        call()
    after = generators()
    found |= {f"{name} is drawn from" for name in before if before[name] != after[name]}
    now = own_state(part)
    for name in sorted(kept.keys() | now.keys()):
        if name not in kept or name not in now or not _equal(kept[name], now[name]):
            found.add(f"the attribute '{name}' is changed, which no checkpoint holds")
    return sorted(found)


def own_state(part: Any) -> dict[str, Any]:
    """A copy of a part's attributes that are neither parameters, buffers nor modules."""
    known = nn.Module().__dict__ if isinstance(part, nn.Module) else {}
    return {
        name: copy.deepcopy(value)
        for name, value in vars(part).items()
        if name not in known and not isinstance(value, nn.Module)
    }


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return bool(np.array_equal(one, other))
    try:
        return bool(one == other)
    except Exception:  # things that cannot be compared are no evidence
        return True
