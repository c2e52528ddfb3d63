"""`supclap sync` and `supclap ui` as commands, and that a store made anew has the same content."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from mlflow_content import content_of
from reported_runs import reported
from supclap_platform.cli import main
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.mirror.store import default_store
from supclap_platform.mirror.tracking import open_tracker
from supclap_platform.testing import leave
from waiting import PATIENCE

from supclap.storage import Folder

pytestmark = pytest.mark.heavy  # each takes a moment

TEXT = """\
experiment: {name}
base: {{epochs: 2}}
variants: {{InfoNCE: {{}}, SVR: {{loss.svr: {{}}}}}}
seeds: 2
table: {{columns: [t2a.R@1]}}
profiles: {{wide: {{base: {{batch_size: 256}}}}}}
"""
WAIT = "bringing MLflow up to date on "  # of a busy machine: what lasts above 2 s is said


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with two experiments, one of them under two profiles; MLflow followed all of it."""
    folder = tmp_path_factory.mktemp("lived")
    ledger = Ledger(Folder.at(folder / "storage"))
    for name, profile in (("first", "laptop"), ("first", "wide"), ("second", "laptop")):
        path = folder / f"{name}.yaml"
        path.write_text(TEXT.format(name=name), encoding="utf-8")
        experiment = load_experiment(path, profile)
        cells = cells_of(experiment)
        remember(make_plan(experiment, ledger), ledger)
        store = default_store(folder / "storage")
        tracker = open_tracker(experiment, cells, ledger, store.uri)
        for number, cell in enumerate(cells[:3]):
            for epochs in (1, 2):
                leave(ledger, cell, reported(cell, epochs, number))
                tracker.catch_up()
            if number < 2:
                leave(ledger, cell, reported(cell, 2, number, finished=True))
        if ledger.failure(cells[3].signature) is None:  # the two experiments share their cells
            ledger.record_failure(cells[3].signature, "out of memory")
        ended = {"figures/drift.svg": profile.encode()}
        assert tracker.close("FAILED", ended, patience=PATIENCE)
    return folder


def sync(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["sync", *map(str, arguments)])


@pytest.mark.heavy
def test_an_empty_store_is_given_the_content_of_the_one_that_was_there(
    lived: Path, tmp_path: Path
) -> None:
    storage, uri = lived / "storage", f"sqlite:///{tmp_path}/new/mlflow.db"
    wanted = content_of(default_store(storage).uri, tmp_path / "wanted")
    assert len(wanted) == 3 * (1 + 2 + 4)  # the experiment's, its rows' and its cells'
    assert {run["status"] for run in wanted.values()} == {"FINISHED", "KILLED", "FAILED"}
    for attempt in ("once", "twice"):
        result = sync("--storage", storage, "--tracking-uri", uri)
        assert result.exit_code == 0, result.output
        assert content_of(uri, tmp_path / attempt) == wanted
    *shown, last = result.stdout.splitlines()  # a busy machine says its waits beside it
    assert last == f"MLflow: {uri}"
    assert sorted(shown) == [
        "first, laptop: 4 cells, up to date",
        "first, wide: 4 cells, up to date",
        "second, laptop: 4 cells, up to date",
    ]


def test_only_the_experiments_of_the_named_files_are_shown(lived: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    shutil.copy(lived / "storage/mlflow.db", tmp_path / "mlflow.db")
    result = sync(lived / "second.yaml", "--storage", lived / "storage", "--tracking-uri", uri)
    assert result.stdout.splitlines() == ["second, laptop: 4 cells, up to date", f"MLflow: {uri}"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{lived}/other.yaml"], "the experiment 'third' was not run in {lived}/storage"),
        (["--tracking-uri", "mlruns"], "tracking URI 'mlruns': expected http"),
        (["--tracking-uri", "http://127.0.0.1:9"], "http://127.0.0.1:9 cannot be used: connection"),
        (["--tracking-uri", "sqlite:////proc/none/mlflow.db"], "cannot be used"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    lived: Path, arguments: list[str], message: str
) -> None:
    (lived / "other.yaml").write_text(TEXT.format(name="third"), encoding="utf-8")
    filled = [argument.format(lived=lived) for argument in arguments]
    result = sync(*filled, "--storage", lived / "storage")
    assert result.exit_code == 2
    assert message.format(lived=lived) in result.stderr
    lines = [line for line in result.stderr.splitlines() if not line.startswith(WAIT)]
    assert len(lines) == 1
    assert not result.stdout


def test_a_storage_without_experiments_is_told(tmp_path: Path) -> None:
    result = sync("--storage", tmp_path)
    assert result.exit_code == 0
    assert "no experiment was run" in result.output


@pytest.mark.heavy
def test_nothing_of_mlflow_itself_reaches_the_terminal(lived: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from supclap_platform.cli import main; main()", "sync"]
    options = ["--storage", lived / "storage", "--tracking-uri", f"sqlite:///{tmp_path}/m.db"]
    done = subprocess.run(
        [*command, *map(str, options)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0
    waits = done.stderr.splitlines()  # what lasts above 2 s is said
    assert all(line.startswith(WAIT) for line in waits)
    assert len(done.stdout.splitlines()) == 4


def ui(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["ui", *map(str, arguments)])


def test_ui_refuses_a_port_in_use(lived: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = ui("--storage", lived / "storage", "--port", port)
    assert result.exit_code == 2
    assert result.output == (
        f"supclap: port {port} on 127.0.0.1 is in use: choose another with --port\n"
    )


def test_ui_says_where_there_is_nothing_to_open(lived: Path, tmp_path: Path) -> None:
    assert "no MLflow store yet" in ui("--storage", tmp_path).output
    served = ui("--storage", lived / "storage", "--tracking-uri", "http://127.0.0.1:5000")
    assert "is an MLflow server already" in served.output
    assert served.exit_code == 2
