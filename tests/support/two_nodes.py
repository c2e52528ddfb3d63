"""A cluster of two nodes on a clock and a list of nodes of our own."""

from __future__ import annotations

from typing import Any

from supclap_platform.running.nodes import Nodes

ONE, TWO = "1" * 56, "2" * 56  # Ray's ids


class World:
    """Two nodes of two cores each; ``silent`` ones answer nobody, ``dead`` ones Ray has noticed."""

    def __init__(self) -> None:
        self.now = 0.0
        self.silent: set[str] = set()
        self.dead: set[str] = set()
        self.nodes = Nodes(self.table, self.answers, clock=lambda: self.now)
        self.pass_time(6)

    def table(self) -> list[dict[str, Any]]:
        return [
            {
                "NodeID": name,
                "Alive": host not in self.dead,
                "NodeManagerHostname": host,
                "NodeManagerAddress": f"10.0.0.{number}",
                "NodeManagerPort": number,
                "Resources": {"CPU": 2.0},
            }
            for number, (name, host) in enumerate([(ONE, "one"), (TWO, "two")], 1)
        ]

    def answers(self, address: str, port: int) -> bool:
        return ["one", "two"][port - 1] not in self.silent

    def pass_time(self, seconds: float) -> list[str]:
        """The hosts that were lost meanwhile; every node is tried once in three seconds."""
        lost = []
        for _ in range(round(seconds / 3)):
            self.now += 3
            self.nodes.knock()
            lost += [node.host for node in self.nodes.look()]
        return lost
