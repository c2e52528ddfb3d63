"""A password in a URI is used, and neither shown nor stored."""

from __future__ import annotations

import os
import re
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow.fs as pafs
import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.commands import submit as command
from supclap_platform.commands.ui import server_arguments
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.mirror.store import Store
from supclap_platform.running.attempt import run_cell
from supclap_platform.running.task import task_of
from supclap_platform.testing import finish
from tiny_grid import start, write_experiment

from supclap.errors import InputError
from supclap.secrets import (
    check_no_secret,
    has_secret,
    masked,
    names_secret,
    without_password,
)
from supclap.storage import Folder

SECRETS = ("S3CRET", "T0KEN")
PLACE = "s3://KEY:S3CRET@bucket/results?token=T0KEN&region=x"
FILE = """
experiment: shown
base: {epochs: 1}
variants: {A: {}, B: {loss.name: siglip}}
seeds: 1
table: {columns: [t2a.R@1]}
figures: [convergence]
"""


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (PLACE, "s3://KEY@bucket/results"),
        ("https://user:S3CRET@host:5000/x", "https://user@host:5000/x"),
        ("postgresql://user:S3CRET@host/db?password=T0KEN", "postgresql://user@host/db"),
        ("gs://bucket/results", "gs://bucket/results"),
        ("/a folder/with?and:and@", "/a folder/with?and:and@"),
    ],
)
def test_what_is_shown_of_a_uri(uri: str, shown: str) -> None:
    assert without_password(uri) == shown
    assert has_secret(uri) == (shown != uri)
    assert not any(secret in masked(f"cannot open {uri}", uri) for secret in SECRETS)


def test_a_folder_is_opened_by_one_name_and_shown_by_another(tmp_path: Path) -> None:
    folder = Folder(pafs.LocalFileSystem(), str(tmp_path), PLACE)
    below = folder.below("cells/a")
    assert below.place == "s3://KEY:S3CRET@bucket/results/cells/a?token=T0KEN&region=x"
    assert (folder.uri, below.uri) == (
        "s3://bucket/results?region=x",
        "s3://bucket/results/cells/a?region=x",
    )


@pytest.mark.parametrize(
    ("place", "below"),
    [
        (
            "s3://K:S@b/r?endpoint_override=http://minio:9000&scheme=http&secret_key=S3CRET",
            "s3://b/r/experiments/my%20test/table.txt"
            "?endpoint_override=http://minio:9000&scheme=http",
        ),
        (
            "s3://b/r?endpoint_override=K:S3CRET@minio:9000",
            "s3://b/r/experiments/my%20test/table.txt",
        ),
        ("gs://b/mail@home/r/", "gs://b/mail@home/r/experiments/my%20test/table.txt"),
        ("/a folder/what?", "/a folder/what?/experiments/my test/table.txt"),
    ],
)
def test_what_is_printed_of_a_place_can_be_given_back(place: str, below: str) -> None:
    """The path stands before the options, and what the place is not found without is among them."""
    folder = Folder(pafs.LocalFileSystem(), "/x", place)
    shown = folder.below("experiments").uri_of("my test/table.txt")
    assert shown == below
    assert folder.uri_of("experiments/my test/table.txt") == below
    assert Folder(pafs.LocalFileSystem(), "/x", shown).uri == shown


@pytest.mark.parametrize("place", ["s3://AK:S3CRET@/?x=T0KEN", "nosuch://u:S3CRET@h/p?sig=T0KEN"])
def test_a_place_that_cannot_be_used_is_named_without_it(place: str) -> None:
    with pytest.raises(InputError) as caught:
        Folder.at(place)
    assert not any(secret in str(caught.value) for secret in SECRETS)


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder of this machine that is called as one with a password is."""
    folder = Folder(pafs.LocalFileSystem(), str(tmp_path / "storage"), PLACE)
    monkeypatch.setattr(Folder, "at", classmethod(lambda cls, place: folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.mark.heavy
def test_no_command_shows_or_stores_it(tmp_path: Path, storage: Folder) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(FILE)
    ledger = Ledger(storage)
    cells = cells_of(load_experiment(path))
    for cell in cells:
        finish(ledger, cell, {"test.t2a.R@1": 40.0})
    ledger.folder(cells[1].signature).write("result.json", b"[]")  # an error that names its file
    for name in ("plan", "status", "table", "figures", "report", "run", "sync"):
        more = ["--mixed"] if name in ("table", "figures", "report", "run") else []
        done = CliRunner().invoke(main, [name, str(path), "--storage", PLACE, *more])
        assert done.exception is None or isinstance(done.exception, SystemExit), name
        assert "s3://bucket/results" in done.output, name
        assert not any(secret in done.output for secret in SECRETS), name
    for file in (tmp_path / "storage").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not any(secret.encode() in content for secret in SECRETS), file
    # The workers open what the driver was given, and say of it what may be said.
    task = task_of(cells[0], ledger, "shown")
    assert task.storage == PLACE


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--storage", PLACE], "--storage: a URI with a password: Ray shows"),
        (["--tracking-uri", "https://u:S3CRET@host:5000"], "--tracking-uri: a URI with a pass"),
        (["--study-storage", "postgresql://u:S3CRET@host/x"], "--study-storage: a URI with a pas"),
        (["--env", "HF_TOKEN=S3CRET"], "--env HF_TOKEN: a secret by its name: Ray shows"),
        (["--env", "SUPCLAP_CLOTHO=s3://b/x?token=S3CRET"], "a URI with 'token=' in it: Ray shows"),
        (["--set", "data.folder=s3://b/x?token=S3CRET"], "--set data.folder: a URI with 'token='"),
    ],
)
def test_a_job_is_given_none(
    tmp_path: Path, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray writes a job's variables to logs and lists."""
    path = tmp_path / "e.yaml"
    path.write_text(FILE)
    monkeypatch.setattr(command, "connect", lambda *given: pytest.fail("it is sent"))
    for more in ([], ["--dry-run"]):
        done = CliRunner().invoke(
            main, ["submit", str(path), "--address", "http://u:S3CRET@head:8265", *words, *more]
        )
        assert done.exit_code == 2, done.output
        assert message in done.output
        assert "S3CRET" not in done.output


PLANTED = {
    "AWS_SECRET_ACCESS_KEY": "PLANTED-1",
    "AWS_SESSION_TOKEN": "PLANTED-2",
    "HF_TOKEN": "PLANTED-3",
    "MLFLOW_TRACKING_PASSWORD": "PLANTED-4",
    "MLFLOW_TRACKING_TOKEN": "PLANTED-5",
    "RAY_AUTH_TOKEN": "PLANTED-6-" + 32 * "f",
    "WANDB_API_KEY": "PLANTED-7",
}


def holders(folder: Path, secret: bytes) -> list[str]:
    """The files below a folder that hold a secret, and those whose names do."""
    found = []
    # A walk of `os`, as it passes over a folder that an own Ray has taken away meanwhile.
    for path in (
        Path(at, name) for at, folders, files in os.walk(folder) for name in (*folders, *files)
    ):
        with suppress(OSError):  # the same of a file
            if secret in os.fsencode(path) or (path.is_file() and secret in path.read_bytes()):
                found.append(str(path))
    return found


@pytest.mark.heavy
def test_secrets_of_the_environment_are_in_nothing_that_a_run_leaves_or_shows(
    tmp_path: Path,
) -> None:
    """A run with a cell that fails; then whatever shows it. Searched are every file of storage,
    MLflow and of Ray itself while it runs, the titles of all processes, and all that is printed."""
    path = write_experiment(tmp_path, epochs=1, seeds=1, max_failures=0)
    row = "variants:\n  hopeless: {optimizer.lr: 1.0e+30, optimizer.clip_norm: null}\n"
    path.write_text(path.read_text().replace("variants:\n", row))
    storage = tmp_path / "storage"
    titles: set[str] = set()
    logs: list[str] = []
    searched: set[Path] = set()  # folders of Ray
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PLANTED.items():
            patch.setenv(name, value)
        rows = ("--only", "hopeless", "--only", "InfoNCE")
        running = start("run", path, "--storage", storage, "--cpus", "2", *rows)
        output: list[str] = []
        reading = threading.Thread(target=lambda: output.extend(running.stdout or ()))
        reading.start()
        while running.poll() is None:
            for process in [psutil.Process(running.pid), *children(running.pid)]:
                with suppress(psutil.Error):
                    titles.add(" ".join(process.cmdline()))
            sessions = {Path(s) for t in titles for s in re.findall(r"session_dir=(\S+)", t)}
            searched |= {s for s in sessions if any(s.glob("logs/*"))}
            logs = [one for s in sessions for one in holders(s, b"PLANTED")] or logs
            time.sleep(0.2)
        reading.join()
        assert running.returncode == 1, "".join(output)
        assert "failed: hopeless, seed 0: " in "".join(output)
        assert any("raylet" in title for title in titles)
        for command_line in (
            ["status", path], ["table", path], ["plan", path], ["sync", path],
            ["report", path], ["export", path, "--to", tmp_path / "exported"],
        ):  # fmt: skip
            words = [str(word) for word in command_line]
            shown = CliRunner().invoke(main, [*words, "--storage", str(storage)])
            output.append(shown.output)
    assert "PLANTED" not in "".join(output)
    assert not any("PLANTED" in title for title in titles)
    assert (len(searched), logs) == (1, [])
    assert holders(tmp_path, b"PLANTED") == []
    assert (storage / "mlflow.db").exists()


def children(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("about: see https://me:S3CRET@host/x", "a URI with a password"),
        ("# from s3://KEY:S3CRET@bucket/x", "a URI with a password"),
        ("base: {data.folder: 's3://b/x?session_token=S3CRET'}", "a URI with 'session_token=' in"),
        ("base: {data.folder: 'https://h/x?a=b&X-Amz-Signature=S3CRET'}", "'X-Amz-Signature='"),
        ("base: {data: {name: collection, folder: '${HF_TOKEN}'}}", "HF_TOKEN is a secret by its"),
        ("base: {data: {name: collection, folder: '${PLACE}'}}", "PLACE: a URI with a password"),
    ],
)
def test_an_experiment_that_holds_a_secret_is_refused_at_its_line(
    tmp_path: Path, line: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a file says is stored and shown with its runs: in configuration, MLflow and report."""
    monkeypatch.setenv("HF_TOKEN", "S3CRET")
    monkeypatch.setenv("PLACE", "postgresql://me:S3CRET@host/x")
    path = tmp_path / "e.yaml"
    path.write_text(f"experiment: e\nvariants: {{A: {{}}}}\nseeds: 1\n{line}\n")
    done = CliRunner().invoke(main, ["plan", str(path), "--storage", str(tmp_path / "storage")])
    assert done.exit_code == 2
    assert f"{path}:4: " in done.output
    assert message in done.output
    assert "S3CRET" not in done.output
    for words in (["plan", str(path)], ["train"]):
        path.write_text("experiment: e\nvariants: {A: {}}\nseeds: 1\n")
        value = "data.folder=s3://KEY:S3CRET@bucket/x"
        done = CliRunner().invoke(main, [*words, "--set", value])
        assert done.exit_code == 2
        assert "--set data.folder: a URI with a password" in done.output
        assert "S3CRET" not in done.output


def test_a_line_of_millions_of_characters_is_searched_in_no_time() -> None:
    for text in ("a" * 10**6 + "://", "://" + "?token" * 10**4, "a_" * 10**5, "s3://x" * 10**4):
        began = time.process_time()
        check_no_secret(text, "here")
        assert time.process_time() - began < 1


def test_addresses_without_secrets_are_left_alone() -> None:
    for text in (
        "s3://bucket/x?endpoint_override=http://127.0.0.1:9000&scheme=http&region=x",
        "http://host:5000/x",
        "me@host: https://host/x?tokens=3",
        "${TOKENIZERS_PARALLELISM}",
    ):
        check_no_secret(text, "here")
    assert names_secret("MLFLOW_TRACKING_PASSWORD")
    assert not names_secret("TOKENIZERS_PARALLELISM")


def test_a_server_of_a_store_with_a_password_has_none_among_its_arguments() -> None:
    store = Store("postgresql://me:S3CRET@host/db")
    assert not any("S3CRET" in word for word in server_arguments(store, 5000))
    plain = Store("sqlite:////tmp/x.db")
    assert plain.uri in server_arguments(plain, 5000)


@pytest.mark.heavy
def test_what_a_library_quotes_of_the_storage_is_masked_in_log_and_failure(
    tmp_path: Path,
    storage: Folder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(FILE)
    ledger = Ledger(storage)
    experiment = load_experiment(path)
    remember(make_plan(experiment, ledger), ledger)
    task = task_of(cells_of(experiment)[0], ledger, "shown")

    def fit(*given: Any) -> None:
        raise OSError(f"cannot reach {PLACE}")

    monkeypatch.setattr(type(task.method), "fit", fit)
    ending = run_cell(task)
    assert ending.kind == "crashed"
    assert "cannot reach s3://KEY:***@bucket" in ending.error
    log = capsys.readouterr().err  # the log, but that pytest holds the stream
    assert "cannot reach" in log
    assert not any(secret in text for secret in SECRETS for text in (log, str(ending)))
