"""The nodes of a Ray cluster: which are alive, and which are set aside because they lack something.

A node is a suspect, not a cell. What a cell meets on one node alone (no storage there, other code,
no data, no device) is that node's, and the cell runs elsewhere. A node that answers nobody is lost
before Ray says so: Ray needs a minute, and holds a lost node's task for several more.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from supclap_platform.experiment.schema import Resources
from supclap_platform.running.machine import held

ID_LABEL = "ray.io/node-id"  # Ray's own label of each node
LOOK = 2.0  # seconds between looks at Ray's list
KNOCK = 3.0  # seconds between two tries to reach a node, and for one of them
LOST = 5  # times in a row that a node which has answered is not reached: then it is lost
FIRST, MOST = 60.0, 900.0  # seconds for which a node is set aside, doubled each time; at most


@dataclass(frozen=True)
class Node:
    """A node as Ray lists it. ``port``: where its raylet answers."""

    id: str
    host: str
    address: str
    port: int
    resources: Mapping[str, float]

    def __str__(self) -> str:
        return f"{self.host} ({self.address})"


@dataclass
class _Aside:
    reason: str
    until: float
    pause: float


@dataclass
class Nodes:
    """What is known of each node.

    Args:
        table: Ray's list of nodes, as `ray.nodes` gives it.
        answers: whether a raylet answers at an address and a port.
    """

    table: Callable[[], list[dict[str, Any]]]
    answers: Callable[[str, int], bool]
    clock: Callable[[], float] = time.monotonic
    known: dict[str, Node] = field(default_factory=dict)  # all that were ever alive
    living: dict[str, Node] = field(default_factory=dict)
    _silent: dict[str, int] = field(default_factory=dict)  # how often each was not reached, lately
    _lost: set[str] = field(default_factory=set)  # silent, whatever Ray says of them
    _aside: dict[str, _Aside] = field(default_factory=dict)
    _refused: dict[tuple[str, str], str] = field(default_factory=dict)  # (node, cell) -> reason
    _lacking: dict[tuple[str, str], _Aside] = field(default_factory=dict)  # (node, data)
    _doubted: set[str] = field(default_factory=set)  # asked what they have, and silent
    _looked: float = float("-inf")
    _said: list[str] = field(default_factory=list)

    def look(self) -> list[Node]:
        """Those that were lost since the last look, which may be a moment ago."""
        now = self.clock()
        if now - self._looked < LOOK:
            return []
        self._looked = now
        alive = {}
        for row in self.table():
            if row["Alive"]:
                node = Node(
                    row["NodeID"],
                    row["NodeManagerHostname"],
                    row["NodeManagerAddress"],
                    row["NodeManagerPort"],
                    row["Resources"],
                )
                alive[node.id] = node
        for name, node in alive.items():
            silent = self._silent.get(name, 0) >= LOST
            if silent and name not in self._lost:
                self._lost.add(name)
                self._said.append(f"{node} has not answered for {LOST * KNOCK:.0f} s: it is lost")
            elif not silent and name in self._lost:
                self._lost.discard(name)
                self._said.append(f"{node} answers again")
        found = {name: node for name, node in alive.items() if name not in self._lost}
        gone = [node for name, node in self.living.items() if name not in found]
        self._said += [f"{node} is gone from the cluster" for node in gone if node.id not in alive]
        self.known |= found
        self.living = found
        return gone

    def knock(self) -> None:
        """Tries to reach every node; whoever calls it may wait `KNOCK` seconds."""

        def one(node: Node) -> None:
            if self.answers(node.address, node.port):
                self._silent[node.id] = 0
            elif node.id in self._silent:  # it has answered before: no firewall is in the way
                self._silent[node.id] += 1

        nodes = [self.known[n] for n in {*self.living, *self._lost}]
        threads = [threading.Thread(target=one, args=(node,), daemon=True) for node in nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(KNOCK)

    def silent(self, node: Node) -> bool:
        """Whether a node that was lost still counts as living with Ray."""
        return node.id in self._lost

    # -- set aside ------------------------------------------------------------------------------

    def set_aside(self, name: str, reason: str) -> None:
        """No cell starts on a node for a while: what it lacks, every cell needs."""
        before = self._aside.get(name)
        pause = FIRST if before is None else min(2 * before.pause, MOST)
        self._aside[name] = _Aside(reason, self.clock() + pause, pause)
        text = f"{self._shown(name)} is set aside: {reason}"
        if before is None or before.reason != reason:
            self._said.append(f"{text}; its cells run elsewhere, and it is tried again")

    def due(self) -> list[Node]:
        """Nodes that were set aside and are to be looked at again."""
        now = self.clock()
        return [
            self.living[n] for n, a in self._aside.items() if a.until <= now and n in self.living
        ]

    def take_back(self, name: str) -> None:
        """A node has what it lacked."""
        if self._aside.pop(name, None) is not None:
            self._said.append(f"{self._shown(name)} is fit again")

    def refuse(self, name: str, signature: str, reason: str) -> None:
        """A node could not run a cell: it is not given that one again."""
        self._refused[name, signature] = reason
        self._said.append(f"{self._shown(name)} could not run a cell: {reason}; another is tried")

    def lack(self, name: str, data: str, reason: str) -> None:
        """A node lacks what all cells of some data need."""
        self._lacking[name, data] = _Aside(reason, self.clock() + MOST, MOST)
        self._said.append(f"{self._shown(name)} is set aside for cells of its data: {reason}")

    def ran(self, signature: str, data: str) -> None:
        """A cell has run: nodes that refused it lack something that all cells of its data need."""
        for (name, cell), reason in list(self._refused.items()):
            if cell == signature:
                del self._refused[name, cell]
                self.lack(name, data, reason)

    def doubt(self, name: str) -> None:
        """A node was asked what it has and has not answered yet: others are used first."""
        self._doubted.add(name)

    def heard(self, name: str, said: bool = True) -> None:
        """A node has answered; ``said``: with what it has."""
        if name in self._doubted:
            self._doubted.discard(name)
            if said:
                self._said.append(f"{self._shown(name)} has answered")

    def doubted(self, resources: Resources, signature: str, data: str) -> set[str]:
        """The living nodes that are not to be given a cell while they do not answer: none where no
        other could run it."""
        names = self._doubted & self.living.keys()
        if not names or not self.holds(resources, {*names, *self.barred(signature, data)}):
            return set()
        return names

    def barred(self, signature: str, data: str) -> dict[str, str]:
        """The living nodes that a cell is not given to, each with the reason."""
        now = self.clock()
        found = {name: aside.reason for name, aside in self._aside.items()}
        found |= {n: a.reason for (n, d), a in self._lacking.items() if d == data and a.until > now}
        found |= {n: reason for (n, cell), reason in self._refused.items() if cell == signature}
        return {name: reason for name, reason in found.items() if name in self.living}

    def selector(
        self, cells: Iterable[tuple[str, str]], but: Collection[str] = ()
    ) -> dict[str, str]:
        """Ray's label selector that keeps cells from nodes that are barred or lost.

        Args:
            cells: their signatures, each with its data.
            but: further nodes that it keeps them from.
        """
        barred = (name for cell in cells for name in self.barred(*cell))
        names = sorted({*barred, *self._lost, *but})
        return {ID_LABEL: f"!in({', '.join(names)})"} if names else {}

    def holds(self, resources: Resources, without: Collection[str] = ()) -> bool:
        """Whether living nodes, but those, have in all what a cell cannot do without."""
        nodes = [node for name, node in self.living.items() if name not in without]
        return sum(held(resources, node.resources) for node in nodes) >= resources.fewest

    def why_nowhere(self, resources: Resources, signature: str, data: str) -> str:
        """Why no node can run a cell although some have the resources; empty where one can."""
        barred = self.barred(signature, data)
        if not barred or self.holds(resources, barred) or not self.holds(resources):
            return ""
        reasons = _grouped((self._shown(name), reason) for name, reason in barred.items())
        return f"no node can run it: {reasons}"

    def news(self) -> list[str]:
        """Lines on nodes that nobody has been given yet."""
        said, self._said = self._said, []
        return said

    def _shown(self, name: str) -> str:
        return str(self.known[name]) if name in self.known else name


def _grouped(reasons: Iterable[tuple[str, str]]) -> str:
    """Each reason once, after the nodes that have it."""
    by_reason: dict[str, list[str]] = {}
    for node, reason in reasons:
        by_reason.setdefault(reason, []).append(node)
    return "; ".join(f"{', '.join(nodes)}: {reason}" for reason, nodes in by_reason.items())


def raylet_answers(address: str, port: int) -> bool:
    """Whether anybody takes a connection there, within `KNOCK` seconds."""
    try:
        socket.create_connection((address, port), timeout=KNOCK).close()
    except OSError:
        return False
    return True


def keep_knocking(nodes: Nodes, ended: threading.Event | None = None) -> Callable[[], None]:
    """Tries to reach all nodes every `KNOCK` seconds, in a thread; returns what ends that."""
    ended = ended or threading.Event()

    def knock() -> None:
        spent = 0.0  # a node that does not answer takes all the time that there is between two
        while not ended.wait(max(0.0, KNOCK - spent)):
            began = nodes.clock()
            nodes.knock()
            spent = nodes.clock() - began

    threading.Thread(target=knock, name="nodes", daemon=True).start()
    return ended.set
