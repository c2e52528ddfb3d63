"""Hundreds of seeds: nothing that is read lists them one by one, and CSV has them all."""

import csv
import io
from pathlib import Path

from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.history import Histories
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.formats import as_csv, as_markdown, as_text
from supclap_platform.results.latex import as_latex
from supclap_platform.results.tables import build_table

from supclap.storage import Folder


def test_they_are_stretches_and_the_csv_file_has_each(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text("experiment: e\nvariants: {A: {}}\nseeds: 500\ntable: {columns: [t2a.R@1]}\n")
    experiment, ledger = load_experiment(path), Ledger(Folder.at(tmp_path / "storage"))
    cells = cells_of(experiment)
    table = build_table(experiment, ledger)
    text = as_text(table)
    assert "over 500 seeds (0 to 499). Profile laptop." in text
    assert "A: not finished for seeds 0 to 499." in text
    for written in (as_markdown(table), as_latex(table)):
        named = [cell.signature in written for cell in cells]
        assert named == [place < 80 for place in range(500)]
        assert "and 420 more, in the .csv file" in written
    (row,) = csv.DictReader(io.StringIO(as_csv(table)))
    assert row["signatures"].split() == [f"{cell.seed}:{cell.signature}" for cell in cells]
    assert Histories(ledger).begin(experiment, cells).tags["seeds"] == "0 to 499"
