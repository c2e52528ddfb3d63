"""A fixed number of seeds gives what it gave before seeds could be added look by look.

``golden/fixed_design.txt`` was written by the version before.
"""

from pathlib import Path

from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.conclusion import conclude
from supclap_platform.testing import finish

GOLDEN = Path(__file__).parent / "golden" / "fixed_design.txt"
TEXT = """\
experiment: fixed
base: {epochs: 4}
variants:
  A: {}
  B: {loss.svr: {radius: static}}
  C: {loss.svr: {radius: dynamic}}
seeds: 5
baseline: A
claims:
  - B > A on t2a.R@1
  - C > A on t2a.R@1 by at least 0.5
  - C > B on t2a.R@1
  - C within 4 % of A on a2t.R@1
  - B within 1 % of A on a2t.R@1
  - val.t2a.R@1 of B rises over epochs
  - B > C on a2t.R@1
"""
R1 = {  # by variant, of five seeds
    "A": [40.0, 42.1, 43.9, 41.3, 40.7],
    "B": [43.2, 44.9, 47.2, 44.0, 43.1],
    "C": [40.9, 42.6, 43.8, 42.7, 41.2],
}
BACK = {
    "A": [38.1, 37.7, 38.8, 39.2, 38.0],
    "B": [38.3, 37.2, 39.6, 39.0, 38.4],
    "C": [38.2, 37.6, 39.1, 39.1, 38.3],
}


def shown(folder: Path, ledger: Ledger) -> str:
    """Table and verdicts as text, without the line on code and data."""
    path = folder / "fixed.yaml"
    path.write_text(TEXT, encoding="utf-8")
    experiment = load_experiment(path)
    for cell in cells_of(experiment):
        first, back = R1[cell.variant][cell.seed], BACK[cell.variant][cell.seed]
        epochs = [{"val.t2a.R@1": first - 8 / epoch + cell.seed % 2} for epoch in (1, 2, 3, 4)]
        finish(ledger, cell, {"test.t2a.R@1": first, "test.a2t.R@1": back}, epochs)
    lines = conclude(experiment, ledger).text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("Code ")) + "\n"


def test_a_fixed_number_of_seeds_gives_what_it_gave(tmp_path: Path, ledger: Ledger) -> None:
    assert shown(tmp_path, ledger) == GOLDEN.read_text(encoding="utf-8")
