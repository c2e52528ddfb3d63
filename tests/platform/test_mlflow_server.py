"""MLflow's server on loopback, and a driver that is killed while it mirrors.

Kills of the server itself are part of `test_chaos`.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow_content import histories_of
from mlflow_server import free_port, wait_for
from reported_runs import histories, reported
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.mirror.store import default_store
from supclap_platform.mirror.tracking import open_tracker
from supclap_platform.testing import leave
from waiting import PATIENCE, until

from supclap.storage import Folder

pytestmark = pytest.mark.heavy

TEXT = """\
experiment: small
base: {epochs: 4}
variants: {InfoNCE: {}, SVR: {loss.svr: {}}}
seeds: 2
"""


def prepare(folder: Path) -> tuple[Experiment, list[Cell], Ledger]:
    path = folder / "small.yaml"
    path.write_text(TEXT, encoding="utf-8")
    experiment = load_experiment(path)
    ledger = Ledger(Folder.at(folder / "storage"))
    remember(make_plan(experiment, ledger, code_of=lambda _: "any"), ledger)
    return experiment, cells_of(experiment), ledger


DRIVER = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from reported_runs import reported
from test_mlflow_server import prepare
from supclap_platform.mirror.tracking import open_tracker
from supclap_platform.testing import leave
experiment, cells, ledger = prepare(Path(sys.argv[1]))
lease = ledger.take(cells[1].signature)
tracker = open_tracker(experiment, cells, ledger)
leave(ledger, cells[0], reported(cells[0], 4, 0, finished=True))
leave(ledger, cells[1], reported(cells[1], 2, 1))
while True:
    tracker.catch_up()
    time.sleep(0.1)
"""


def test_a_killed_driver_leaves_nothing_running_after_sync(tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    here = Path(__file__).parent
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path), str(here), str(here.parent / "support")]
    )
    try:
        store = default_store(tmp_path / "storage")
        until(lambda: statuses(store.uri).count("RUNNING") == 3, driver)
    finally:
        driver.kill()
        driver.wait()
    result = CliRunner().invoke(main, ["sync", "--storage", str(tmp_path / "storage")])
    assert result.exit_code == 0, result.output
    assert sorted(statuses(store.uri)) == ["FINISHED"] + ["KILLED"] * 3
    experiment, cells, ledger = prepare(tmp_path)
    client = MlflowClient(store.uri)
    found = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    for run in found:
        if run.info.run_name == f"seed {cells[1].seed}, {cells[1].variant}":
            wanted = histories(ledger, cells[1].signature)
            assert repr(sorted(histories_of(client, run).items())) == repr(sorted(wanted.items()))
    tracker = open_tracker(experiment, cells, ledger)  # the rerun
    for number, cell in enumerate(cells):
        leave(ledger, cell, reported(cell, 4, number, finished=True))
    assert tracker.close("FINISHED")
    assert statuses(store.uri) == ["FINISHED"] * 7


def statuses(uri: str) -> list[str]:
    """Of all runs in the experiment; none where the store is not there yet."""
    if not Path(uri.removeprefix("sqlite:///")).exists():
        return []
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("small")
    if experiment is None:
        return []
    return [run.info.status for run in client.search_runs([experiment.experiment_id])]


def test_ui_serves_the_store_on_loopback(tmp_path: Path) -> None:
    default_store(tmp_path / "storage").connect()
    port = free_port()
    command = "from supclap_platform.cli import main; main()"
    arguments = ["ui", "--storage", str(tmp_path / "storage"), "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-c", command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}")
        listening = subprocess.run(
            ["grep", "-c", f":{port:04X} 00000000:0000 0A", "/proc/net/tcp"],
            capture_output=True,
            text=True,
        )
        assert listening.stdout.strip() == "1"
        loopback = Path("/proc/net/tcp").read_text(encoding="ascii")
        assert f"0100007F:{port:04X} 00000000:0000 0A" in loopback
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=PATIENCE)
    assert output.splitlines()[0] == f"MLflow: http://127.0.0.1:{port} (Ctrl-C ends it)"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ui_ends_without_a_traceback_and_with_all_that_it_has_started(
    number: signal.Signals, tmp_path: Path
) -> None:
    default_store(tmp_path / "storage").connect()
    port = free_port()
    command = "from supclap_platform.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "ui", "--storage", str(tmp_path / "storage"),
         "--port", str(port)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}")
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, number)  # as a terminal does
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0
    assert output.startswith(f"MLflow: http://127.0.0.1:{port} (Ctrl-C ends it)\n")
    assert "Traceback" not in output
    assert "Error" not in output
    _, left = psutil.wait_procs(children, timeout=10)
    assert children
    assert left == []
