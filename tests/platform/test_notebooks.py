"""The notebooks of examples/, executed from the first cell to the last."""

import json
import os
import statistics
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


def executed(notebook: str, folder: Path) -> str:
    """What an example prints, run in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", source_of(EXAMPLES / notebook)],
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_own_idea_is_checked_run_edited_and_run_again(tmp_path: Path) -> None:
    printed = executed("own_idea.ipynb", tmp_path)
    assert "all checks passed" in printed
    assert "4 cells, 0 done, 4 to run" in printed
    # The edit makes the term's rows stale, and no other.
    assert "4 cells, 2 done, 2 to run" in printed
    assert "my_idea.py: angle" in printed
    assert printed.count("undecided") >= 2


def test_features_of_ones_own_become_an_answer_a_comparison_and_a_model(tmp_path: Path) -> None:
    printed = executed("own_features.ipynb", tmp_path)
    assert "0 supported, 0 contradicted, 1 negligible, 0 undecided" in printed
    assert "of 4 lines" in printed  # two rows, two columns, before and after
    assert (tmp_path / "best" / "README.md").is_file()
    found = printed.partition("of 200 test clips ")[2].partition(" %")[0]
    assert int(found) > 50  # of 200 by chance: one in two hundred


def test_a_notebook_holds_no_outputs() -> None:
    for notebook in EXAMPLES.glob("*.ipynb"):
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            assert not cell.get("outputs"), f"{notebook.name}: clear its outputs"


def test_results_become_a_figure_statistics_and_a_latex_table(tmp_path: Path) -> None:
    printed = executed("analysis.ipynb", tmp_path)
    assert "11 of 12 runs done" in printed
    assert "the loss is not finite" in printed
    for figure in ("ranks.pdf", "drift.pdf"):
        assert (tmp_path / figure).read_bytes().startswith(b"%PDF")
    # Its numbers, again from the files that the runs have left.
    recalls: dict[str, list[float]] = {"none": [], "static": [], "dynamic": []}
    for path in (tmp_path / "supclap-results/cells").rglob("result.json"):
        svr = json.loads((path.parent / "config.json").read_text())["loss"]["svr"]
        metrics = json.loads(path.read_text())["metrics"]
        recalls["none" if svr is None else svr["radius"]].append(metrics["test.t2a.R@1"])
    assert [len(values) for values in recalls.values()] == [4, 3, 4]
    latex = (tmp_path / "table.tex").read_text()
    rows = {line.partition(" & ")[0]: line for line in latex.splitlines() if " & " in line}
    for row, kind in (
        ("InfoNCE", "none"),
        ("bi-StaticSVR", "static"),
        ("bi-DynamicSVR", "dynamic"),
    ):
        mean, std = statistics.fmean(recalls[kind]), statistics.stdev(recalls[kind])
        assert f"${mean:.2f} \\pm {std:.2f}" in rows[row]
    assert rows["bi-StaticSVR"].count("(3/4)") == 2
    assert "\\toprule" in latex
