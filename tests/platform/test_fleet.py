"""Which nodes cells are given while some do not answer, without Ray: its answers are given here."""

from __future__ import annotations

from pathlib import Path

import pytest
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.running.nodes import ID_LABEL, Node
from supclap_platform.running.preflight import Answers
from two_nodes import ONE, TWO, World

pytestmark = pytest.mark.heavy  # imports Ray

FILE = """
experiment: shown
base: {epochs: 1}
variants: {A: {}}
resources: {cpu: 2}
table: {columns: [t2a.R@1]}
"""


class Cluster:
    """Two nodes, of which those of ``answers`` answer what they lack."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        import ray
        from supclap_platform.running import fleet as module

        path = folder / "e.yaml"
        path.write_text(FILE, encoding="utf-8")
        (self.cell,) = cells_of(load_experiment(path))
        self.world = World()
        self.answers = {"one": Answers()}
        self.asked: list[str] = []

        def asked(nodes: list[Node], *_: object) -> dict[str, Node]:
            self.asked += [node.host for node in nodes]
            return {node.host: node for node in nodes}

        patch.setattr(module, "Nodes", lambda *_: self.world.nodes)
        patch.setattr(module, "keep_knocking", lambda nodes: None)
        patch.setattr(module, "_asked", asked)
        patch.setattr(ray, "wait", lambda refs, **_: ([r for r in refs if r in self.answers], []))
        patch.setattr(ray, "get", lambda reference: self.answers[reference])
        self.fleet = module.Fleet(open_ledger(folder / "storage", writing=True), "shown")

    def passes(self, seconds: float) -> None:
        self.world.now += seconds
        self.fleet.look()

    def room(self, cell: Cell, later: bool = False) -> float:
        return self.fleet.room(cell, later)["CPU"]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(tmp_path, monkeypatch)


def test_a_node_that_does_not_answer_before_the_first_cell_is_used_once_it_does(
    cluster: Cluster,
) -> None:
    fleet, cell = cluster.fleet, cluster.cell
    fleet.begin([cell])
    assert cluster.asked == ["one", "two"]
    assert fleet.news() == [
        "two (10.0.0.2) has not answered within 5 s: until it does, it is given only cells that no "
        "other node can run"
    ]
    assert fleet.selector(cell) == {ID_LABEL: f"!in({TWO})"}
    assert (cluster.room(cell), cluster.room(cell, later=True)) == (2.0, 4.0)
    cluster.passes(600)
    assert cluster.asked == ["one", "two"]  # the question still stands
    cluster.answers["two"] = Answers()
    cluster.passes(3)
    assert fleet.selector(cell) == {}
    assert cluster.room(cell) == 4.0
    assert fleet.news() == ["two (10.0.0.2) has answered"]


def test_where_no_node_answers_all_are_used(cluster: Cluster) -> None:
    cluster.answers.clear()
    cluster.fleet.begin([cluster.cell])
    assert cluster.fleet.selector(cluster.cell) == {}
    assert cluster.room(cluster.cell) == 4.0


def test_a_node_on_which_a_process_fell_silent_is_asked_anew(cluster: Cluster) -> None:
    fleet, cell = cluster.fleet, cluster.cell
    cluster.answers["two"] = Answers()
    fleet.begin([cell])
    del cluster.answers["two"]
    fleet.doubt(TWO)
    assert cluster.asked == ["one", "two", "two"]
    assert fleet.selector(cell) == {ID_LABEL: f"!in({TWO})"}
    (line,) = fleet.news()
    assert line.startswith("two (10.0.0.2): a cell's process has not renewed its lease for 60 s")
    cluster.answers["two"] = Answers("it cannot write to the storage")
    cluster.passes(3)
    assert "two (10.0.0.2) is set aside: it cannot write to the storage" in fleet.news()[1]
    assert fleet.selector(cell) == {ID_LABEL: f"!in({TWO})"}
    fleet.doubt("of a node that is gone")
    assert fleet.news() == []
    assert cluster.room(cell) == 2.0
    assert ONE in cluster.world.nodes.living
