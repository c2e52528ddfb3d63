"""`supclap run` with seeds until the claims are decided, on a real Ray, killed on its way."""

import re
from pathlib import Path

import pytest
from mlflow import MlflowClient
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.records import State
from tiny_grid import attempts, start, supclap, write_experiment
from waiting import until

pytestmark = pytest.mark.heavy

CLAIMS = """
claims:
  - train.loss of InfoNCE falls over epochs
  - bi-DynamicSVR > InfoNCE on a2t.mAP10 matters from 0.001
"""


def test_a_killed_run_goes_on_at_its_look(tmp_path: Path) -> None:
    path = write_experiment(tmp_path)
    text = path.read_text().replace("seeds: 2", "seeds: {until: decided, looks: [2, 3]}")
    path.write_text(text + CLAIMS)
    storage = tmp_path / "storage"
    begun = start("run", path, "--storage", storage, "--cpus", "2")
    try:
        until(lambda: list((storage / "cells").glob("*/*/result.json")), begun)
    finally:
        begun.kill()  # its Ray ends with it
        begun.communicate()
    code, output = supclap("run", path, "--storage", storage, "--cpus", "2")
    assert code == 0, output
    assert re.search(
        r"^look 1 of 2: 0 of 2 claims decided, [0-3] cells? to this look$", output, re.M
    )
    assert re.search(r"^look 2 of 2: [01] of 2 claims decided, 2 cells to this look$", output, re.M)
    assert "InfoNCE (n = 3)" in output
    ledger = open_ledger(storage)
    states = list(ledger.overview().states.values())
    assert states == [State.DONE] * 6
    assert len(attempts(storage)) == 6
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    (experiment,) = (e for e in client.search_experiments() if e.name == "tiny")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 1 + 2 + 6  # the experiment's, its rows', and every cell's of both looks
    assert {run.info.status for run in runs} == {"FINISHED"}
