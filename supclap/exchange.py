"""An exchange among the workers of a run, and who has not come to one that does not end.

Collectives of PyTorch wait for each other, and say after half an hour that they have timed out, not
for whom. Here each worker notes in the group's store (the one by which its processes have found
each other) at which exchange it waits, once it has waited for long; where time is up, those that
have not noted it are the ones that hang. A note costs nothing in an exchange that goes well.

A process is in one group, whose workers make the same exchanges in the same order: they are
counted.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch.distributed import distributed_c10d

from supclap.patience import TIMEOUT

NOTED = 2.0  # seconds in an exchange after which a worker notes that it is there
ASKED = 10.0  # seconds that the store has to answer: its keeper may be the one that hangs
SHORTEST, LONGEST = 1e-4, 1e-2  # seconds between two looks


class WorkerMissing(RuntimeError):
    """Some workers of the run have not come to an exchange in time."""


@dataclass
class _Place:
    """Where this process is among the exchanges of its group."""

    number: int = 0
    timeout: float = TIMEOUT.total_seconds()


_place = _Place()


def introduce(device: object, timeout: timedelta) -> None:
    """Notes for the other workers who this one is, and how long it waits for them.

    What was counted goes on: a number that began anew would be below what the others have noted.
    """
    _place.timeout = timeout.total_seconds()
    text = f"{os.uname().nodename}, process {os.getpid()}, {device}"
    _store().set(f"supclap/who/{dist.get_rank()}", text)


def exchange(begin: Callable[[], Any], what: str, group: dist.ProcessGroup | None = None) -> None:
    """Begins a collective, and returns when it is over here.

    On a GPU it is waited for too: where its stream alone waits, nobody sees that it hangs. There
    are some ten in a step.

    Args:
        begin: starts it, and returns PyTorch's handle of it.
        what: it is about, for messages.
        group: the workers, where they are not those of the run: PyTorch's own limit holds then.

    Raises:
        WorkerMissing: it is not over in time.
        RuntimeError: as PyTorch raises where another worker's process has ended.
    """
    work = begin()
    if group is not None:
        work.wait()
        return
    _place.number += 1
    start, pause, noted = time.monotonic(), SHORTEST, False
    while not work.is_completed():
        waited = time.monotonic() - start
        if waited > _place.timeout:
            raise WorkerMissing(_missing(what))
        if not noted and waited > min(NOTED, _place.timeout / 2):
            noted = True
            _asked(lambda: _store().set(f"supclap/at/{dist.get_rank()}", str(_place.number)))
        time.sleep(pause)
        pause = min(LONGEST, pause * 1.2)
    work.wait()  # raises what it has ended in


def meet(what: str, group: dist.ProcessGroup | None = None) -> None:
    """Returns when every worker has come here: before a collective that has no handle to look at.

    Raises as `exchange` does.
    """
    exchange(lambda: dist.barrier(group=group, async_op=True), what, group)


def _missing(what: str) -> str:
    """Which workers hang, in one line."""
    waited = f"{what} for {_place.timeout:g} s"
    others = [rank for rank in range(dist.get_world_size()) if rank != dist.get_rank()]
    known = _asked(lambda: {rank: (_read(f"at/{rank}"), _read(f"who/{rank}")) for rank in others})
    if known is None:
        return (
            f"no end of {waited}: rank 0, which keeps the list of who is where, does not answer "
            "either; it hangs, or its machine is gone"
        )
    late = [rank for rank, (at, _) in known.items() if at is None or int(at) < _place.number]
    if not late:
        return f"all ranks wait in {waited}: the network between them, or NCCL, hangs"
    names = " and ".join(f"rank {rank} ({known[rank][1]})" for rank in late)
    one = len(late) == 1
    has, hangs = ("has", "it hangs") if one else ("have", "they hang")
    return (
        f"{names} {has} not come to {waited}: {hangs}, or what comes before takes longer than "
        "`resources.timeout` allows"
    )


def _asked(ask: Callable[[], Any]) -> Any:
    """What the store says; None where it does not answer. It is asked in a thread, as a question to
    a store whose keeper is stopped has no end."""
    found: list[Any] = []

    def run() -> None:
        with suppress(RuntimeError):  # its keeper's process is gone
            found.append(ask())

    thread = threading.Thread(target=run, name="exchange", daemon=True)
    thread.start()
    thread.join(ASKED)
    return found[0] if found else None


def _read(name: str) -> str | None:
    store, key = _store(), f"supclap/{name}"
    return store.get(key).decode() if store.check([key]) else None


def _store() -> Any:
    return distributed_c10d._get_default_store()
