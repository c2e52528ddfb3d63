"""A password in a URI is used, and neither shown nor stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.commands import submit as command
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.running.attempt import task_of
from supclap_platform.testing import finish

from supclap.errors import InputError
from supclap.secrets import has_secret, masked, without_password
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


def test_a_jobs_command_line_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(FILE)
    asked: list[Any] = []
    monkeypatch.setattr(command, "connect", lambda address: None)

    def submitted(client: Any, request: Any, folder: Path) -> str:
        asked.append(request)
        return "job"

    monkeypatch.setattr(command, "submit_job", submitted)
    uri = "https://user:S3CRET@host:5000"
    arguments = ["submit", str(path), "--address", "http://u:S3CRET@head:8265", "--no-wait"]
    done = CliRunner().invoke(main, [*arguments, "--storage", PLACE, "--tracking-uri", uri])
    assert done.exit_code == 0, done.output
    assert "S3CRET" not in done.output
    assert not any("S3CRET" in word for word in asked[0].options)
    assert asked[0].env == {"SUPCLAP_STORAGE": PLACE, "MLFLOW_TRACKING_URI": uri}
