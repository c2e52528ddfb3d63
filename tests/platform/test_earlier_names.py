"""A metric that was called otherwise: old files and old results mean what they meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.claims import Greater, Trend, parse_claim
from supclap_platform.experiment.metrics import full_name
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.testing import finish

from supclap.errors import InputError
from supclap.events import EpochEnded, current_names, first_name, from_line, to_line

FILE = """
experiment: old
base: {epochs: 2}
variants:
  InfoNCE: {}
  SVR: {loss.svr: {radius: static}}
table: {columns: [drift.text]}
claims: [SVR > InfoNCE on drift.text, drift.text of SVR rises over epochs]
figures: [drift]
"""


def test_names_are_those_of_today() -> None:
    assert full_name("drift.text") == full_name("drift_cosine.text") == "drift_cosine.text"
    assert current_names({"drift.audio": 1.0, "t": 2.0}) == {"drift_cosine.audio": 1.0, "t": 2.0}
    assert first_name("drift_cosine.text") == "drift.text"
    assert first_name("val.t2a.R@1") == "val.t2a.R@1"
    with pytest.raises(InputError, match=r"drift_cosine\.text"):
        full_name("drift_cosine.txt")


def test_a_claim_reads_as_it_means() -> None:
    names = ["a", "b"]
    claim = parse_claim("a > b on drift.text", names)
    assert (claim.text, claim.metric) == ("a > b on drift_cosine.text", "drift_cosine.text")
    assert claim == Greater("", "a", "b", "drift_cosine.text")
    grouped = parse_claim(
        "a > b on K=6.drift.text by at least 0.1", ["a @ K=6", "b @ K=6"], ["K=6"]
    )
    assert grouped.text == "a > b on K=6.drift_cosine.text by at least 0.1"
    trend = parse_claim("drift.audio of a falls over epochs", names)
    assert trend == Trend("", "a", "drift_cosine.audio", "falls")
    assert parse_claim("drift.text > b on seconds", ["drift.text", "b"]).text.startswith("drift")


def test_events_of_an_earlier_version_are_read_under_todays_name() -> None:
    line = to_line(EpochEnded(1, 10, 1.0, {"drift.text": 0.25, "train.loss": 2.0}))
    found = from_line(line)
    assert isinstance(found, EpochEnded)
    assert found.metrics == {"drift_cosine.text": 0.25, "train.loss": 2.0}


@pytest.mark.heavy
def test_an_old_file_on_old_results_gives_its_table_claims_and_figure(tmp_path: Path) -> None:
    path, storage = tmp_path / "old.yaml", tmp_path / "storage"
    path.write_text(FILE, encoding="utf-8")
    experiment = load_experiment(path)
    assert [column.name for column in experiment.columns] == ["drift_cosine.text"]
    ledger = open_ledger(storage)
    for cell in cells_of(experiment):
        value = 0.25 if cell.variant == "InfoNCE" else 0.75
        finish(ledger, cell, {"drift.text": value}, [{"drift.text": value}] * 2)
        stored = json.loads(ledger.folder(cell.signature).read("result.json"))
        assert "drift.text" in stored["metrics"]
    planned = CliRunner().invoke(main, ["plan", str(path), "--storage", str(storage)])
    assert "old.yaml: drift.text is the earlier name of drift_cosine.text" in planned.stdout
    done = CliRunner().invoke(main, ["table", str(path), "--storage", str(storage), "--mixed"])
    assert done.exit_code == 0, done.output
    assert "drift_cosine.text" in done.stdout
    assert "0.2500" in done.stdout
    assert "0.7500" in done.stdout
    drawn = CliRunner().invoke(main, ["figures", str(path), "--storage", str(storage), "--mixed"])
    assert drawn.exit_code == 0, drawn.output
    assert "drift.svg" in drawn.stdout
