"""A node without the storage, and demands that no node can meet."""

from __future__ import annotations

import time

import pytest
from hosts import SHARED, experiment, hosts
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.records import State
from waiting import PATIENCE

pytestmark = pytest.mark.cluster


def test_a_node_without_the_storage_is_set_aside_and_no_cell_is_lost() -> None:
    with hosts("head", "one", "two", cpus={"head": 0}) as (head, one, two):
        path = experiment(head, epochs=1, seeds=4)
        place = ("--storage", SHARED / "storage", "--address", "auto")

        def supclap(*arguments: object) -> tuple[int, str]:
            run = head.supclap(*map(str, arguments), *map(str, place))
            output, _ = run.communicate(timeout=PATIENCE)
            return run.returncode, output

        for ask, why in (
            ("gpu=1", "1 CPU, 1 GPU on one node, and no node of the cluster has that (at most 1 C"),
            ("workers=3", "3 workers ask for 1 CPU each, and the cluster's nodes have room for 2"),
        ):
            code, output = supclap("run", SHARED / path.name, "--set", f"resources.{ask}")
            assert code == 2, output
            assert why in output
            assert "Traceback" not in output

        two.unmount()
        code, output = supclap("doctor")
        assert code == 1
        assert f"two ({two.address}): the node two does not see" in output
        began = time.monotonic()
        code, output = supclap("run", SHARED / path.name)
        assert code == 0, output
        print(output, time.monotonic() - began)
        assert f"two ({two.address}) is set aside: the node two does not see" in output
        states = open_ledger(head.net.shared / "storage").overview().states
        assert list(states.values()) == 8 * [State.DONE]
        assert "failed" not in output
        del one
