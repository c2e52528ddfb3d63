"""Runs cells as Ray tasks."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.schema import Resources
from supclap_platform.ledger.leases import STALE_AFTER
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.running.attempt import run_cell
from supclap_platform.running.cluster import Cluster, dead_of
from supclap_platform.running.ending import GRACE, Ending
from supclap_platform.running.fleet import Fleet
from supclap_platform.running.heartbeats import Claim, Heartbeats, Sign
from supclap_platform.running.machine import MB, check_fits, demand, seats
from supclap_platform.running.place import Place, here
from supclap_platform.running.preflight import cards_here
from supclap_platform.running.ray_internals import free_orphaned_groups, nodes_of_groups
from supclap_platform.running.shares import Shares
from supclap_platform.running.task import Task, nested, task_of

MOST_BUNDLES = 1_000
REFRESH = 5.0  # seconds between looks at the resources of a cluster, which may grow and shrink
ORPHANS = 60.0  # seconds in which a cell that has ended badly may leave something reserved
SOON = 5.0  # seconds in which Ray begins a cell that it has room for, with a process made for it
CARDS = 60.0  # seconds in which this machine says how large its devices are
UNSAID = 10.0  # seconds in which a cell says where it is that was not lost with a node
KILLED = 5.0  # seconds in which a process is gone that was killed


@dataclass
class _Attempt:
    """A cell that was given to Ray. ``place``: where it has begun; None before that, and then
    ``doubted``: when a node was lost, which may have been its own."""

    cell: Cell
    since: float
    place: Place | None = None
    doubted: float | None = None


class _Dead(Ending):
    """Of an attempt whose process has ended and could not say how."""


class RayExecutor:
    """Cells as Ray tasks, no more at once than the cluster has room for.

    The bound is what keeps trials under Ray Train from taking each other's place: of two that
    have started, each with room for half its workers, neither would ever get the other half.
    """

    def __init__(
        self,
        cluster: Cluster,
        ledger: Ledger,
        experiment: str,
        work: Callable[[Task], Ending] = run_cell,
    ) -> None:
        self._cluster = cluster
        self._ledger = ledger
        self._experiment = experiment
        self.fleet = None if cluster.own else Fleet(ledger, experiment)
        self._heartbeats = Heartbeats(ledger, experiment)
        self._total = cluster.resources()
        self._orphans_until = self._freed = 0.0
        self._reported = -REFRESH  # so that the first word is said at once
        self.shares = Shares(ledger, self._card)
        self._own_card: float | None = None  # the memory of an own Ray's smallest device
        self._running: dict[Any, _Attempt] = {}  # by Ray's stream of what the task says
        self._work = work
        self._run = ray.remote(_saying_where)
        # A process that has computed on a device stays there, whichever device Ray gives it next,
        # and keeps memory of it. Ray ends one itself only where devices are asked for right here.
        self._run_on_device = ray.remote(max_calls=1)(_saying_where)

    def begin(self, cells: list[Cell]) -> None:
        """Looks before the first cell whether these can run.

        Raises:
            InputError: a cell asks for what a Ray that cannot grow has not, or no node is fit.
        """
        if self.fleet is None:
            check_fits(cells, self._total)
            if any(cell.resources.auto for cell in cells):
                self._own_card = _smallest_card()
        else:
            self.fleet.begin(cells)

    def require_ray(self) -> None:
        """Raises RayLost where an own Ray is dead."""
        self._cluster.check()

    def room_for(self, cell: Cell) -> bool:
        if not self._running:
            return True  # where the cluster is too small now, its autoscaler sees that it waits
        cell = self.shares.given(cell)
        total = self._totals(cell)
        used: dict[str, float] = {}
        for running in self._running.values():
            for name, amount in demand(running.cell.resources).items():
                used[name] = used.get(name, 0.0) + amount
        return all(
            used.get(name, 0.0) + amount <= total.get(name, 0.0) + 1e-9
            for name, amount in demand(cell.resources).items()
        )

    def places(self, cell: Cell) -> int:
        """How many cells like this one fit the cluster at once."""
        cell = self.shares.given(cell)
        total = self._totals(cell, later=True)
        return max(1, min(int(total.get(n, 0.0) / a) for n, a in demand(cell.resources).items()))

    def submit(self, cell: Cell) -> None:
        auto, cell = cell.resources.auto, self.shares.begins(cell)
        task = task_of(cell, self._ledger, self._experiment)
        if auto:
            task = replace(task, share=cell.resources.devices)
        nodes = self.fleet.selector(cell) if self.fleet else {}
        options = _options(cell.resources) | _processes_for(task.user_code)
        if nested(cell.resources):
            task = replace(task, nodes=nodes)
        elif nodes:
            options["label_selector"] = nodes
        run = self._run_on_device if options.get("num_gpus") else self._run
        said = run.options(name=cell.signature, **options).remote(self._work, task)
        self._running[said] = _Attempt(cell, time.monotonic())

    def why_nowhere(self, cell: Cell) -> str:
        """Why no node can run a cell, each having been tried; empty where one may."""
        return self.fleet.why_nowhere(cell) if self.fleet else ""

    def news(self) -> list[str]:
        """Lines on the cluster's nodes that nobody has been given yet."""
        return [*(self.fleet.news() if self.fleet else []), *self.shares.news()]

    def waiting_for(self, cell: Cell) -> str:
        """What a cell that was submitted waits for, in words; empty once it has begun."""
        for attempt in self._running.values():
            if attempt.cell.signature == cell.signature and attempt.place is None:
                late = time.monotonic() - attempt.since > SOON
                return seats(cell.resources) if late and not self._cluster.own else ""
        return ""

    def want(self, cells: list[Cell]) -> None:
        """Reports to a cluster's autoscaler all that is to run: it sees only what is submitted.

        Call it often: it speaks to the cluster once in a while, and at once where nothing is left.
        """
        if not cells and self.fleet is not None:
            self.fleet.ask_no_more()
        due = not cells or time.monotonic() - self._reported > REFRESH
        if due and not self._cluster.own:
            self._reported = time.monotonic()
            from ray.autoscaler.sdk import request_resources

            given = [self.shares.given(cell) for cell in cells]
            bundles = [bundle for cell in given for bundle in _bundles(cell.resources)]
            request_resources(bundles=bundles[:MOST_BUNDLES])
            if self.fleet is not None:
                self.fleet.watch_room(cells)

    def wait(self, seconds: float) -> list[tuple[str, Ending]]:
        self.require_ray()
        self._free()
        lost = self._lose()
        if lost or not self._running:
            time.sleep(0 if lost else seconds)
            return lost
        running = list(self._running)
        ended, _ = ray.wait(running, num_returns=1, timeout=seconds)
        if ended:  # and whatever has ended with it
            ended, _ = ray.wait(running, num_returns=len(running), timeout=0)
        found = [(said, _heard(said)) for said in ended]
        self.require_ray()  # of what ends with Ray nothing counts as an attempt
        endings = []
        for said, heard in found:
            if isinstance(heard, Place):
                self._running[said].place = heard
            else:
                attempt = self._running.pop(said)
                if isinstance(heard, _Dead):
                    self._evict(attempt)
                endings.append((attempt.cell.signature, self._judged(attempt, heard)))
        return endings

    def _judged(self, attempt: _Attempt, ending: Ending) -> Ending:
        """How an attempt has ended, what its node may be to blame for put down to that."""
        if nested(attempt.cell.resources) and ending.kind != "done":
            self._orphans_until = time.monotonic() + ORPHANS
        if ending.kind == "done":
            self.shares.ended(attempt.cell)
        elif ending.short:
            return self.shares.too_small(attempt.cell, ending)
        if self.fleet is None:
            return ending
        node = ending.node or (attempt.place.node if attempt.place else "")
        return self.fleet.judged(attempt.cell, node, ending)

    def _lose(self) -> list[tuple[str, Ending]]:
        """The attempts that were lost with their nodes. Ray itself would hold them for minutes."""
        if self.fleet is None:
            return []
        found, now = [], time.monotonic()
        for node in self.fleet.look():
            silent = self.fleet.nodes.silent(node)
            for said, attempt in list(self._running.items()):
                place = attempt.place
                if place is None:
                    attempt.doubted = attempt.doubted or now
                # Of a machine that Ray calls dead Ray Train itself replaces the workers.
                elif place.node == node.id or (silent and node.id in _workers_of(attempt)):
                    found.append(self._drop(said, Ending("lost", f"its machine {node} is gone")))
        return [*found, *self._lose_unsaid(now), *self._lose_silent()]

    def _lose_unsaid(self, now: float) -> list[tuple[str, Ending]]:
        """The attempts that may have been lost with a node before they said where they are. One
        that only waits for room waits anew; of one that has begun the lease keeps a second out."""
        moved = Ending("moved", "it has not begun, and a machine was lost")
        overdue = [
            said
            for said, attempt in self._running.items()
            if attempt.place is None and attempt.doubted and now - attempt.doubted > UNSAID
        ]
        return [self._drop(said, moved) for said in overdue if not _says_more(said)]

    def _lose_silent(self) -> list[tuple[str, Ending]]:
        """The attempts whose processes have fallen silent, on nodes that live."""
        assert self.fleet is not None
        claims = {
            said: Claim(attempt.place, (attempt.cell.signature,))
            for said, attempt in self._running.items()
            if attempt.place is not None
        }
        found = []
        for said, sign in self._heartbeats.look(claims).items():
            if _says_more(said):
                continue
            place = claims[said].place
            self.fleet.end(place)
            if sign is not Sign.TAKEN:
                self.fleet.doubt(place.node)
            found.append(self._drop(said, _ending_of(sign)))
        return found

    def _drop(self, said: Any, ending: Ending) -> tuple[str, Ending]:
        """Ends an attempt of which nothing more is awaited."""
        attempt = self._running.pop(said)
        _forget(said)
        self._evict(attempt)
        return attempt.cell.signature, self._judged(attempt, ending)

    def _evict(self, attempt: _Attempt) -> None:
        """Takes a cell from a process that is dead: on another machine nobody else can know it."""
        if self.fleet is not None and attempt.place is not None:
            place = attempt.place
            self._ledger.evict(attempt.cell.signature, place.host, place.pid)

    def _free(self) -> None:
        """Gives back what cells under Ray Train have left reserved that ended badly."""
        now = time.monotonic()
        if now < self._orphans_until and now - self._freed > 1.0:
            self._freed = now
            free_orphaned_groups()

    @property
    def lost(self) -> bool:
        """Whether an own Ray has died."""
        return bool(dead_of(self._cluster.daemons))

    def cancel(self) -> None:
        """Ends all attempts as Ctrl-C does, so that each gives its lease back, and waits for that:
        Ray kills what still runs when this process leaves it. Who does not end in time is killed,
        and its lease taken away."""
        for said in self._running:
            ray.cancel(said)
        dead = [attempt for attempt, heard in self._ended(GRACE) if isinstance(heard, _Dead)]
        for said in self._running:  # by force those alone: Ray 2.60 aborts where one is just ending
            ray.cancel(said, force=True)
        dead += [attempt for attempt, _ in self._ended(KILLED)]
        for attempt in dead:
            if attempt.place is not None:
                self._ledger.evict(attempt.cell.signature, attempt.place.host, attempt.place.pid)
        self._running.clear()

    def _ended(self, seconds: float) -> list[tuple[_Attempt, Ending]]:
        """The attempts that end within so many seconds, and how; they run no more. That one says
        where it is, which it may not have said before, is no end.

        What is waited for is the end of the task, not its next word: of a task that was cancelled
        Ray has a next word at once, and asking for it waits for the task, however long that runs on
        (Python drops the KeyboardInterrupt that comes while an object is freed).
        """
        until, found = time.monotonic() + seconds, []
        ends = {said.completed(): said for said in self._running}
        while ends:
            left = max(0.0, until - time.monotonic())
            ended, _ = ray.wait(list(ends), num_returns=1, timeout=left)
            if not ended:
                break
            said = ends.pop(ended[0])
            attempt = self._running.pop(said)
            heard = _heard(said)
            while isinstance(heard, Place):
                attempt.place = heard
                heard = _heard(said)
            found.append((attempt, heard))
        return found

    def _card(self, cell: Cell) -> float | None:
        """The memory of the smallest device that a cell may be given, in MB."""
        return self.fleet.card(cell) if self.fleet else self._own_card

    def _totals(self, cell: Cell, later: bool = False) -> dict[str, float]:
        """What the nodes have in all that may be given the cell, now or ``later``."""
        return self.fleet.room(cell, later) if self.fleet else self._total


def _smallest_card() -> float | None:
    """The memory of this machine's smallest device, in MB, asked for in a process of its own, which
    then ends: one that has looked at devices keeps a context there."""
    apart = {"env_vars": {"SUPCLAP_PREFLIGHT": "1"}}
    once = ray.remote(max_calls=1)(cards_here)
    asked = once.options(num_cpus=0, max_retries=0, runtime_env=apart)
    with contextlib.suppress(ray.exceptions.RayError):
        return min(ray.get(asked.remote(), timeout=CARDS), default=None)
    return None


def _options(resources: Resources) -> dict[str, Any]:
    """Ray's options for a cell's task.

    A task that starts workers under Ray Train only waits for them: the workers reserve the cores,
    the task reserves none. It runs on the driver's machine, so that the loss of another machine
    ends workers, which are restarted, and never the task that waits for them.
    """
    if nested(resources):
        own = ray.get_runtime_context().get_node_id()
        beside = NodeAffinitySchedulingStrategy(own, soft=True)
        return {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": beside}
    return {
        "num_cpus": resources.cpu,
        "num_gpus": resources.devices,
        "memory": (resources.memory or 0) * MB or None,
        "max_retries": 0,  # the grid's own retries know a mistake from a crash
    }


def _processes_for(user_code: str) -> dict[str, Any]:
    """Ray's options for the processes of cells that load this code of the user's.

    Ray runs one task after another in a process, but for those of another environment. What code
    does to a process as it is imported must reach no cell whose version does not know of it.
    """
    return {"runtime_env": {"env_vars": {"SUPCLAP_USER_CODE": user_code}}} if user_code else {}


def _bundles(resources: Resources) -> list[dict[str, float]]:
    return [demand(resources.one_worker)] * resources.workers


def _saying_where(work: Callable[[Task], Ending], task: Task) -> Iterator[Place | Ending]:
    """A cell's task: says where it is, then how it ended."""
    yield here()
    yield work(task)


def _workers_of(attempt: _Attempt) -> set[str]:
    """The nodes of the workers of a cell under Ray Train."""
    if not nested(attempt.cell.resources) or attempt.place is None:
        return set()
    return nodes_of_groups(attempt.place.process)


def _ending_of(sign: Sign) -> Ending:
    """How an attempt has ended that has fallen silent."""
    if sign is Sign.TAKEN:
        return Ending("busy")
    if sign is Sign.NEVER:  # no code of the cell has run: it has no part in it
        return Ending("moved", str(sign))
    return Ending("lost", f"its process has not renewed its lease for {STALE_AFTER:.0f} s")


def _says_more(said: Any) -> bool:
    """Whether an attempt has said something that was not heard yet."""
    return bool(ray.wait([said], num_returns=1, timeout=0)[0])


def _forget(said: Any) -> None:
    """Ends an attempt whose node is lost, without waiting for it: nobody there may answer."""

    def cancel() -> None:
        with contextlib.suppress(Exception):
            ray.cancel(said, force=True)

    threading.Thread(target=cancel, name="forget", daemon=True).start()


def _heard(said: Any) -> Place | Ending:
    """The next that a task has said, which is there: where it is, or how it ended."""
    try:
        heard: Place | Ending = ray.get(next(said))
    except StopIteration:
        return Ending("crashed", "the process of the cell said no end")
    except ray.exceptions.TaskCancelledError:
        return Ending("crashed", "cancelled")
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        text = lines[0] if lines else type(error).__name__
        kind: Literal["lost", "crashed"] = "crashed"
        if isinstance(error, ray.exceptions.NodeDiedError):
            kind = "lost"
        return _Dead(kind, f"the process of the cell ended: {text[:300]}")
    return heard


def imported_on_a_worker() -> str:
    """What a Ray worker finds when it imports SupCLAP and Python's own ``platform``."""
    import platform

    from supclap_platform.ledger.staleness import code_of_package

    return f"have supclap {code_of_package()} on {platform.system()} {platform.machine()}"
