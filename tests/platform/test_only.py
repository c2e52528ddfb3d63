"""`--only ROW` and `--seed N`: which cells run, what stays whole, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import CliRunner, Result
from supclap_platform.cli import main
from supclap_platform.commands import run as run_command
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.declared import late
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import Plan, Status
from supclap_platform.testing import finish
from tiny_search import SEARCH

pytestmark = pytest.mark.heavy  # whole commands

FILE = """
experiment: parts
base: {{epochs: 1}}
variants: {{A: {{}}, B: {{loss.name: siglip}}, C: {{loss.svr: {{radius: static}}}}}}
seeds: {seeds}
table: {{columns: [t2a.R@1]}}
{more}
"""
Label = tuple[str, int]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path)


def write(folder: Path, seeds: str = "3", more: str = "", name: str = "e.yaml") -> Path:
    path = folder / name
    path.write_text(FILE.format(seeds=seeds, more=more), encoding="utf-8")
    return path


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[Label]]:
    """What each round of `run` has run. In the place of Ray, each cell is finished at once; in the
    place of MLflow, nothing."""
    rounds: list[list[Label]] = []

    class Executor:
        lost = False

    def driven(plan: Plan, ledger: Ledger, *others: Any) -> int:
        assert {cell.signature for cell in plan.cells} == plan.statuses.keys()
        rounds.append(sorted((cell.variant, cell.seed) for cell in plan.to_run))
        for cell in plan.to_run:
            value = {"A": 40.0, "B": 41.0}.get(cell.variant, 42.0) + cell.seed / 8
            finish(ledger, cell, {"test.t2a.R@1": value})
        return 0

    @contextmanager
    def untracked(*others: Any) -> Iterator[Mock]:
        yield Mock()

    monkeypatch.setattr(run_command, "tracked", untracked)
    monkeypatch.setattr(run_command, "preload", lambda: None)
    monkeypatch.setattr(run_command, "_executor", lambda *others: Executor())
    monkeypatch.setattr(run_command, "drive", driven)
    return rounds


def supclap(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def run(path: Path, *more: str) -> Result:
    return supclap("run", path, "--storage", path.parent / "s", "--mixed", *more)


def test_only_what_is_asked_for_runs_and_the_table_says_what_is_missing(
    path: Path, ran: list[list[Label]]
) -> None:
    done = run(path, "--only", "A", "--only", "C", "--seed", "0", "--seed", "2")
    assert done.exit_code == 0, done.output
    assert ran.pop() == [("A", 0), ("A", 2), ("C", 0), ("C", 2)]
    text = " ".join(done.output.split())
    assert "9 cells, 0 done, 4 to run (--only A --only C --seed 0 --seed 2 leaves out 5)" in text
    assert "A: not finished for seed 1." in text
    assert "B: not finished for seeds 0, 1, 2." in text
    done = run(path, "--seed", "1")
    assert (done.exit_code, ran.pop()) == (0, [("A", 1), ("B", 1), ("C", 1)])
    done = run(path)
    assert (done.exit_code, ran.pop()) == (0, [("B", 0), ("B", 2)])
    assert "not finished" not in done.output


def test_a_part_run_declares_the_whole_file(tmp_path: Path, ran: list[list[Label]]) -> None:
    """What is asked before results stays so: no claim is marked as asked after them."""
    path = write(tmp_path, more="claims: [B > A on t2a.R@1, C > B on t2a.R@1]")
    for row in "ABC":
        assert run(path, "--only", row).exit_code == 0
    assert ran == [[(row, seed) for seed in range(3)] for row in "ABC"]
    experiment, ledger = load_experiment(path), open_ledger(tmp_path / "s")
    cells = cells_of(experiment)
    done = {cell.signature for cell in cells}
    found = late(experiment, cells, done, ledger)
    assert (found.claims, found.seeds) == ({}, "")
    planned = supclap("plan", path, "--storage", tmp_path / "s", "--only", "A", "--no-timing")
    assert planned.exit_code == 0
    assert "declared after results" not in planned.output


@pytest.mark.parametrize("command", ["run", "plan", "submit"])
def test_what_the_file_does_not_have_is_one_line_with_the_nearest(command: str, path: Path) -> None:
    also = ["--address", "http://127.0.0.1:1"] if command == "submit" else []
    for options, message in (
        (["--only", "AA"], "--only AA: e.yaml has no such row; did you mean 'A'? (rows: A, B, C)"),
        (["--only", "A", "--seed", "3"], "--seed 3: e.yaml has no such seed (seeds: 0, 1, 2)"),
    ):
        done = supclap(command, path, *also, *options)
        assert (done.exit_code, done.output) == (2, f"supclap: {message}\n")


def test_the_plan_is_of_the_part_and_counts_the_rest(path: Path) -> None:
    ledger = open_ledger(path.parent / "s", writing=True)
    for cell in cells_of(load_experiment(path))[:2]:
        finish(ledger, cell, {"test.t2a.R@1": 40.0})
    storage = ["--storage", path.parent / "s", "--no-timing"]
    done = supclap("plan", path, *storage, "--only", "A", "--only", "B", "--seed", "1")
    lines = done.output.splitlines()
    assert "A  1: done" in lines
    assert "B  1: to run" in lines
    assert "1 done, 1 to run" in lines
    assert "--only A --only B --seed 1 leaves out 6 of 7 runs that are left" in lines
    assert not any(line.startswith("C ") or "removed" in line for line in lines)


def test_submit_hands_the_part_on(path: Path) -> None:
    done = supclap(
        *("submit", path, "--address", "http://head:8265", "--dry-run"),
        *("--only", "B", "--only", "A", "--seed", "1"),
    )
    assert done.exit_code == 0
    (line,) = [line for line in done.output.splitlines() if line.startswith("would start")]
    assert line.endswith("run experiment.yaml --address auto --only=B --only=A --seed=1")


def test_a_row_brings_the_stage_that_it_starts_from(tmp_path: Path, ran: list[list[Label]]) -> None:
    path = write(tmp_path, "2", "init: {base: {epochs: 1}}")
    assert run(path, "--only", "B", "--seed", "1").exit_code == 0
    assert ran == [[("B", 1), ("init", 0)]]


def test_a_stale_row_outside_of_the_part_is_not_trained_anew(
    path: Path, ran: list[list[Label]]
) -> None:
    ledger = open_ledger(path.parent / "s", writing=True)
    cells = cells_of(load_experiment(path))
    for cell in cells:
        finish(ledger, cell, {"test.t2a.R@1": 40.0}, code="earlier")
    done = run(path, "--only", "B", "--seed", "2", "--rerun-stale")
    assert done.exit_code == 0, done.output
    assert ran == [[("B", 2)]]
    aside = {cell.label for cell in cells if ledger.earlier(cell.signature)}
    assert aside == {"B, seed 2"}


def test_of_a_file_that_includes_others_a_shared_run_is_found_by_either_name(
    tmp_path: Path, ran: list[list[Label]]
) -> None:
    write(tmp_path, "1", name="one.yaml")
    two = write(tmp_path, "1", name="two.yaml")
    two.write_text(two.read_text().replace("experiment: parts", "experiment: others"))
    whole = tmp_path / "all.yaml"
    whole.write_text("experiment: all\ninclude: [one.yaml, two.yaml]\n")
    assert run(whole, "--only", "others: C").exit_code == 0
    assert run(whole, "--only", "B").exit_code == 0
    assert ran == [[("parts: C", 0)], [("parts: B", 0)]]


def test_where_seeds_are_added_it_chooses_among_those_that_are_needed_by_now(
    tmp_path: Path, ran: list[list[Label]]
) -> None:
    seeds = "{until: decided, looks: [2, 4]}"
    path = write(tmp_path, seeds, "claims: [B > A on t2a.R@1, C > B on t2a.R@1]")
    done = run(path, "--seed", "3")
    assert done.exit_code == 2
    assert "--seed 3: e.yaml has no such run by now (seeds: 0, 1); where seeds are" in done.output
    assert run(path, "--only", "A").exit_code == 0  # the look waits for the other rows
    assert ran == [[("A", 0), ("A", 1)]]
    assert run(path, "--only", "C", "--only", "B").exit_code == 0
    # Every seed gives the same difference, so that neither claim is decided: its rows go on, but A.
    assert ran[1:] == [[(row, seed) for row in "BC" for seed in (0, 1)],
                       [(row, seed) for row in "BC" for seed in (2, 3)]]  # fmt: skip
    assert run(path).exit_code == 0
    assert ran[3:] == [[("A", 2), ("A", 3)]]


def test_a_plan_of_a_part_keeps_what_belongs_to_it(path: Path, tmp_path: Path) -> None:
    from supclap_platform.ledger.plan import make_plan

    ledger = open_ledger(tmp_path / "s", writing=True)
    cells = cells_of(load_experiment(path))
    finish(ledger, cells[0], {"test.t2a.R@1": 40.0}, code="earlier")
    finish(ledger, cells[4], {"test.t2a.R@1": 40.0}, code="earlier")
    plan = make_plan(load_experiment(path), ledger)
    part = plan.of({cells[0].signature, cells[1].signature})
    assert [cell.label for cell in part.cells] == ["A, seed 0", "A, seed 1"]
    assert [part.status(cell) for cell in part.cells] == [Status.STALE, Status.TO_RUN]
    assert [c.label for one in part.stale for c in one.cells] == ["A, seed 0"]
    assert set(part.results) == {cells[0].signature}


def test_a_search_runs_where_its_winner_is_among_what_is_asked_for(
    tmp_path: Path, ran: list[list[Label]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(SEARCH, encoding="utf-8")
    searches: list[str] = []

    def searched(experiment: Experiment, *others: Any, **more: Any) -> int:
        searches.append(experiment.name)
        return 7

    monkeypatch.setattr("supclap_platform.search.phase.run_search", searched)
    assert run(path, "--only", "InfoNCE", "--seed", "1").exit_code == 0
    assert (searches, ran) == ([], [[("InfoNCE", 1)]])
    for options in (["--only", "winner"], ["--seed", "0"]):
        assert run(path, *options).exit_code == 7
    assert (searches, ran) == (["small"] * 2, [[("InfoNCE", 1)]])
    done = run(path, "--only", "winer")
    assert (done.exit_code, "did you mean 'winner'? (rows: InfoNCE, winner" in done.output) == (
        2,
        True,
    )
