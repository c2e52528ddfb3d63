"""The cluster that a run was attached to, as its executor sees it: which node may be given what."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from supclap.errors import InputError
from supclap.wording import duration, gist
from supclap_platform.experiment.cells import Cell
from supclap_platform.ledger.leases import STALE_AFTER
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.names import PREFLIGHT
from supclap_platform.ledger.staleness import code_of_package
from supclap_platform.running.ending import Ending
from supclap_platform.running.machine import demand, impossible
from supclap_platform.running.nodes import Node, Nodes, keep_knocking, raylet_answers
from supclap_platform.running.place import Place, end_process
from supclap_platform.running.preflight import SECONDS, Answers, Questions, answer
from supclap_platform.running.ray_internals import can_grow
from supclap_platform.running.task import Task, task_of

PATIENCE = 15.0  # seconds that `supclap doctor` gives the nodes: a process may begin slowly there
SHORT = 30.0  # seconds that a cell waits for a node that is not there until a line says so


class Fleet:
    """The nodes of a cluster with the cells of one experiment."""

    def __init__(self, ledger: Ledger, experiment: str) -> None:
        self.nodes = Nodes(ray.nodes, raylet_answers)
        self._ledger = ledger
        self._experiment = experiment
        self._kinds: dict[str, Cell] = {}  # a cell for each kind of data
        self._asked: dict[Any, Node] = {}  # nodes that have not answered yet, by Ray's reference
        self._marker = _marker()
        self._short = ""  # what no node has, in words
        self._short_since = 0.0
        self._lines: list[str] = []
        self._cards: dict[str, float] = {}  # by node: the memory of its smallest device, in MB
        self.nodes.look()
        self.nodes.knock()
        keep_knocking(self.nodes)

    def begin(self, cells: list[Cell]) -> None:
        """Raises InputError for a cell that a cluster can never run, or where no node is fit."""
        living = list(self.nodes.living.values())
        found = impossible(cells, [node.resources for node in living])
        if found is not None and not can_grow():
            raise InputError(found)
        self._kinds = {cell.data: cell for cell in reversed(cells)}
        useful = [node for node in living if _useful(node, cells)]
        self._ask(useful)
        self._hear(SECONDS)
        for node in self._asked.values():
            self.nodes.doubt(node.id)
            self._lines.append(
                f"{node} has not answered within {duration(SECONDS)}: until it does, it is given "
                "only cells that no other node can run"
            )
        reasons = [self.why_nowhere(cell) for cell in cells]
        if cells and all(reasons) and not can_grow():
            raise InputError(reasons[0])

    def look(self) -> list[Node]:
        """The nodes that were lost since the last look. Asks again those that were set aside."""
        gone = self.nodes.look()
        self._hear(0.0)
        with contextlib.suppress(OSError):  # a storage that is away: they stay aside
            self._ask(self.nodes.due())
        return gone

    def end(self, place: Place) -> None:
        """Kills the process of a cell on a node that lives: paused, it would keep what it has."""
        if place.node in self.nodes.living:
            there = NodeAffinitySchedulingStrategy(place.node, soft=False)
            options: dict[str, Any] = {"num_cpus": 0, "max_retries": 0}
            ray.remote(end_process).options(scheduling_strategy=there, **options).remote(place)

    def doubt(self, name: str) -> None:
        """A cell's process has fallen silent on a node: it is asked whether it still has all, and
        until it answers others are used first."""
        node = self.nodes.living.get(name)
        if node is None:
            return
        self._lines.append(
            f"{node}: a cell's process has not renewed its lease for {STALE_AFTER:.0f} s: the "
            "cell starts anew, elsewhere if it can until the node answers"
        )
        with contextlib.suppress(OSError):
            if self._kinds:
                self._ask([node])
                self.nodes.doubt(name)

    def judged(self, cell: Cell, node: str, ending: Ending) -> Ending:
        """How an attempt on a node has ended, what the node may be to blame for put down to it."""
        if ending.kind == "done":
            self.nodes.ran(cell.signature, cell.data)
            return ending
        if not ending.configuration or not node:
            return ending
        if ending.unfit:
            self.nodes.set_aside(node, ending.error)
        else:
            self.nodes.refuse(node, cell.signature, ending.error)
        why = self.why_nowhere(cell)
        if why:
            return Ending("failed", why, ending.log, configuration=True)
        return Ending("moved", ending.error, ending.log)

    def selector(self, *cells: Cell) -> dict[str, str]:
        """Ray's label selector that keeps these cells from nodes that are barred or lost, or do not
        answer."""
        doubted = {name for cell in cells for name in self._doubted(cell)}
        return self.nodes.selector([(cell.signature, cell.data) for cell in cells], doubted)

    def why_nowhere(self, cell: Cell) -> str:
        return self.nodes.why_nowhere(cell.resources, cell.signature, cell.data)

    def room(self, cell: Cell, later: bool = False) -> dict[str, float]:
        """What the nodes have in all that may be given a cell. ``later``: also those that are yet
        to answer."""
        barred = set(self.nodes.barred(cell.signature, cell.data))
        if not later:
            barred |= self._doubted(cell)
        total: dict[str, float] = {}
        for name, node in self.nodes.living.items():
            if name not in barred:
                for resource, amount in node.resources.items():
                    total[resource] = total.get(resource, 0.0) + amount
        return total

    def card(self, cell: Cell) -> float | None:
        """The memory of the smallest device that a cell may be given, in MB; None where no node
        has said it yet."""
        barred = self.nodes.barred(cell.signature, cell.data)
        named = self._cards.items()
        usable = (mb for name, mb in named if name in self.nodes.living and name not in barred)
        return min(usable, default=None)

    def watch_room(self, cells: Iterable[Cell]) -> None:
        """Says after a while what open cells wait for that no node has."""
        each = {tuple(sorted(demand(cell.resources).items())): cell for cell in cells}
        living = [node.resources for node in self.nodes.living.values()]
        found = impossible(each.values(), living) or ""
        now = time.monotonic()
        if found != self._short:
            self._short, self._short_since = found, now
        elif found and now - self._short_since >= SHORT:
            self._lines.append(f"waiting: {found}")
            self._short_since = float("inf")  # once

    def ask_no_more(self) -> None:
        """Waits for no answer any more: nothing is left to run."""
        if self._asked:
            self._asked.clear()
            self._clear()

    def news(self) -> list[str]:
        lines, self._lines = self._lines, []
        return [*self.nodes.news(), *lines]

    def _doubted(self, cell: Cell) -> set[str]:
        return self.nodes.doubted(cell.resources, cell.signature, cell.data)

    def _ask(self, nodes: Iterable[Node]) -> None:
        asked = {node.id for node in self._asked.values()}
        nodes = [node for node in nodes if node.id not in asked]
        if not nodes or not self._kinds:
            return
        tasks = [(k, task_of(c, self._ledger, self._experiment)) for k, c in self._kinds.items()]
        self._asked |= _asked(nodes, self._ledger, self._marker, tuple(tasks))

    def _hear(self, seconds: float) -> None:
        """Takes in what nodes have answered, at the latest after so many seconds."""
        if not self._asked:
            return
        answered, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=seconds)
        for reference in answered:
            node = self._asked.pop(reference)
            try:
                found: Answers = ray.get(reference)
            except ray.exceptions.RayError:
                self.nodes.heard(node.id, said=False)  # it was lost meanwhile
                continue
            self.nodes.heard(node.id)
            if found.lacks:
                self.nodes.set_aside(node.id, found.lacks)
                continue
            self.nodes.take_back(node.id)
            if found.cards:
                self._cards[node.id] = min(found.cards)
            for kind, reason in found.data.items():
                self.nodes.lack(node.id, kind, reason)
        if not self._asked:
            self._clear()

    def _clear(self) -> None:
        with contextlib.suppress(OSError):
            self._ledger.storage.delete(self._marker)


def examined(ledger: Ledger, cells: Iterable[Cell] = (), experiment: str = "") -> dict[str, str]:
    """What each node of the cluster that this process is connected to lacks; empty where nothing.

    Args:
        cells: of an experiment of that name: what they need of data and weights is looked for too,
            and nothing is fetched.

    Raises:
        InputError: the storage cannot be written.
    """
    nodes = Nodes(ray.nodes, raylet_answers)
    nodes.look()
    marker = _marker()
    tasks = tuple((str(n), task_of(cell, ledger, experiment)) for n, cell in enumerate(cells))
    asked = _asked(nodes.living.values(), ledger, marker, tasks, fetching=False)
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=PATIENCE)
    found = {str(node): f"has not answered in {duration(PATIENCE)}" for node in asked.values()}
    for reference in answered:
        try:
            said: Answers = ray.get(reference)
            reasons = dict.fromkeys([said.lacks, *said.data.values()])
            found[str(asked[reference])] = "; ".join(filter(None, reasons))
        except ray.exceptions.RayError as error:
            found[str(asked[reference])] = gist(error)
    ledger.storage.delete(marker)
    return found


def _marker() -> str:
    """A file in the storage that nodes look for."""
    return f"{PREFLIGHT}{secrets.token_hex(4)}"


def _asked(
    nodes: Iterable[Node],
    ledger: Ledger,
    marker: str,
    tasks: tuple[tuple[str, Task], ...] = (),
    fetching: bool = True,
) -> dict[Any, Node]:
    """Asks each node what it has; by Ray's reference to its answer."""
    # What the driver has just written, a node sees that shares its storage.
    ledger.storage.write(marker, b"")
    found = {}
    for node in nodes:
        gpus = int(node.resources.get("GPU", 0.0))
        own = code_of_package()
        questions = Questions(ledger.storage.place, marker, own, tasks, gpus, fetching)
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        options: dict[str, Any] = {"num_cpus": 0, "max_retries": 0}
        ask = ray.remote(answer)
        if gpus:  # its own process, which then ends: one that has looked at devices holds them
            options["runtime_env"] = {"env_vars": {"SUPCLAP_PREFLIGHT": "1"}}
            ask = ray.remote(max_calls=1)(answer)
        asked = ask.options(scheduling_strategy=there, **options)
        found[asked.remote(questions)] = node
    return found


def _useful(node: Node, cells: list[Cell]) -> bool:
    """Whether a node could hold a worker of any of the cells: a head often has no cores."""
    alone = (replace(cell, resources=cell.resources.one_worker) for cell in cells)
    return any(not impossible([one], [node.resources]) for one in alone)
