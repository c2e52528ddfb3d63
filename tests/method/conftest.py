"""What tests of the method share."""

from pathlib import Path

import pytest
from tiny_run import make_collection

from supclap import training


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones with captions in two languages, to read only."""
    return make_collection(tmp_path_factory.mktemp("tones") / "data")


@pytest.fixture
def same_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """One code version, whoever edits the package while the test runs."""
    monkeypatch.setattr(training, "version_of", lambda modules: "code")
