"""What tests of the platform share."""

from pathlib import Path

import pytest
from supclap_platform.ledger.ledger import Ledger

from supclap.storage import Folder


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Folder.at(tmp_path / "storage"))
