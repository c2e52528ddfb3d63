"""A storage folder of any name that a file system allows: everything lies in it, nothing beside."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import click
import optuna
import pytest
from click.testing import CliRunner
from mlflow_server import free_port
from supclap_platform.cli import main
from supclap_platform.commands.opening import open_results
from supclap_platform.commands.ui import server_arguments
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.mirror.store import choose_store, default_store, sqlite_path, sqlite_uri
from supclap_platform.search.study_place import StudyPlace
from tiny_grid import supclap, write_experiment

from supclap.errors import InputError
from supclap.storage import Folder

SEARCH = """
figures: [convergence]
search: {space: {optimizer.lr: {log_uniform: [1.0e-4, 1.0e-2]}}, trials: 2, pruner: none}
"""
ODD = "?%#&=+ '\"@:é"
NAMES = [
    ODD,
    "50%41",
    "a?b",
    "{SCHEMA_VERSION}",
    "a#b",
    "x://y",
    "s3:",
    "~nobody-here",
    "\n",
    "日本",
]


def beside(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.heavy
@pytest.mark.parametrize("name", NAMES)
def test_folder_study_and_mlflow_lie_in_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    above = (tmp_path / name).parent
    above.mkdir(exist_ok=True)
    before = beside(above)
    ledger = open_ledger(tmp_path / name, writing=True)
    ledger.storage.below("cells/one").write("a.json", b"{}")
    assert (tmp_path / name / "cells" / "one" / "a.json").read_bytes() == b"{}"
    _, study = StudyPlace.of(ledger, "tiny", None).open()
    optuna.create_study(storage=study, study_name="s")
    assert (tmp_path / name / "experiments" / "tiny" / "study.db").is_file()
    store = choose_store(None, Folder.at(tmp_path / name))
    assert store is not None
    assert sqlite_path(store.uri) == tmp_path / name / "mlflow.db"
    client = store.connect()
    run = client.create_run(client.create_experiment("x", f"{store.artifacts}/x"))
    client.log_text(run.info.run_id, "hello", "said.txt")
    assert client.list_artifacts(run.info.run_id)[0].path == "said.txt"
    assert [path.read_text() for path in (tmp_path / name).rglob("said.txt")] == ["hello"]
    assert beside(above) == before | {Path(name).name}


def test_a_plain_name_is_written_as_it_always_was() -> None:
    assert default_store(Path("/data/my results")).uri == "sqlite:////data/my results/mlflow.db"
    assert sqlite_uri(Path("/data/a?b/c.db")) == "sqlite+pysqlite:////data/a%3Fb/c.db"


def test_a_folder_with_options_in_its_address_is_extended_before_them() -> None:
    address = "s3://bucket/some%20where/?region=eu-west-1&scheme=http"
    folder = Folder.at(address)
    assert folder.base == "bucket/some where"
    below = folder.below("cells/ab")
    assert below.base == "bucket/some where/cells/ab"
    assert below.place == "s3://bucket/some%20where/cells/ab?region=eu-west-1&scheme=http"
    assert Folder.at(below.place).base == below.base


@pytest.mark.parametrize(
    "place",
    ["abfs://", "abfss://", "s3://", "s3://AK:x@", "s3://AK:x@/b", "gs://", "gs://:@", "hdfs://x",
     "viewfs://x/", "hf://x/y", "file://", "file://host/x", "ftp://u:x@y/z", "s3://AK:x@b/?foo=x1",
     "s3://a b", "abfs://x:x@y.z/?sas=x1", f"s4://{'n' * 100_000}", "n" * 300, f"a/{'n' * 300}/b"],
)  # fmt: skip
@pytest.mark.parametrize("command", ["plan", "table", "sync", "ui", "status"])
def test_what_is_no_storage_is_one_short_line(tmp_path: Path, command: str, place: str) -> None:
    path = tmp_path / "e.yaml"
    path.write_text("experiment: e\nvariants: {a: {}}\n")
    arguments = [command] if command in ("sync", "ui") else [command, str(path)]
    done = CliRunner().invoke(main, [*arguments, "--storage", place])
    assert done.exit_code == 2, done.output
    (line,) = [one for one in done.stderr.splitlines() if not one.endswith(" s)")]
    assert line.startswith("supclap: ")
    assert len(line) < 700
    assert not any(secret in done.stderr for secret in ("AK:x", "u:x@", "=x1"))


# What else each command needs that takes --storage. `submit` has its own tests; `doctor` shows it
# as one of its lines.
REST = {
    "clean": [], "compare": ["e.yaml", "e.yaml@profile"], "export": ["e.yaml", "--to", "out"],
    "figures": ["e.yaml"], "plan": ["e.yaml"], "promote": ["e.yaml", "--register", "m"],
    "report": ["e.yaml"], "run": ["e.yaml"], "status": ["e.yaml"], "stop": ["e.yaml"], "sync": [],
    "table": ["e.yaml"], "ui": [], "work": ["e.yaml"],
}  # fmt: skip


@pytest.mark.heavy
def test_every_command_that_takes_a_storage_is_known_here() -> None:
    context = click.Context(main)
    found = {name: main.get_command(context, name) for name in main.list_commands(context)}
    takes = {name for name, one in found.items() if any(p.name == "storage" for p in one.params)}
    assert takes - {"doctor", "submit"} == REST.keys()


@pytest.mark.heavy
@pytest.mark.parametrize("command", REST)
@pytest.mark.parametrize("given", ["option", "variable"])
def test_a_mistyped_address_is_no_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, given: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("e.yaml").write_text("experiment: e\nvariants: {a: {}, b: {epochs: 3}}\nbaseline: a\n")
    words, place = [command, *REST[command]], "s3:/bucket/results"
    if given == "option":
        words += ["--storage", place]
    else:
        monkeypatch.setenv("SUPCLAP_STORAGE", place)
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2, done.output
    said = "supclap: storage s3:/bucket/results: an address has two slashes: s3://bucket/results"
    assert said in done.stderr.splitlines()
    assert beside(tmp_path) == {"e.yaml"}


def test_results_are_not_opened_from_a_folder_called_s3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for storage in ("gs:/bucket/x", Path("gs://bucket/x")):
        with pytest.raises(InputError, match="an address has two slashes: gs://bucket/x"):
            open_results("e", storage)
    monkeypatch.setenv("SUPCLAP_STORAGE", "S3:/bucket/x")
    with pytest.raises(InputError, match="an address has two slashes: s3://bucket/x"):
        open_results("e")


@pytest.mark.parametrize("place", ["a:b", "./a:b", "C:\\results", "s3:x", "s3:/there"])
def test_a_folder_may_have_a_colon_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if place == "s3:/there":  # made on purpose, or by an earlier version
        Path(place).mkdir(parents=True)
    assert open_ledger(place, writing=True).storage.local == tmp_path / place


@pytest.mark.heavy
def test_the_interface_serves_a_store_of_an_odd_name(tmp_path: Path) -> None:
    store = default_store(tmp_path / ODD)
    client = store.connect()
    client.create_experiment("here it is", f"{store.artifacts}/x")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", *server_arguments(store, port)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get-by-name"
        "?experiment_name=here%20it%20is"
    )
    answer = b""
    try:
        until = time.monotonic() + 120
        while not answer and time.monotonic() < until:
            try:
                answer = urllib.request.urlopen(asked, timeout=10).read()
            except OSError:
                time.sleep(0.5)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # of its own session: it and its workers
        process.wait()
    assert b"here it is" in answer
    assert beside(tmp_path) == {ODD}


@pytest.mark.heavy
def test_every_command_works_on_a_storage_of_an_odd_name(tmp_path: Path) -> None:
    """A search, for its study; the file, its data and the storage all lie in such folders."""
    home = tmp_path / f"home {ODD}"
    home.mkdir()
    path = write_experiment(home, epochs=1, seeds=1, more=SEARCH)
    storage = tmp_path / ODD
    before = beside(tmp_path) | {ODD}
    code, output = supclap("run", path, "--storage", storage, "--cpus", "1", seconds=600)
    assert code == 0, output
    for words in (["plan"], ["status"], ["table"], ["report"], ["figures"], ["run"]):
        code, output = supclap(*words, path, "--storage", storage)
        assert code == 0, (words, output)
    code, output = supclap("promote", path, "--storage", storage, "--as", home / "best.yaml")
    assert (code, (home / "best.yaml").is_file()) == (0, True), output
    code, output = supclap("sync", "--storage", storage)
    assert (code, "up to date" in output) == (0, True), output
    assert (storage / "experiments/tiny/study.db").is_file()
    assert (storage / "experiments/tiny/report.html").is_file()
    found = default_store(storage).connect().search_experiments()
    assert "tiny" in [experiment.name for experiment in found]
    assert beside(tmp_path) == before
