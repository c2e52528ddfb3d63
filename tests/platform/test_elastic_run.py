"""Elastic cells on a cluster of two nodes, of which one dies while the first cell trains."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import make_plan
from tiny_grid import attempts, claimed, start, write_experiment
from waiting import PATIENCE, until

from supclap.events import EpochEnded, Finished
from supclap.storage import Folder
from supclap.training import fit

pytestmark = pytest.mark.long  # two and a half minutes on two cores

EPOCHS = 40
# A small step keeps what sums in another order change from growing over the epochs.
CELLS = """  optimizer: {lr: 1.0e-4}
  select: {split: last}
variants:
  elastic: {loss.svr: {sides: both, radius: dynamic}}
seeds: 2
resources: {workers: 2, min_workers: 1}
table: {columns: [t2a.R@1]}
"""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster on this machine: a head with one core."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # How long a group waits for a place that is gone before it counts anew what there is.
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "5")
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    # Ray notes the last cluster of a machine for `--address auto`: no business of a test.
    monkeypatch.setattr("ray._private.utils.write_ray_address", lambda address: None)
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="supclap-cluster-", dir="/tmp")
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "temp_dir": folder, "include_dashboard": False},
    )
    yield made
    made.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def epochs(ledger: Ledger, signature: str) -> int:
    return sum(isinstance(event, EpochEnded) for event in ledger.events(signature))


def test_a_lost_node_leaves_a_cell_one_worker_and_the_next_starts_with_one(
    cluster: Any, tmp_path: Path
) -> None:
    path = write_experiment(tmp_path, epochs=EPOCHS)
    path.write_text(path.read_text().partition("variants:")[0] + CELLS)
    storage = tmp_path / "storage"
    ledger = open_ledger(storage)
    plan = make_plan(load_experiment(path), ledger)
    first, second = (cell.signature for cell in plan.cells)
    node = cluster.add_node(num_cpus=1)
    process = start("run", path, "--storage", storage, "--address", cluster.address)
    try:
        until(lambda: epochs(ledger, first) >= 3, process)
        cluster.remove_node(node, allow_graceful=False)
        assert epochs(ledger, first) < EPOCHS
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, output
    # The trial and two workers, then one, and a trial anew where the driver has missed the node
    # before Ray did; the other cell's trial and its only worker.
    assert attempts(storage) in ({first: 4, second: 2}, {first: 5, second: 2})
    assert claimed(storage) == []
    for cell, counts in zip(plan.cells, ("2 + 1", None), strict=True):
        result = ledger.result(cell.signature)
        *_, alone = fit(cell.config, Folder.at(tmp_path / cell.signature))
        assert result is not None
        assert isinstance(alone, Finished)
        assert (result.workers, result.step) == (1, alone.step)
        assert result.made_with.get("workers") == counts
        assert result.metrics == pytest.approx(alone.metrics, rel=1e-3, abs=1e-3)
