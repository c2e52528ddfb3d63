"""A training loop of the user's on Ray: rows, one of them on two workers, and a search."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from own_loop import replaced, shown, write_loop
from supclap_platform.cli import main
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.mirror.store import default_store
from tiny_grid import supclap

from supclap import user_code

SEARCH = """
search:
  space: {width: {integer: [2, 9]}}
  objective: val.accuracy
  trials: 2
"""


def write(folder: Path) -> Path:
    text = shown("yaml").replace("seeds: 3", "seeds: 1")
    text = replaced("{width: 32}", "{width: 32, resources: {workers: 2, cpu: 0.5}}")(text)
    select = '    select = "val.accuracy"\n'
    return write_loop(folder, replaced(select, f"{select}    parallel = True\n"), text + SEARCH)


def test_submit_uploads_the_loop(tmp_path: Path) -> None:
    path = write(tmp_path)
    with user_code.forgotten():
        asked = ["submit", str(path), "--address", "http://nowhere:8265", "--dry-run"]
        done = CliRunner().invoke(main, asked)
        assert done.exit_code == 0, done.output
        assert "would upload experiments/my_loop.py" in done.output
        refused = CliRunner().invoke(main, [*asked, "--no-code"])
    assert refused.exit_code == 2
    assert ":3: --no-code: this file runs code of its own (my_loop.py)" in refused.output


@pytest.mark.heavy
def test_rows_workers_and_a_search_on_ray(tmp_path: Path) -> None:
    path, storage = write(tmp_path), tmp_path / "storage"
    code, output = supclap("run", path, "--storage", storage, "--cpus", "2")
    assert code == 0, output
    assert f"runs your code: {tmp_path}/my_loop.py" in output
    assert "search: 2 trials" in output
    ledger = open_ledger(storage)
    with user_code.forgotten():
        cells = cells_of(load_experiment(path))
    assert {cell.variant: cell.resources.workers for cell in cells} == {"narrow": 1, "wide": 2}
    for cell in cells:
        result = ledger.result(cell.signature)
        assert result is not None
        assert result.workers == cell.resources.workers
        assert 0 < result.metrics["test.accuracy"] <= 100
    store = default_store(storage).connect()
    experiment = store.get_experiment_by_name("rings")
    runs = store.search_runs([experiment.experiment_id])
    (run,) = [run for run in runs if run.data.tags.get("signature") == cells[0].signature]
    assert run.info.status == "FINISHED"
    assert run.data.params["method"] == "my_loop.py:Mine"
    assert run.data.params["width"] == "2"
    assert "final/accuracy" in run.data.metrics
    assert len(store.get_metric_history(run.info.run_id, "val/accuracy")) == 4
