"""A run that is interrupted while Ray is not up: before it starts, and when its cells are over."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.commands import run as module
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.history import Histories
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.mirror.store import default_store
from supclap_platform.running.ray_folder import PARENT, PREFIX
from supclap_platform.testing import finish
from tiny_grid import claimed, start, write_experiment
from waiting import PATIENCE, until

from supclap.code import code_version

pytestmark = pytest.mark.heavy

FILE = """
experiment: shown
base: {epochs: 1}
variants: {A: {}, B: {loss.name: siglip}}
seeds: 1
table: {columns: [t2a.R@1]}
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_while_table_and_report_are_written(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(FILE)
    storage = tmp_path / "storage"
    ledger = open_ledger(storage, writing=True)
    for cell in cells_of(load_experiment(path)):
        finish(ledger, cell, {"test.t2a.R@1": 41.5}, code=code_version(cell.config))
    call = ["run", str(path), "--storage", str(storage)]
    default_store(storage).connect()  # made before: a stopped run does not wait for that for long
    report = module._report

    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(number)
        return report(*arguments)

    def statuses() -> list[str]:
        client = default_store(storage).connect()
        runs = client.search_runs([client.get_experiment_by_name("shown").experiment_id])
        return [run.info.status for run in runs if run.data.tags["kind"] == "experiment"]

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(module, "_report", interrupted)
            done = CliRunner().invoke(main, call)
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.exit_code == 130, done.output
    assert done.output.endswith("supclap: interrupted\n")
    (history,) = Histories(ledger).of("shown")
    assert history.status == "KILLED"
    assert not Histories(ledger).attended(history)
    assert statuses() == ["KILLED"]
    assert not list((storage / "experiments").rglob("lease~*"))
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0, done.output
    assert statuses() == ["FINISHED"]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_while_ray_starts(number: signal.Signals, tmp_path: Path) -> None:
    path = write_experiment(tmp_path, epochs=400, seeds=1)
    storage = tmp_path / "storage"
    process = start("run", path, "--storage", storage, "--cpus", "1")
    driver = psutil.Process(process.pid)
    try:
        until(lambda: any("gcs_server" in c.name() for c in driver.children()), process, 0.01)
        children = driver.children(recursive=True)
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130, output
    assert output.endswith("supclap: interrupted\n")
    assert "Traceback" not in output
    _, alive = psutil.wait_procs(children, timeout=30)
    assert [p.name() for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    assert not list(PARENT.glob(f"{PREFIX}{process.pid}-*"))
    assert claimed(storage) == []
    assert not list(storage.rglob("lease~*"))


def test_before_ray_is_asked_for(tmp_path: Path) -> None:
    """The first second: the file is read, the code that it names is run."""
    path, began = write_experiment(tmp_path, seeds=1, more="code: [slow.py]\n"), tmp_path / "began"
    slow = f"import pathlib, time\npathlib.Path({str(began)!r}).touch()\ntime.sleep({PATIENCE})\n"
    (tmp_path / "slow.py").write_text(slow)
    process = start("run", path, "--storage", tmp_path / "storage")
    try:
        until(began.exists, process, 0.01)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130, output
    assert output.endswith("supclap: interrupted\n")
    assert "Traceback" not in output
    assert not (tmp_path / "storage").exists()
