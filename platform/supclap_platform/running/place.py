"""Where an attempt at a cell is, as it says itself: known when its machine is lost."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from supclap_platform.ledger.leases import LeaseName


@dataclass(frozen=True)
class Place:
    """A process of the cluster.

    node, process: Ray's ids; empty where Ray does not know it. host, pid: as a lease has them.
    """

    node: str = ""
    process: str = ""
    host: str = ""
    pid: int = 0


def here() -> Place:
    """This process, which Ray has started."""
    import ray

    context, own = ray.get_runtime_context(), LeaseName.own()
    return Place(context.get_node_id(), context.get_worker_id(), own.host, own.pid)


def end_process(place: Place) -> None:
    """Kills a process of Ray's on this machine, which may be paused, so that Ray gives what it had
    reserved to another."""
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(place.pid)
        if place.host == LeaseName.own().host and _of_ray(process.cmdline()):
            process.kill()


def _of_ray(words: list[str]) -> bool:
    return bool(words) and words[0].startswith("ray::")
