"""What is changed inside Ray, where it has no public setting for it.

Tried with Ray 2.60. None of it is needed: a run with a Ray that no longer has what is changed here
starts more processes than it uses, and is as right. `sparing` and `hush` leave alone what is not
there, and where Ray does not start with the changes, `running.cluster` starts it without.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import json
import re
import signal
import threading
import traceback
from collections.abc import Iterator
from typing import Any

from supclap.wording import one_line

WIDTH = 160  # characters of a message of Ray's own
# Of ray._private.parameter.RayParams: what is not started, and a port for the agent that is free:
# the usual one is tried for four seconds where another Ray of this machine has it.
SPARING = {"no_monitor": True, "include_log_monitor": False, "dashboard_agent_listen_port": 0}


@contextlib.contextmanager
def sparing() -> Iterator[None]:
    """Starts of Ray only what one driver on one machine needs.

    Left out are the autoscaler, the monitor of logs that are not shown, and the dashboard, which is
    started even where it is declined: of the time that a short grid takes beyond its cells they
    were a quarter. Nor does Ray answer SIGTERM, while it starts: whoever starts it does.
    """
    with contextlib.ExitStack() as stack:
        whole = _found("ray._private.parameter", "RayParams")
        if whole is not None:
            known = inspect.signature(whole).parameters
            settings = {name: value for name, value in SPARING.items() if name in known}
            less = functools.partial(whole, **settings)
            stack.enter_context(_replaced("ray._private.parameter", "RayParams", less))
        if _found("ray._private.services", "start_api_server") is not None:
            stack.enter_context(
                _replaced("ray._private.services", "start_api_server", lambda *_, **__: ("", None))
            )
        if _found("ray._private.utils", "set_sigterm_handler") is not None:
            stack.enter_context(
                _replaced("ray._private.utils", "set_sigterm_handler", lambda _: None)
            )
        yield


def hush() -> None:
    """Prints each report of Ray's daemons as one line.

    Ray prints the loss of a machine twice, each time with the last lines of one of its own logs,
    and no setting shortens that.
    """
    shown: set[str] = set()

    def print_shortly(data: dict[str, Any], *_: Any, **__: Any) -> None:
        short = one_line("".join(data["lines"]), WIDTH)
        if short not in shown:
            shown.add(short)
            print(f"Ray: {short}", flush=True)

    module, name = "ray._private.worker", "print_to_stdstream"
    if _found(module, name) is not None:
        setattr(importlib.import_module(module), name, print_shortly)


@contextlib.contextmanager
def letting_go() -> Iterator[None]:
    """Lets Ray Train's controller end with the block, however that ends.

    The controller lives as long as something refers to it. Ray leaves a handler of Ctrl-C that
    does, and an error's traceback may. Then `free_orphaned_groups` frees what it has reserved.
    """
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if main else None
    try:
        yield
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        if main:
            signal.signal(signal.SIGINT, before)


def free_orphaned_groups() -> int:
    """Gives back the cores of placement groups of this job whose maker has ended; how many.

    Ray frees what an actor has reserved only when its whole job ends. Ray Train's controller leaves
    it where its workers did not come to begin, and where it was killed.
    """
    import ray
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    actors, groups = _groups()
    dead = {name for name, actor in actors.items() if actor.state == actor.DEAD}
    orphans = [group for group in groups if group.creator_actor_id.hex() in dead]
    for group in orphans:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
    return len(orphans)


def nodes_of_groups(process: str) -> set[str]:
    """The nodes on which actors that a process has started have reserved something."""
    actors, groups = _groups()
    own = {n for n, actor in actors.items() if actor.owner_address.worker_id.hex() == process}
    mine = (group for group in groups if group.creator_actor_id.hex() in own)
    return {bundle.node_id.hex() for group in mine for bundle in group.bundles}


def _groups() -> tuple[dict[str, Any], list[Any]]:
    """All actors by Ray's id, and the placement groups of this job that are there."""
    table = _found("ray._private.state", "state")
    messages = _found("ray.core.generated", "gcs_pb2")
    with contextlib.suppress(Exception):  # of another Ray's inside, or of one that is just ending
        import ray

        job = ray.get_runtime_context().get_job_id()
        accessor = table._connect_and_get_accessor()
        stored = accessor.get_placement_group_table()
        groups = [messages.PlacementGroupTableData.FromString(content) for content in stored]
        found = map(messages.ActorTableData.FromString, accessor.get_actor_table(None, None))
        there = [g for g in groups if g.state != g.REMOVED and g.creator_job_id.hex() == job]
        return {actor.actor_id.hex(): actor for actor in found}, there
    return {}, []


def can_grow() -> bool:
    """Whether an autoscaler adds nodes to the cluster that this process is connected to.

    Ray runs its autoscaler in every cluster. Where it only watches, it calls each node a kind of
    its own, by the node's id; a kind that somebody has configured has a name.
    """
    state = _found("ray._private.state", "state")
    read = _found("ray.experimental.internal_kv", "_internal_kv_get")
    with contextlib.suppress(Exception):  # of another Ray's inside
        config = state.get_cluster_config()
        kinds = [group.name for group in config.node_group_configs] if config else []
        status = json.loads(read(b"__autoscaling_status") or b"{}")
        kinds += status.get("autoscaler_report", {}).get("active_nodes", {})
        return any(not re.fullmatch(r"node_[0-9a-f]{56}", kind) for kind in kinds)
    return False


def bury() -> None:
    """Lets nothing ask a dead Ray when Python exits: Ray Tune would ask its state store there to
    forget a trainable, and wait a minute for the answer."""
    reset = _found("ray.experimental.internal_kv", "_internal_kv_reset")
    if reset is not None:
        reset()


def _found(module: str, name: str) -> Any:
    """What a module of Ray's calls so, or None where there is no such module or thing."""
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


@contextlib.contextmanager
def _replaced(module: str, name: str, by: Any) -> Iterator[None]:
    place = importlib.import_module(module)
    whole = getattr(place, name)
    setattr(place, name, by)
    try:
        yield
    finally:
        setattr(place, name, whole)
