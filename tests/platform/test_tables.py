"""The table: numbers by hand, gaps that show, mixtures refused, the same bytes each time."""

import csv
import io
import json
import random
import shutil
import statistics
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.published import published_table
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.means import summarise
from supclap_platform.results.formats import (
    FORMATS,
    as_csv,
    as_markdown,
    as_text,
)
from supclap_platform.results.fragment import as_html
from supclap_platform.results.latex import as_latex
from supclap_platform.results.tables import build_table
from supclap_platform.testing import finish, interrupt

from supclap.errors import InputError
from supclap.storage import Folder

TEXT = """\
experiment: three
about: Which is best?
variants: {InfoNCE: {}, bi-StaticSVR: {loss.svr: {radius: static}}, my_row: {loss: siglip}}
seeds: 3
table:
  columns: [t2a.R@1, a2t.medR]
  published: table3_ablation
"""
NUMBERS = {  # variant -> one (R@1, medR) for each seed
    "InfoNCE": [(40.0, 3.0), (42.0, 2.0), (44.0, 4.0)],
    "bi-StaticSVR": [(41.0, 2.0), (43.0, 2.0), (45.0, 2.0)],
    "my_row": [(43.0, 1.0), (43.0, 2.0), (43.0, 3.0)],
}


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    path = tmp_path / "e.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return load_experiment(path)


def metrics(cell: Cell) -> dict[str, float]:
    recall, rank = NUMBERS[cell.variant][cell.seed]
    return {"test.t2a.R@1": recall, "test.a2t.medR": rank}


def finish_all(ledger: Ledger, cells: list[Cell]) -> None:
    for cell in cells:
        finish(ledger, cell, metrics(cell))


def test_mean_and_sample_deviation_against_the_standard_library() -> None:
    chance = random.Random(0)
    for n in range(2, 9):
        values = [chance.gauss(40, 2) for _ in range(n)]
        summary = summarise(values)
        assert summary.mean == pytest.approx(statistics.fmean(values), rel=1e-14)
        assert summary.std == pytest.approx(statistics.stdev(values), rel=1e-12)
        assert summarise(values[::-1]) == summary
    assert summarise([3.0]).std is None
    assert summarise([3.0, float("inf")]).mean != summarise([3.0, float("inf")]).mean
    with pytest.raises(ValueError, match="at least one"):
        summarise([])


def test_the_text_by_hand(ledger: Ledger, experiment: Experiment) -> None:
    finish_all(ledger, cells_of(experiment))
    lines = as_text(build_table(experiment, ledger)).splitlines()
    assert lines[:7] == [
        "Which is best?",
        "",
        "              t2a.R@1         paper  a2t.medR",
        "------------------------------------------------",
        "InfoNCE       42.00 ± 2.00    41.87  3.0 ± 1.0",
        "bi-StaticSVR  43.00 ± 2.00 *  43.89  2.0 ± 0.0 *",
        "my_row        43.00 ± 0.00 *  –      2.0 ± 1.0 *",
    ]
    assert "Mean ± sample standard deviation over 3 seeds (0, 1, 2). Profile laptop." in lines
    assert "Rows without a published number: my_row." in lines
    assert any("Published rows without a counterpart here: bi-Dyn" in line for line in lines)
    assert not any("finished" in line for line in lines)


@pytest.mark.heavy
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex here")
def test_latex_compiles_whatever_rows_are_called(ledger: Ledger, tmp_path: Path) -> None:
    names = ["InfoNCE", "[a] & b", "* 5 % of ${x}", "a_b^c~d\\e#", "x < y > |z|", 'it\'s "q"']
    rows = ", ".join(f"{json.dumps(n)}: {{epochs: {e}}}" for e, n in enumerate(names, 1))
    path = tmp_path / "awkward.yaml"
    grid = TEXT.replace("  published: table3_ablation\n", "baseline: InfoNCE\n")
    head, _, rest = grid.partition("variants:")
    path.write_text(f"{head}variants: {{{rows}}}\n{rest.partition(chr(10))[2]}", encoding="utf-8")
    table = build_table(load_experiment(path), ledger)
    document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
    (tmp_path / "t.tex").write_text(f"{document}{as_latex(table)}\\end{{document}}\n")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert "[1" in ran.stdout  # a page


def test_markdown_and_latex_mark_the_best_and_escape_names(
    ledger: Ledger, experiment: Experiment
) -> None:
    finish_all(ledger, cells_of(experiment))
    table = build_table(experiment, ledger)
    markdown = as_markdown(table)
    assert "| bi-StaticSVR | **43.00 ± 2.00** | 43.89 | **2.0 ± 0.0** |" in markdown
    assert "| my\\_row |" in markdown
    latex = as_latex(table)
    assert "bi-StaticSVR & \\textbf{43.00 $\\pm$ 2.00} & 43.89 &" in latex
    assert "my\\_row & " in latex
    assert latex.count("\\\\") == 5  # two lines of heads and three rows
    assert " & \\multicolumn{2}{c}{t2a.R@1} & \\multicolumn{1}{c}{a2t.medR} \\\\" in latex
    assert [latex.count(f"\\{rule}rule") for rule in ("top", "mid", "bottom")] == [1, 1, 1]
    assert latex.count("{") == latex.count("}")


def test_the_csv_leads_from_every_number_to_its_runs(
    ledger: Ledger, experiment: Experiment
) -> None:
    cells = cells_of(experiment)
    finish_all(ledger, cells)
    rows = list(csv.DictReader(io.StringIO(as_csv(build_table(experiment, ledger)))))
    assert len(rows) == 6
    first = rows[0]
    assert (first["variant"], first["column"], first["metric"]) == (
        "InfoNCE",
        "t2a.R@1",
        "test.t2a.R@1",
    )
    assert (float(first["mean"]), float(first["std"])) == (42.0, 2.0)
    assert first["values"] == "0:40.0 1:42.0 2:44.0"
    assert first["signatures"] == " ".join(f"{c.seed}:{c.signature}" for c in cells[:3])
    assert (first["best"], rows[2]["best"], first["published"]) == ("no", "yes", "41.87")


def test_missing_and_failed_cells_show_and_never_win(
    ledger: Ledger, experiment: Experiment
) -> None:
    cells = cells_of(experiment)
    finish_all(ledger, cells[:5])  # bi-StaticSVR lacks seed 2
    interrupt(ledger, cells[5])
    finish(ledger, cells[6], {"test.t2a.R@1": 99.0, "test.a2t.medR": 1.0})
    ledger.record_failure(cells[7].signature, "out of memory")
    ledger.record_failure(cells[8].signature, "out of memory")
    text = as_text(build_table(experiment, ledger))
    assert "bi-StaticSVR  42.00 ± 1.41 (2/3)" in text
    assert "my_row        99.00 (1/3)" in text
    assert "*" not in text  # one complete row has nobody to be compared with
    assert "bi-StaticSVR: not finished for seed 2." in text
    assert "my_row: failed for seeds 1, 2." in text
    assert "An entry with (k/n) rests on k of n runs" in text


def test_a_finished_run_without_the_metric_is_counted_as_missing(
    ledger: Ledger, experiment: Experiment
) -> None:
    cells = cells_of(experiment)
    finish_all(ledger, cells)
    finish(ledger, cells[0], {"test.t2a.R@1": 40.0})
    text = as_text(build_table(experiment, ledger))
    assert "InfoNCE: 1 finished run lacks a2t.medR." in text
    assert "3.0 ± 1.4 (2/3)" in text


def test_nothing_finished_is_a_table_of_dashes(ledger: Ledger, experiment: Experiment) -> None:
    text = as_text(build_table(experiment, ledger))
    assert "InfoNCE       – (0/3)  41.87  – (0/3)" in text
    for render in FORMATS.values():
        assert render(build_table(experiment, ledger))


def test_one_seed_shows_no_deviation(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(TEXT.replace("seeds: 3", "seeds: 1"), encoding="utf-8")
    experiment = load_experiment(path)
    finish_all(ledger, cells_of(experiment))
    text = as_text(build_table(experiment, ledger))
    assert "InfoNCE       40.00    41.87  3.0" in text
    assert "One seed, no ± (0)." in text


def test_mixed_code_versions_and_data_are_refused_without_the_flag(
    ledger: Ledger, experiment: Experiment
) -> None:
    cells = cells_of(experiment)
    finish_all(ledger, cells)
    finish(ledger, cells[0], metrics(cells[0]), code="code-b")
    with pytest.raises(
        InputError, match=r"different code: code-b did not note its modules.*--mixed"
    ):
        build_table(experiment, ledger)
    assert "MIXED: finished cells are of different code: code-b did not note" in as_text(
        build_table(experiment, ledger, mixed=True)
    )
    finish(ledger, cells[0], metrics(cells[0]), data="data-b")
    with pytest.raises(InputError, match=r"different data \(data-a, data-b\)"):
        build_table(experiment, ledger)


def test_rows_with_data_of_their_own_are_no_mixture(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text("experiment: e\nvariants: {a: {}, b: {data.clips: 900}}\n", encoding="utf-8")
    experiment = load_experiment(path)
    one, two = cells_of(experiment)
    finish(ledger, one, {"test.t2a.R@1": 1.0}, data="data-a")
    finish(ledger, two, {"test.t2a.R@1": 2.0}, data="data-b")
    assert "data data-a, data-b" in as_text(build_table(experiment, ledger))


def test_changes_of_the_command_line_are_said(
    ledger: Ledger, tmp_path: Path, experiment: Experiment
) -> None:
    changed = load_experiment(tmp_path / "e.yaml", changes={"epochs": 1, "batch_size": 8})
    assert "Profile laptop, with batch_size=8, epochs=1." in build_table(changed, ledger).notes[0]


def test_selection_on_the_test_split_is_said(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text("experiment: e\nbase: {select.split: test}\n", encoding="utf-8")
    assert "on the TEST split" in as_text(build_table(load_experiment(path), ledger))


def test_the_same_ledger_gives_the_same_bytes_in_whatever_order_it_was_filled(
    tmp_path: Path, experiment: Experiment
) -> None:
    outputs = []
    for order in (1, -1):
        ledger = Ledger(Folder.at(tmp_path / f"storage{order}"))
        finish_all(ledger, cells_of(experiment)[::order])
        table = build_table(experiment, ledger)
        outputs.append({ending: render(table) for ending, render in FORMATS.items()})
    assert outputs[0] == outputs[1]


def test_a_column_in_full_has_the_published_number_of_the_short_one(
    tmp_path: Path, ledger: Ledger
) -> None:
    path = tmp_path / "full.yaml"
    path.write_text(TEXT.replace("[t2a.R@1,", "[test.t2a.R@1,"), encoding="utf-8")
    table = build_table(load_experiment(path), ledger)
    assert table.rows[0].entries[0].published == 41.87


def test_published_names_can_differ_from_ours(ledger: Ledger, tmp_path: Path) -> None:
    text = TEXT.replace(
        "published: table3_ablation",
        "published: {table: table1_retrieval, rows: {my_row: SigLIP}, "
        "columns: {t2a.R@1: AC.t2a.R@1}}",
    )
    path = tmp_path / "e.yaml"
    path.write_text(text, encoding="utf-8")
    table = build_table(load_experiment(path), ledger)
    assert {row.variant: row.entries[0].published for row in table.rows} == {
        "InfoNCE": 41.87,
        "bi-StaticSVR": None,
        "my_row": 36.74,
    }


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("table3_ablation", "table3_ablatio", "no published table 'table3_ablatio'; did you mean"),
        ("table3_ablation", "{table: table3_ablation, rows: {x: InfoNCE}}", "no variant 'x'"),
        ("table3_ablation", "{table: table3_ablation, rows: {my_row: x}}", "no published row 'x'"),
        ("table3_ablation", "{table: table3_ablation, columns: {x: y}}", "no table column 'x'"),
    ],
)
def test_an_unknown_published_name_is_told(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(TEXT.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_experiment(path)
    assert expected in str(caught.value)


def test_the_published_numbers_of_table_3() -> None:
    table = published_table("table3_ablation")
    assert table.value("bi-DynamicSVR", "t2a.R@1") == 44.16
    assert table.value("uni-DynamicSVR w/o constraint", "t2a.R@1") is None
    assert table.value("InfoNCE", "t2a.R@5") is None


def test_the_command_prints_and_writes_all_formats(
    tmp_path: Path, ledger: Ledger, experiment: Experiment
) -> None:
    finish_all(ledger, cells_of(experiment))
    arguments = ["table", str(tmp_path / "e.yaml"), "--storage", str(tmp_path / "storage")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0
    table = build_table(experiment, ledger)
    assert done.stdout == as_text(table)
    written = tmp_path / "storage" / "experiments" / "three"
    for ending, render in FORMATS.items():
        assert (written / f"table.{ending}").read_text(encoding="utf-8") == render(table)
    finish(ledger, cells_of(experiment)[0], {}, code="code-b")
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1
    assert "--mixed" in refused.stderr
    assert CliRunner().invoke(main, [*arguments, "--mixed"]).exit_code == 0


def test_storage_from_the_environment(
    tmp_path: Path, ledger: Ledger, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_all(ledger, cells_of(experiment))
    monkeypatch.setenv("SUPCLAP_STORAGE", str(tmp_path / "storage"))
    done = CliRunner().invoke(main, ["table", str(Path(tmp_path, "e.yaml"))])
    assert "42.00 ± 2.00" in done.stdout


def compared(tmp_path: Path, text: str = TEXT, name: str = "d.yaml") -> Experiment:
    path = tmp_path / name
    path.write_text(text + "baseline: InfoNCE\n", encoding="utf-8")
    return load_experiment(path)


def test_differences_to_the_baseline_by_hand(ledger: Ledger, tmp_path: Path) -> None:
    experiment = compared(tmp_path)
    finish_all(ledger, cells_of(experiment))
    table = build_table(experiment, ledger)
    assert as_text(table).splitlines()[2:7] == [
        "              t2a.R@1         Δ      paper  Δ paper  a2t.medR     Δ",
        "----------------------------------------------------------------------",
        "InfoNCE       42.00 ± 2.00           41.87           3.0 ± 1.0",
        "bi-StaticSVR  43.00 ± 2.00 *  +1.00  43.89  +2.02    2.0 ± 0.0 *  −1.0",
        "my_row        43.00 ± 0.00 *  +1.00  –      –        2.0 ± 1.0 *  −1.0",
    ]
    assert any(
        note.startswith("Δ: difference to InfoNCE; ours is the mean") for note in table.notes
    )
    assert "| bi-StaticSVR | **43.00 ± 2.00** | +1.00 | 43.89 | +2.02 |" in as_markdown(table)
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert [rows[2][k] for k in ("baseline", "difference", "difference_seeds")] == [
        "InfoNCE",
        "1.0",
        "3",
    ]
    assert rows[2]["published_difference"] == "2.02"
    assert [rows[0][k] for k in ("baseline", "difference", "published_difference")] == ["", "", ""]


def test_a_difference_rests_on_the_seeds_that_both_have(ledger: Ledger, tmp_path: Path) -> None:
    experiment = compared(tmp_path)
    cells = cells_of(experiment)
    finish_all(ledger, [cells[1], cells[2], cells[3], cells[4], cells[6]])
    table = build_table(experiment, ledger)
    static, mine = (row.entries[0].difference for row in table.rows[1:])
    assert static is not None
    assert mine is not None
    assert (static.ours, static.seeds) == (43.0 - 42.0, (1,))
    assert (mine.ours, mine.seeds) == (None, ())  # seed 0 alone, which the baseline lacks
    assert "bi-StaticSVR: Δ rests on seed 1." in table.notes
    words = [line.split()[:4] for line in as_text(table).splitlines()]
    assert ["my_row", "43.00", "(1/3)", "–"] in words


def test_rows_may_be_compared_with_several_baselines(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    text = TEXT + "baseline: {InfoNCE: [bi-StaticSVR], bi-StaticSVR: [my_row]}\n"
    path.write_text(text, encoding="utf-8")
    experiment = load_experiment(path)
    finish_all(ledger, cells_of(experiment))
    table = build_table(experiment, ledger)
    found = [row.entries[1].difference for row in table.rows]
    assert found[0] is None
    assert [(d.baseline, d.ours) for d in found[1:] if d] == [
        ("InfoNCE", -1.0),
        ("bi-StaticSVR", 0.0),
    ]
    assert "InfoNCE (of bi-StaticSVR); bi-StaticSVR (of my_row)" in as_text(table)
    assert "2.0 ± 1.0 *  0.0" in as_text(table)  # no sign where nothing differs


def test_a_wide_text_table_is_cut_into_pieces_that_fit(ledger: Ledger, tmp_path: Path) -> None:
    columns = "[t2a.R@1, t2a.R@5, t2a.R@10, a2t.R@1, a2t.R@5, a2t.R@10, a2t.medR]"
    experiment = compared(tmp_path, TEXT.replace("[t2a.R@1, a2t.medR]", columns))
    finish_all(ledger, cells_of(experiment))
    lines = as_text(build_table(experiment, ledger)).splitlines()
    assert max(len(line) for line in lines) <= 120
    heads = [word for line in lines for word in line.split() if word.startswith(("t2a.", "a2t."))]
    assert [head for head in heads if head in columns.strip("[]").split(", ")][:7] == columns.strip(
        "[]"
    ).split(", ")
    assert sum(line.startswith("my_row  ") for line in lines) > 1


def test_latex_spans_headings_over_groups_and_columns(ledger: Ledger, tmp_path: Path) -> None:
    grouped = TEXT.replace("seeds: 3", "seeds: 3\ngroups: {a%: {}, b: {epochs: 3}}")
    experiment = compared(tmp_path, grouped.replace("  published: table3_ablation\n", ""))
    latex = as_latex(build_table(experiment, ledger))
    assert " & \\multicolumn{4}{c}{a\\%} & \\multicolumn{4}{c}{b} \\\\" in latex
    assert "\\cmidrule(lr){2-5} \\cmidrule(lr){6-9}" in latex
    assert latex.count("\\multicolumn{2}{c}{t2a.R@1}") == 2
    assert "\\cmidrule(lr){2-3} \\cmidrule(lr){4-5} \\cmidrule(lr){6-7}" in latex
    lines = [line.split(" %")[0] for line in latex.splitlines()]
    begin = lines.index("\\begin{tabular}{lrrrrrrrr}")
    body = [line for line in lines[begin:] if line.endswith("\\\\") and "multi" not in line]
    assert [line.replace("\\&", "").count("&") for line in body] == [8, 8, 8, 8]
    assert latex.count("{") == latex.count("}")


class Page(HTMLParser):
    """What a fragment links to, its anchors, its cells; and that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.anchors: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        found = dict(attrs)
        self.attributes |= set(found)
        self.links += [str(found["href"])] if "href" in found else []
        self.anchors += [str(found["id"])] if "id" in found else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_number_of_the_html_leads_to_its_runs(ledger: Ledger, tmp_path: Path) -> None:
    text = TEXT.replace("seeds: 3", "seeds: 3\ngroups: {a: {}, b: {epochs: 3}}")
    text = text.replace("my_row", "<b>&").replace("  published: table3_ablation\n", "")
    experiment = compared(tmp_path, text)
    for cell in cells_of(experiment)[:-1]:
        finish(ledger, cell, {"test.t2a.R@1": 41.0 + cell.seed, "test.a2t.medR": 2.0})
    table = build_table(experiment, ledger)
    page = Page(as_html(table))
    assert page.open == []
    assert "style" not in page.attributes
    assert "<b>&" in page.text
    assert len(page.anchors) == len(set(page.anchors)) == 3 * 2
    assert {link.removeprefix("#") for link in page.links} == set(page.anchors)
    assert len(page.links) == 3 * 4 + 2 * 4  # numbers of ours, and their differences
    assert all(run.signature in page.text for row in table.rows for run in row.runs)
    assert all(note in page.text for note in table.notes)
    assert page.text.count(" to run") == 1
    linked = Page(as_html(table, href=lambda run: f"runs/{run.signature}?a=1&b=2"))
    assert f"runs/{table.rows[0].runs[0].signature}?a=1&b=2" in linked.links
