"""What tests of the platform share."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from supclap_platform.ledger.ledger import Ledger

from supclap.storage import Folder


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Folder.at(tmp_path / "storage"))


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated MLflow database, to be copied: making one takes seconds."""
    from supclap_platform.mirror.store import default_store

    folder = tmp_path_factory.mktemp("empty-store")
    default_store(folder).connect()
    return folder / "mlflow.db"


@pytest.fixture
def place(tmp_path: Path, empty_store: Path) -> Any:
    """A ledger with a small experiment, and an empty MLflow store beside it."""
    from mlflow_place import Place

    (tmp_path / "storage").mkdir()
    shutil.copy(empty_store, tmp_path / "storage/mlflow.db")
    return Place(tmp_path)
