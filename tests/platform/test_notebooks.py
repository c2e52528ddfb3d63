"""The notebooks of examples/, executed from the first cell to the last."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.heavy

EXAMPLES = Path(__file__).parents[2] / "examples"


def source_of(notebook: Path) -> str:
    """The code of all cells, as one program."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


def test_own_idea_is_checked_run_edited_and_run_again(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", source_of(EXAMPLES / "own_idea.ipynb")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all checks passed" in done.stdout
    assert "4 cells, 0 done, 4 to run" in done.stdout
    # The edit makes the term's rows stale, and no other.
    assert "4 cells, 2 done, 2 to run" in done.stdout
    assert "my_idea.py: angle" in done.stdout
    assert done.stdout.count("undecided") >= 2


def test_a_notebook_holds_no_outputs() -> None:
    for notebook in EXAMPLES.glob("*.ipynb"):
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            assert not cell.get("outputs"), f"{notebook.name}: clear its outputs"
