"""Ray for this process: one of its own on this machine, or a cluster that runs already."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supclap.environment import environment
from supclap.errors import InputError
from supclap.progress import activity
from supclap.scratch import sweep
from supclap_platform.running.garbage import usual_collections
from supclap_platform.running.machine import cores
from supclap_platform.running.ray_folder import PARENT, ray_folder
from supclap_platform.running.ray_internals import bury, hush, sparing

DAEMONS = ("gcs_server", "raylet")
OBJECT_STORE = 100 * 2**20  # bytes; results travel through the ledger, not through Ray
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # the default of 2 s outlasts short epochs
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # as it is; said, so that Ray does not warn
}


class RayLost(BaseException):
    """An own Ray has died. Its cells are not to blame, and can go on.

    It ends a run as KeyboardInterrupt does: Ray Tune must not take it for a fault of its own, and
    ask the dead to stop its trials.
    """


@dataclass(frozen=True)
class Cluster:
    """The cluster that this process is connected to."""

    address: str
    own: bool  # started here, and stopped with this process
    daemons: tuple[Any, ...] = ()  # of an own one: (process, name); without any it is dead

    def check(self) -> None:
        """Raises RayLost where an own Ray is dead. Ray itself notices after a minute, or aborts."""
        dead = dead_of(self.daemons)
        if dead:
            raise RayLost(f"Ray died ({', '.join(dead)} ended)")

    def resources(self) -> dict[str, float]:
        """What all nodes have in total, at this moment: CPU, GPU, memory (bytes) ..."""
        import ray

        return dict(ray.cluster_resources())


@contextlib.contextmanager
def connected(address: str | None = None, cpus: int | None = None) -> Iterator[Cluster]:
    """Ray, for as long as the context lasts.

    Args:
        address: None starts Ray on this machine; "auto" or "host:port" attaches to a cluster.
        cpus: of an own Ray; by default the cores that this process may use.

    Raises:
        InputError: there is no cluster at the address, or Ray does not start.
    """
    usual_collections()
    os.environ.update({k: v for k, v in _SETTINGS.items() if k not in os.environ})
    hush()
    sweep([PARENT, Path(tempfile.gettempdir())])
    ray = _own(cpus or cores()) if address is None else _attached(address)
    with ray as cluster:
        yield cluster


@contextlib.contextmanager
def _own(cpus: int) -> Iterator[Cluster]:
    import ray

    with ray_folder() as folder:
        daemons: tuple[Any, ...] = ()
        try:
            _begin(cpus, folder)
            daemons = _daemons()
            yield Cluster(ray.get_runtime_context().gcs_address, own=True, daemons=daemons)
        finally:
            if daemons and not dead_of(daemons):
                ray.shutdown()
            else:  # what is left of it, or has begun; `ray.shutdown` would wait for the dead
                _end(daemons or _daemons())
                bury()


def _begin(cpus: int, folder: str) -> None:
    """Starts Ray; its files lie in the folder where it allows that."""
    import ray

    try:
        try:
            with sparing():
                _start(cpus, _temp_dir=folder)
        except Exception:  # perhaps of another Ray's inside: its public settings alone
            ray.shutdown()
            _start(cpus)
    except Exception as error:
        raise InputError(f"Ray does not start on this machine: {_first_line(error)}") from error


def _daemons() -> tuple[Any, ...]:
    """The processes of the Ray that this process has just started."""
    import psutil

    found = ((p, p.name()) for p in psutil.Process().children())
    return tuple((process, name) for process, name in found if name in DAEMONS)


def dead_of(daemons: tuple[Any, ...]) -> list[str]:
    """Which of some daemons have ended."""
    import psutil

    def ended(process: Any) -> bool:
        try:
            return bool(process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    names = {process.pid: name for process, name in daemons}
    return [names[process.pid] for process, _ in daemons if ended(process)]


def _end(daemons: tuple[Any, ...]) -> None:
    """Ends the daemons of a Ray of which one has died, and all that they have started."""
    import psutil

    left = []
    for process, _ in daemons:
        with contextlib.suppress(psutil.NoSuchProcess):
            left += [*process.children(recursive=True), process]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=10)


@activity("starting Ray")
def _start(cpus: int, **private: Any) -> None:
    # Workers inherit it; numpy's thread pool is made when they import it, before any cell is known.
    with environment(OMP_NUM_THREADS="1"):
        _init(
            address="local",
            num_cpus=cpus,
            object_store_memory=OBJECT_STORE,
            include_dashboard=False,
            dashboard_host="127.0.0.1",
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=True,
            **private,
        )


def _init(**settings: Any) -> None:
    """Starts or joins Ray. Its own handler of SIGTERM, which ends the process at once, goes."""
    import ray

    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**settings)
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


@contextlib.contextmanager
def _attached(address: str) -> Iterator[Cluster]:
    import ray

    if address.startswith("ray://"):
        raise InputError(
            f"--address {address}: Ray Client is not supported; run on a node of the cluster with "
            "--address auto, or use `supclap submit`"
        )
    if address != "auto":
        _reachable(address)
    try:
        with activity(f"joining the Ray cluster at {address}"):
            _init(
                address=address,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": {**_SETTINGS, "OMP_NUM_THREADS": "1"}},
            )
    except Exception as error:
        raise InputError(
            f"--address {address}: no Ray cluster can be joined there: {_first_line(error)}"
        ) from error
    try:
        yield Cluster(ray.get_runtime_context().gcs_address, own=False)
    finally:
        ray.shutdown()


def _reachable(address: str) -> None:
    """Ray itself would knock for a minute before it gives up."""
    host, sign, port = address.rpartition(":")
    if not sign or not port.isdecimal():
        raise InputError(f"--address {address}: expected 'auto' or HOST:PORT, such as head:6379")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--address {address}: nothing answers there: {reason}") from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
