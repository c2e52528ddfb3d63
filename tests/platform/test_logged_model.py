"""What is logged of a model in MLflow, with a client that only notes what it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from supclap_platform.mirror.content import KeptModel
from supclap_platform.mirror.logged_model import log_model
from supclap_platform.mirror.stored_run import StoredRun

from supclap.storage import Folder
from supclap.stored import Damaged


class Client:
    """Notes the names of its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self.calls.append(name)


def test_a_damaged_model_is_found_before_there_is_an_entry(tmp_path: Path) -> None:
    """An entry without files would stay, for all to see."""
    (tmp_path / "model.json").write_text('{"files": {}', encoding="utf-8")
    client = Client()
    run = StoredRun("id", "FINISHED", 0, 1, "A", {}, {}, new=True)
    model = KeptModel(Folder.at(tmp_path), needs_code=False)
    with pytest.raises(Damaged, match=r"model\.json"):
        log_model(client, "1", run, model, 1, "A", {}, link=False)
    assert client.calls == []
