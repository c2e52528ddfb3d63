"""An edit of the method between two runs, as a researcher makes it: real code, real runs."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import supclap_platform
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.plan import make_plan
from tiny_grid import SUPCLAP, attempts, environment, write_experiment

import supclap
from supclap.errors import STALE

HERE = {"supclap": supclap, "platform/supclap_platform": supclap_platform}


@pytest.mark.heavy
def test_an_edited_loss_is_said_and_only_its_row_is_trained_anew(tmp_path: Path) -> None:
    code = tmp_path / "code"
    for folder, package in HERE.items():
        source = Path(str(package.__file__)).parent
        shutil.copytree(source, code / folder, ignore=shutil.ignore_patterns("__pycache__"))
    path, storage = write_experiment(tmp_path, epochs=1), tmp_path / "storage"

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*SUPCLAP, "run", str(path), "--storage", str(storage), *options],
            env={**environment(), "PYTHONPATH": f"{code}:{code / 'platform'}"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    first = run()
    assert first.returncode == 0, first.stdout + first.stderr
    assert sorted(attempts(storage).values()) == [1, 1, 1, 1]

    svr = code / "supclap" / "losses" / "svr.py"
    text = svr.read_text(encoding="utf-8")
    edited = text.replace("total = value + self.alpha * term", "total = value + 2 * term")
    assert edited != text
    svr.write_text(edited, encoding="utf-8")
    old = run()
    assert old.returncode == STALE, old.stdout + old.stderr
    assert "4 cells, 2 done, 2 stale, 0 to run" in old.stdout
    assert "(changed since: supclap.losses.svr): bi-DynamicSVR; shown" in old.stdout
    assert "STALE: 2 of 4 runs are of code" in " ".join(old.stdout.split())

    anew = run("--rerun-stale")
    assert anew.returncode == 0, anew.stdout + anew.stderr
    assert "stale" not in anew.stdout.lower()
    ledger = open_ledger(storage)
    cells = make_plan(load_experiment(path), ledger).cells
    for cell in cells:
        earlier = ledger.earlier(cell.signature)
        assert len(earlier) == (cell.variant == "bi-DynamicSVR")
        now = ledger.result(cell.signature)
        assert now is not None
        for code_before, before in earlier.items():
            assert code_before != now.code
            assert before.metrics["train.loss"] != now.metrics["train.loss"]

    sides = [f"{path}@code=earlier", str(path), "--storage", str(storage), "--format", "json"]
    before_after = subprocess.run(
        [*SUPCLAP, "compare", *sides],
        env={**environment(), "PYTHONPATH": f"{code}:{code / 'platform'}"},
        capture_output=True,
        text=True,
    )
    assert before_after.returncode in (0, 1), before_after.stderr
    for line in json.loads(before_after.stdout)["lines"]:
        (row,) = [cell for cell in cells if (cell.variant, cell.seed) == (line["row"], 0)]
        kept = list(ledger.earlier(row.signature).values())
        assert line["same"] == (not kept)
        assert len(line["seeds"]) == 2

    svr.write_text(edited.replace("import torch\n", "import torch  # a comment\n"), "utf-8")
    again = run()
    assert again.returncode == 0, again.stdout + again.stderr
    assert "4 cells, 4 done, 0 to run" in again.stdout
