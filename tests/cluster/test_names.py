"""Hosts whose own names mean a loopback address, as Debian's installer leaves them."""

from __future__ import annotations

import pytest
from hosts import SHARED, experiment, hosts
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from tiny_grid import claimed
from waiting import PATIENCE

from supclap.events import Finished
from supclap.storage import Folder
from supclap.training import fit

pytestmark = pytest.mark.cluster

ROWS = """variants:
  one: {loss.svr: {sides: both, radius: dynamic}}
  two: {loss.svr: {sides: both, radius: dynamic}, resources.workers: 2}
seeds: 1
resources: {max_failures: 0}
table: {columns: [t2a.R@1]}
"""
# A small step keeps what sums in another order change from growing over the epochs.
EXACT = "  chunk: 4\n  optimizer: {lr: 1.0e-4}\n  select: {split: last}\n"


def test_workers_on_hosts_named_as_loopback_reach_each_other(tmp_path: object) -> None:
    with hosts("head", "one", "two", cpus={"head": 0}) as (head, *_):
        path = experiment(head, epochs=2, seeds=1)
        path.write_text(path.read_text().partition("variants:")[0] + EXACT + ROWS)
        run = head.supclap("run", SHARED / path.name, "--storage", SHARED / "storage",
                           "--address", "auto")  # fmt: skip
        output, _ = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0, output
        text = path.read_text()
        path.write_text(text.replace(str(SHARED), str(head.net.shared)))  # as seen from here
        ledger = open_ledger(head.net.shared / "storage")
        one, two = cells_of(load_experiment(path))
        found = ledger.result(two.signature)
        *_, alone = fit(one.config, Folder.at(str(tmp_path)))
    assert found is not None
    assert found.workers == 2
    assert isinstance(alone, Finished)
    assert found.metrics == pytest.approx(alone.metrics, rel=1e-3, abs=1e-3)


def test_workers_that_cannot_reach_each_other_say_why_and_give_their_cores_back() -> None:
    """What a user has set stays; here it is nonsense, and the cells after it must have cores."""
    wrong = {"GLOO_SOCKET_IFNAME": "nothere0"}
    with hosts("head", "one", "two", cpus={"head": 0}, env=wrong) as (head, *_):
        path = experiment(head, epochs=1, seeds=1)
        text = ROWS.replace("  one:", "  later:").replace("  two:", "  first:")
        first, later = text.splitlines()[2], text.splitlines()[1]
        text = text.replace(f"{later}\n{first}", f"{first}\n{later}")
        path.write_text(path.read_text().partition("variants:")[0] + text)
        run = head.supclap("run", SHARED / path.name, "--storage", SHARED / "storage",
                           "--address", "auto")  # fmt: skip
        output, _ = run.communicate(timeout=PATIENCE)
        storage = head.net.shared / "storage"
        states = sorted(open_ledger(storage).overview().states.values())
        assert run.returncode == 1, output
        (failed,) = {line for line in output.splitlines() if line.startswith("failed: first")}
        assert "its workers could not be started: " in failed
        assert "nothere0" in failed  # PyTorch's own words
        assert states == ["done", "failed"], output
        assert claimed(storage) == []
