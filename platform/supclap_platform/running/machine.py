"""What this machine has for cells, known without Ray: what can never run here is refused before
Ray is started."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from supclap.errors import InputError
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.schema import Resources

MB = 2**20


class Given(Protocol):
    """What is given resources: a cell, a variant."""

    @property
    def resources(self) -> Resources: ...


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def demand(resources: Resources) -> dict[str, float]:
    """What a cell takes while it runs, in Ray's names and units."""
    wanted = {
        "CPU": resources.cpu * resources.workers,
        "GPU": resources.devices * resources.workers,
        "memory": float((resources.memory or 0) * MB * resources.workers),
    }
    return {name: amount for name, amount in wanted.items() if amount}


def seats(resources: Resources) -> str:
    """What a cell waits for until it can begin, in words: ``2 x (1 CPU, 1 GPU)``."""
    fewest, one = resources.fewest, demand(resources.one_worker)
    each = ", ".join(f"{_amount(name, amount)} {_NAMES[name]}" for name, amount in one.items())
    if fewest == 1:
        return each
    return f"{fewest} x ({each})" if len(one) > 1 else f"{fewest} x {each}"


def machine(cells: Iterable[Given], cpus: int | None = None) -> dict[str, float]:
    """What this machine has in all of what the cells ask for, in Ray's names and units.

    Args:
        cpus: cores that an own Ray may use; by default all that this process may.
    """
    asked = {name for cell in cells for name in demand(cell.resources)}
    have: dict[str, float] = {"CPU": cpus or cores()}
    if "GPU" in asked:
        import torch

        have["GPU"] = torch.cuda.device_count()
    if "memory" in asked:
        import psutil

        have["memory"] = psutil.virtual_memory().total
    return have


def misfit(cells: Iterable[Cell], have: Mapping[str, float]) -> str | None:
    """The first cell that can never run with so much, in words; None where each can."""
    for cell in cells:
        found = short_of(cell.resources, have)
        if found:
            return (
                f"{cell.label}: its resources ask for {found[0]} for a run; lower 'resources' or "
                "attach to a cluster with --address"
            )
    return None


def held(resources: Resources, have: Mapping[str, float]) -> int:
    """How many workers of a cell a node with so much can hold. A share of a device lies on one."""
    wanted = demand(resources.one_worker)
    counts = []
    for name, amount in wanted.items():
        there = have.get(name, 0.0) + 1e-9
        if name == "GPU" and amount < 1:
            counts.append(math.floor(1 / amount + 1e-9) * math.floor(there))
        else:
            counts.append(math.floor(there / amount))
    return min(counts)


def impossible(cells: Iterable[Cell], nodes: Sequence[Mapping[str, float]]) -> str | None:
    """The first cell that these nodes can never run, in words; None where they can run each.

    Args:
        nodes: what each node has in all, in Ray's names and units.
    """
    for cell in cells:
        given = cell.resources
        room = sum(held(given, have) for have in nodes)
        if room >= given.fewest:
            continue
        one = seats(given.one_worker)
        if room:
            return (
                f"{cell.label}: its {given.fewest} workers ask for {one} each, and the cluster's "
                f"nodes have room for {room}; lower 'resources' or start more nodes"
            )
        names = demand(given)
        most = {name: max((have.get(name, 0.0) for have in nodes), default=0.0) for name in names}
        largest = ", ".join(f"{_amount(n, amount)} {_NAMES[n]}" for n, amount in most.items())
        return (
            f"{cell.label}: its resources ask for {one} on one node, and no node of the cluster "
            f"has that (at most {largest}); lower 'resources' or start a node that has it"
        )
    return None


def short_of(resources: Resources, have: Mapping[str, float]) -> list[str]:
    """What a cell of these resources asks for and so much does not have, in words."""
    return [
        f"{_amount(name, amount)} {_NAMES[name]}, this machine has "
        f"{_amount(name, have.get(name, 0.0))}"
        for name, amount in _least(resources).items()
        if amount > have.get(name, 0.0) + 1e-9
    ]


def check_fits(cells: Iterable[Cell], have: Mapping[str, float]) -> None:
    """Raises InputError for a cell that can never run with so much."""
    found = misfit(cells, have)
    if found is not None:
        raise InputError(found)


_NAMES = {"CPU": "CPU", "GPU": "GPU", "memory": "MB of memory"}


def _amount(name: str, amount: float) -> str:
    return f"{amount / MB:.0f}" if name == "memory" else f"{amount:g}"


def _least(resources: Resources) -> dict[str, float]:
    """What a cell cannot do without. Workers that share devices do not lie across two of them."""
    fewest = resources.model_copy(update={"workers": resources.fewest})
    wanted = demand(fewest)
    if 0 < resources.devices < 1:
        sharers = math.floor(1 / resources.devices + 1e-9)  # workers that one device holds
        wanted["GPU"] = math.ceil(fewest.workers / sharers)
    return wanted
