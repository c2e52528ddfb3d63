"""Which nodes of a cluster are lost or set aside, on a clock and a list of nodes of our own."""

from __future__ import annotations

import threading

import pytest
from supclap_platform.experiment.schema import Resources
from supclap_platform.running.nodes import ID_LABEL, KNOCK, LOST, Nodes, keep_knocking
from two_nodes import ONE, TWO, World
from waiting import until

CELL, OTHER, DATA = "cell", "other", "clotho"


@pytest.fixture
def world() -> World:
    return World()


def test_a_node_that_answers_nobody_is_lost_before_ray_says_so(world: World) -> None:
    world.silent.add("two")
    assert world.pass_time(3 * (LOST - 1)) == []
    assert world.pass_time(3) == ["two"]  # after 15 s
    assert world.nodes.news() == ["two (10.0.0.2) has not answered for 15 s: it is lost"]
    assert world.nodes.selector([(CELL, DATA)]) == {
        ID_LABEL: f"!in({TWO})"
    }  # Ray would still use it
    world.dead.add("two")
    assert world.pass_time(6) == []  # once
    world.silent.clear()
    world.dead.clear()
    world.pass_time(3)
    assert world.nodes.news()[-1] == "two (10.0.0.2) answers again"
    assert world.nodes.selector([(CELL, DATA)]) == {}


class Knocks(threading.Event):
    """Ends after three; notes how long was waited before each."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        if len(self.waits) == 3:
            self.set()
            return True
        self.waits.append(timeout or 0.0)
        self.world.now += timeout or 0.0
        return False


def test_five_tries_take_fifteen_seconds_also_where_each_waits_for_an_answer(world: World) -> None:
    def answers(address: str, port: int) -> bool:
        world.now += KNOCK if port == 2 else 0.0  # until the connection is given up
        return port != 2

    world.nodes.answers = answers
    knocks, began = Knocks(world), world.now
    keep_knocking(world.nodes, knocks)
    until(knocks.is_set)
    assert knocks.waits == [KNOCK, 0.0, 0.0]
    assert world.now - began == 4 * KNOCK


def test_a_node_that_ray_calls_dead_is_lost_at_once(world: World) -> None:
    world.dead.add("one")
    assert world.pass_time(3) == ["one"]
    assert world.nodes.news() == ["one (10.0.0.1) is gone from the cluster"]


def test_a_short_silence_and_a_driver_that_slept_lose_no_node(world: World) -> None:
    world.silent.add("two")
    world.pass_time(12)
    world.silent.clear()
    world.pass_time(3)
    world.silent.add("two")
    assert world.pass_time(12) == []
    world.silent.clear()
    world.now += 3600  # nobody has knocked meanwhile
    assert world.pass_time(3) == []


def test_a_node_that_never_answered_is_left_to_ray() -> None:
    """A firewall may be between it and the driver."""
    world = World()
    world.nodes = Nodes(world.table, lambda address, port: False, clock=lambda: world.now)
    assert world.pass_time(60) == []
    assert len(world.nodes.living) == 2


def test_a_node_set_aside_is_looked_at_again_later_each_time(world: World) -> None:
    nodes = world.nodes
    nodes.set_aside(TWO, "no storage")
    assert nodes.news() == [
        "two (10.0.0.2) is set aside: no storage; its cells run elsewhere, and it is tried again"
    ]
    assert nodes.selector([(CELL, DATA)]) == {ID_LABEL: f"!in({TWO})"}
    pauses = []
    for _ in range(3):
        before = world.now
        while not nodes.due():
            world.now += 1
        pauses.append(world.now - before)
        nodes.set_aside(TWO, "no storage")
    assert pauses == [60, 120, 240]
    assert nodes.news() == []  # the same reason is said once
    nodes.take_back(TWO)
    assert nodes.news() == ["two (10.0.0.2) is fit again"]
    assert nodes.selector([(CELL, DATA)]) == {}


def test_a_node_that_does_not_answer_what_it_has_is_used_only_where_no_other_can(
    world: World,
) -> None:
    """As one whose storage hangs: cells would go there and hang too."""
    nodes, small, large = world.nodes, Resources(), Resources(workers=2, cpu=2)
    nodes.doubt(TWO)
    assert nodes.doubted(small, CELL, DATA) == {TWO}
    assert nodes.doubted(large, CELL, DATA) == set()  # it takes both
    assert nodes.why_nowhere(small, CELL, DATA) == ""
    nodes.refuse(ONE, CELL, "no such data")
    assert nodes.doubted(small, CELL, DATA) == set()
    assert nodes.doubted(small, OTHER, DATA) == {TWO}
    nodes.doubt(ONE)
    assert nodes.doubted(small, OTHER, DATA) == set()  # none answers: all are used
    nodes.heard(ONE)
    assert nodes.selector([(OTHER, DATA)], nodes.doubted(small, OTHER, DATA)) == {
        ID_LABEL: f"!in({TWO})"
    }
    nodes.heard(TWO)
    assert nodes.doubted(small, OTHER, DATA) == set()
    assert nodes.news()[1:] == ["one (10.0.0.1) has answered", "two (10.0.0.2) has answered"]


def test_only_where_every_node_was_tried_a_cell_can_run_nowhere(world: World) -> None:
    nodes, small = world.nodes, Resources()
    nodes.refuse(ONE, CELL, "no such data")
    assert nodes.why_nowhere(small, CELL, DATA) == ""
    nodes.refuse(TWO, CELL, "no such data")
    whole = "no node can run it: one (10.0.0.1), two (10.0.0.2): no such data"
    assert nodes.why_nowhere(small, CELL, DATA) == whole
    assert nodes.why_nowhere(small, OTHER, DATA) == ""  # it may have no such mistake
    # Three workers of one core need both nodes: with one of them barred there is no place.
    nodes.set_aside(ONE, "other code")
    assert "one (10.0.0.1): other code" in nodes.why_nowhere(Resources(workers=3), OTHER, DATA)
    # What no node has is waited for: that is no node's fault.
    assert nodes.why_nowhere(Resources(gpu=1), CELL, DATA) == ""


def test_a_refusal_is_the_nodes_once_the_cell_has_run_elsewhere(world: World) -> None:
    nodes = world.nodes
    nodes.refuse(ONE, CELL, "no such data")
    assert nodes.selector([(OTHER, DATA)]) == {}
    nodes.ran(CELL, DATA)
    assert nodes.selector([(OTHER, DATA)]) == {ID_LABEL: f"!in({ONE})"}
    assert nodes.selector([(OTHER, "other data")]) == {}
    world.pass_time(903)
    assert nodes.selector([(OTHER, DATA)]) == {}  # tried again
