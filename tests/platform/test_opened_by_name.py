"""An experiment opened by its name in a storage, which keeps its file: local, on S3, with parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import supclap_platform as sp
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.history import Histories
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.testing import finish

from supclap.errors import InputError

pytestmark = pytest.mark.heavy  # pandas

ROWS = """
experiment: {name}
base: {{epochs: 1}}
code: [{name}_idea.py]
variants: {{A: {{}}, B: {{loss.terms.{name}: {{weight: 0.5}}}}}}
seeds: 1
table: {{columns: [t2a.R@1]}}
profiles_from: [scales.yaml]
"""
IDEA = """
from supclap.parts import LossTerm, register

@register("{name}")
class Term(LossTerm):
    def forward(self, pairs):
        return pairs.similarities.mean()
"""


def write(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}_idea.py").write_text(IDEA.format(name=name))
    (folder / "scales.yaml").write_text("small: {base: {batch_size: 8}}\n")
    path = folder / f"{name}.yaml"
    path.write_text(ROWS.format(name=name))
    return path


def run(path: Path, storage: Path, value: float, profile: str = "laptop") -> None:
    """What a run leaves, without training."""
    experiment = load_experiment(path, profile)
    ledger = open_ledger(storage, writing=True)
    histories = Histories(ledger)
    histories.end(histories.begin(experiment, cells_of(experiment)), "FINISHED")
    for cell in cells_of(experiment):
        finish(ledger, cell, {"test.t2a.R@1": value})


def test_by_name_it_is_what_it_is_by_file(tmp_path: Path) -> None:
    path = write(tmp_path / "files", "one")
    run(path, tmp_path / "s", 41.0)
    run(path, tmp_path / "s", 42.0, "small")
    by_file = sp.open(path, tmp_path / "s", "small").runs()
    for file in path.parent.iterdir():
        file.unlink()
    for profile, value in (("laptop", 41.0), ("small", 42.0)):
        results = sp.open("one", tmp_path / "s", profile)
        assert results.runs()["test.t2a.R@1"].tolist() == [value, value]
        assert results.runs()["stale"].tolist() == [False, False]
    assert results.runs().equals(by_file)
    for name, more, message in (
        ("onne", {}, r"'onne': no experiment file .* did you mean 'one'\?"),
        ("one", {"changes": {"epochs": 2}}, r"never run as 'laptop epochs=2' .* \(as: laptop, sma"),
    ):
        with pytest.raises(InputError, match=message):
            sp.open(name, tmp_path / "s", **more)


def test_a_file_that_includes_others_comes_back_with_them(tmp_path: Path) -> None:
    write(tmp_path / "files", "first")
    write(tmp_path / "files" / "below", "second")
    whole = tmp_path / "files" / "all.yaml"
    whole.write_text("experiment: all\ninclude: [first.yaml, below/second.yaml]\n")
    run(whole, tmp_path / "s", 43.0)
    results = sp.open("all", tmp_path / "s")
    runs = results.runs()
    # A is one run that both parts share: a row of each.
    assert runs.groupby(["experiment", "row"], observed=True)["test.t2a.R@1"].sum().to_dict() == {
        (part, row): 43.0 for part in ("first", "second") for row in "AB"
    }
    assert runs["signature"].nunique() == 3
    assert len(results.part("second").runs()) == 2
    with pytest.raises(InputError, match=r"includes several experiments: choose one"):
        results.figure("drift")
