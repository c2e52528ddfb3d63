"""What a paper asks of tables and figures: chosen rows, labels, LaTeX's label, sizes."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from PIL import Image
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.results.evidence import Evidence
from supclap_platform.results.figures import draw_figures
from supclap_platform.results.formats import FORMATS
from supclap_platform.results.fragment import as_html
from supclap_platform.results.panels import DOTS
from supclap_platform.results.pictures import pictures_of
from supclap_platform.results.tables import build_table
from supclap_platform.testing import finish

from supclap.errors import InputError

pytestmark = pytest.mark.heavy  # each takes a moment

FILE = """
experiment: laid
base: {epochs: 2}
variants:
  InfoNCE: {}
  bi-StaticSVR: {loss.svr: {sides: both, radius: static}}
  uni-StaticSVR: {loss.svr: {sides: text, radius: static}}
seeds: 2
baseline: InfoNCE
"""
TABLE = """
table:
  columns: [{metric: t2a.R@1, label: "R@1, T to A & back"}, a2t.R@1]
  rows: [{row: uni-StaticSVR, label: SVR (text)}, bi-StaticSVR]
  label: tab:ablation
"""
FIGURES = """
figures:
  - {figure: convergence, width: 3.3, height: 2.5, rows: [InfoNCE, uni-StaticSVR]}
  - similarity
"""


def experiment(tmp_path: Path, text: str) -> Experiment:
    (tmp_path / "e.yaml").write_text(FILE + text, encoding="utf-8")
    return load_experiment(tmp_path / "e.yaml")


def finished(chosen: Experiment, tmp_path: Path) -> Ledger:
    ledger = open_ledger(tmp_path / "storage")
    heights = {"InfoNCE": 50.0, "bi-StaticSVR": 30.0, "uni-StaticSVR": 40.0}
    for cell in cells_of(chosen):
        value = heights[cell.variant] + cell.seed
        metrics = {"test.t2a.R@1": value, "test.a2t.R@1": value / 2}
        epochs = [{"val.t2a.R@1": value, "val.a2t.R@1": value, "similarity.positive": 0.3}] * 2
        finish(ledger, cell, metrics, epochs)
    return ledger


def test_chosen_rows_stand_in_their_order_with_labels_and_differences(tmp_path: Path) -> None:
    chosen = experiment(tmp_path, TABLE)
    table = build_table(chosen, finished(chosen, tmp_path), mixed=True)
    assert [row.variant for row in table.rows] == ["uni-StaticSVR", "bi-StaticSVR"]
    first = table.rows[0].entries[0]
    assert first.best  # of the rows that are shown
    assert first.difference is not None
    assert first.difference.ours == -10.0  # to a baseline that is not shown
    for form in ("txt", "md", "html", "tex"):
        text = FORMATS[form](table)
        assert "SVR (text)" in text
        assert "T to A" in text
        assert "t2a.R@1" not in text.replace("chosen by t2a.R@1", "")
        assert "50.5" not in text
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](table))))
    assert [row["variant"] for row in rows[::2]] == ["uni-StaticSVR", "bi-StaticSVR"]
    assert rows[0]["column"] == "t2a.R@1"  # who reads it with a program finds the names


def test_latex_has_a_label_and_no_hash_in_its_caption(tmp_path: Path) -> None:
    chosen = experiment(tmp_path, TABLE)
    table = build_table(chosen, finished(chosen, tmp_path), mixed=True)
    lines = FORMATS["tex"](table).splitlines()
    (caption,) = [line for line in lines if line.startswith("\\caption{")]
    assert lines[lines.index(caption) + 1] == "\\label{tab:ablation}"
    code, data = table.made_with.removeprefix("Code ").rstrip(".").split("; data ")
    assert code not in caption
    assert data not in caption
    assert f"% Code {code}; data {data}." in lines
    assert " & \\multicolumn{2}{c}{R@1, T to A \\& back}" in "\n".join(lines)
    for form in ("txt", "md", "html"):
        assert table.made_with in FORMATS[form](table)
    plain = experiment(tmp_path, "")
    assert "\\label" not in FORMATS["tex"](build_table(plain, open_ledger(tmp_path / "storage")))


def test_a_figure_has_the_size_and_the_rows_that_it_is_asked_for(tmp_path: Path) -> None:
    chosen = experiment(tmp_path, TABLE + FIGURES)
    ledger = finished(chosen, tmp_path)
    convergence, similarity = draw_figures(chosen, ledger)
    picture = Image.open(io.BytesIO(convergence.files["convergence.png"]))
    assert picture.size == (round(3.3 * DOTS), round(2.5 * DOTS))
    svg = convergence.files["convergence.svg"].decode()
    assert f'width="{3.3 * 72:g}pt" height="{2.5 * 72:g}pt"' in svg
    assert {line.row for line in convergence.drawn} == {"InfoNCE", "uni-StaticSVR"}
    assert {line.row for line in similarity.drawn} == set(chosen.rows)
    assert not [note for note in convergence.notes if "rows are drawn" in note]
    assert similarity.styles == convergence.styles  # a row looks the same in every figure
    shown = pictures_of(chosen, ledger, Evidence(chosen, ledger))[0]
    assert [name for _, name in shown.legend] == ["InfoNCE", "SVR (text)"]


def test_a_name_alone_asks_for_what_it_always_did(tmp_path: Path) -> None:
    old = experiment(tmp_path, "table: {columns: [t2a.R@1]}\nfigures: [convergence]\n")
    assert [column.name for column in old.columns] == ["t2a.R@1"]
    assert old.figures == ("convergence",)
    assert old.layout.rows == ()
    (drawing,) = draw_figures(old, finished(old, tmp_path), ["png"])
    assert Image.open(io.BytesIO(drawing.files["convergence.png"])).size[0] == round(7.2 * DOTS)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("table: {rows: [InfoMCE]}", 11, "no variant 'InfoMCE'; did you mean 'InfoNCE'?"),
        ("table: {rows: [InfoNCE, InfoNCE]}", 11, "the row 'InfoNCE' stands twice"),
        ("table: {rows: []}", 11, "table.rows"),
        ("table: {rows: [{row: InfoNCE, label: bi-StaticSVR}, bi-StaticSVR]}", 11, "are both"),
        ("table: {rows: [{variant: InfoNCE}]}", 11, "variant"),
        ("table: {columns: [{metric: t2a.R@2}]}", 11, "no run reports 't2a.R@2'"),
        ("table: {label: 'tab ablation'}", 11, "expected letters, digits"),
        ("figures: [{figure: drifts}]", 11, "no figure 'drifts'; did you mean 'drift'?"),
        ("figures: [{figure: drift, rows: [SVR]}]", 11, "no variant 'SVR'"),
        ("figures: [{figure: drift, width: 0.1}]", 11, "1.5"),
        ("figures: [{figure: drift, size: 3}]", 11, "size"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(
    tmp_path: Path, text: str, line: int, told: str
) -> None:
    with pytest.raises(InputError) as error:
        experiment(tmp_path, "\n" + text + "\n")
    assert f"e.yaml:{line}: " in str(error.value)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_wider_than_a_sheet_stands_there_in_pieces_that_lack_nothing(
    tmp_path: Path,
) -> None:
    chosen = experiment(tmp_path, TABLE)
    table = build_table(chosen, finished(chosen, tmp_path), mixed=True)
    whole = as_html(table, sheet=4)  # two columns with a difference each
    assert 'class="scroll"' in whole
    assert "sheet" not in whole
    cut = as_html(table, sheet=2)
    assert cut.count('class="scroll sheet"') == 2
    assert cut.count('class="scroll wide"') == 1
    for piece, value in zip(cut.split('class="scroll sheet"')[1:], ("40.50", "20.25"), strict=True):
        assert "SVR (text)" in piece
        assert value in piece
