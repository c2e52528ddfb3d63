"""What version 0.1.0 left on a user's disk: found, read, shown as what it is, and gone on with.

golden/version_0_1_0 was written by that version: a grid of two rows and two seeds, a search of
three trials with its study, and a run that was killed after its first epoch (another seed).
"""

import csv
import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.history import Histories
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import Status, make_plan
from supclap_platform.results.formats import FORMATS
from supclap_platform.results.tables import build_table
from supclap_platform.results.verdicts import judge
from supclap_platform.search.study import Book
from supclap_platform.search.trials import Trials
from supclap_platform.search.winner import with_winner

import supclap
from supclap.code import code_version
from supclap.errors import STALE
from supclap.events import EpochEnded, Finished, Started
from supclap.training import fit

GOLDEN = Path(__file__).with_name("golden") / "version_0_1_0"
CODE = "76720dda33be"  # what that version called its code: a hash of all files of the package


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A copy: the commands write into it."""
    shutil.copytree(GOLDEN, tmp_path / "earlier")
    return tmp_path / "earlier"


@pytest.fixture
def ledger(place: Path) -> Ledger:
    return open_ledger(place / "storage", writing=True)


def numbers(table: str) -> list[str]:
    """The lines of a text table that hold its rows."""
    lines = table.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("---")) + 1
    return [line.rstrip() for line in lines[start : lines.index("", start)]]


def test_every_finished_cell_is_found_and_none_is_taken_for_todays(
    place: Path, ledger: Ledger
) -> None:
    plan = make_plan(load_experiment(place / "earlier.yaml"), ledger)
    assert [plan.status(cell) for cell in plan.cells] == [Status.STALE] * 4
    (stale,) = plan.stale
    assert (stale.code, stale.changed, len(stale.cells)) == (CODE, None, 4)
    assert plan.removed == ()


@pytest.mark.parametrize("name", ["earlier", "earlier-search"])
def test_its_tables_have_the_numbers_that_they_had(place: Path, ledger: Ledger, name: str) -> None:
    experiment = load_experiment(place / f"{name.replace('-', '_')}.yaml")
    table = build_table(with_winner(experiment, ledger), ledger)
    before = (GOLDEN / "storage" / "experiments" / name / "table.txt").read_text(encoding="utf-8")
    assert numbers(FORMATS["txt"](table)) == numbers(before)
    assert table.stale
    caption = " ".join(table.notes)
    assert f"STALE: {len(experiment.seeds) * 2} of " in caption
    assert f"{CODE} (stale)" in caption


def test_its_verdicts_are_what_they_were(place: Path, ledger: Ledger) -> None:
    (verdict,) = judge(load_experiment(place / "earlier.yaml"), ledger)
    text = (GOLDEN / "storage/experiments/earlier/verdicts.csv").read_text(encoding="utf-8")
    (before,) = csv.DictReader(io.StringIO(text))
    assert str(verdict.outcome) == before["verdict"]
    assert verdict.effect is not None
    assert f"{verdict.effect:.10g}" == before["effect"]


@pytest.mark.heavy
def test_a_run_that_only_shows_it_says_so_and_has_a_code_of_its_own(place: Path) -> None:
    command = ["run", str(place / "earlier.yaml"), "--storage", str(place / "storage")]
    ran = CliRunner().invoke(main, command)
    assert ran.exit_code == STALE, ran.output
    first, second = ran.stdout.splitlines()[:2]
    assert "4 cells, 0 done, 4 stale, 0 to run" in first
    assert f"4 cells finished by code {CODE} (an earlier version of SupCLAP" in second
    assert "4 of the 4 results above are of earlier code" in ran.stdout
    meant = CliRunner().invoke(main, [*command, "--mixed"])
    assert meant.exit_code == 0, meant.output
    assert "STALE: 4 of 4" in meant.stdout


@pytest.mark.heavy
def test_its_study_is_gone_on_with(place: Path, ledger: Ledger) -> None:
    experiment = load_experiment(place / "earlier_search.yaml")
    book = Book(Trials(experiment), ledger)
    assert (len(book.over()), book.left) == (3, 0)
    more = replace(experiment, search=replace(experiment.search, trials=5))
    assert Book(Trials(more), ledger).left == 2


def test_what_the_ledger_kept_for_mlflow_is_read(ledger: Ledger) -> None:
    (parent,) = Histories(ledger).of("earlier")
    assert (parent.status, len(parent.cells)) == ("FINISHED", 4)
    assert {parent.experiment for parent in Histories(ledger).all()} == {
        "earlier",
        "earlier-search",
    }


def test_its_models_open(place: Path) -> None:
    (folder,) = (place / "storage" / "cells").glob("*/model")
    model = supclap.load(folder)
    embeddings = model.encode_text(["a dog barks", "rain falls"])
    assert embeddings.shape == (2, 8)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


@pytest.mark.heavy
def test_an_interrupted_run_goes_on_and_bears_both_versions(
    place: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(place / "cache"))
    experiment = replace(load_experiment(place / "earlier.yaml"), seeds=(2,))
    plan = make_plan(experiment, ledger)
    assert [plan.status(cell) for cell in plan.cells] == [Status.TO_RUN, Status.RESUMABLE]
    cell = cells_of(experiment)[1]
    events = list(fit(cell.config, ledger.folder(cell.signature)))
    assert isinstance(events[0], Started)
    assert events[0].step == 4  # of eight
    assert events[0].code == f"{CODE}+{code_version(cell.config)}"
    assert [e.epoch for e in events if isinstance(e, EpochEnded)] == [1, 2]
    assert isinstance(events[-1], Finished)
    assert make_plan(experiment, ledger).status(cell) is Status.STALE
