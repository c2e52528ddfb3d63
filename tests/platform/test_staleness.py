"""Finished cells of other code: which they are, what is said of them, and what a rerun keeps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from supclap_platform.cli import main
from supclap_platform.commands.stale import with_reruns
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import Status, make_plan
from supclap_platform.ledger.staleness import mixture, stale_cells
from supclap_platform.results.tables import build_table
from supclap_platform.results.verdicts import judge
from supclap_platform.testing import events_of, finish, leave

from supclap.code import own_code, version_of
from supclap.errors import STALE, InputError

FILE = """
experiment: three
variants:
  InfoNCE: {}
  Static: {loss.svr: {radius: static}}
  SigLIP: {loss: siglip}
seeds: 2
table: {columns: [t2a.R@1]}
"""
STAGED = FILE + "init: {base: {data.train: pretrain, loss: siglip}}\n"
SVR, LOOP, SIGLIP = "supclap.losses.svr", "supclap.training", "supclap.losses.siglip"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "three.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(tmp_path / "storage", writing=True)


def by_other(ledger: Ledger, cell: Cell, *modules: str, value: float = 1.0) -> str:
    """Finishes a cell by code in which these modules were other; the version of that code."""
    noted = own_code().modules(cell.config) | dict.fromkeys(modules, "other")
    if not set(modules) & own_code().modules(cell.config).keys():
        noted = dict(own_code().modules(cell.config))
    code = version_of(noted)
    metrics = {"test.t2a.R@1": value}
    events = events_of(cell, [{}], metrics, code=code, modules=noted)
    leave(ledger, cell, events, {"t2a_ranks": np.arange(3)})
    return code


def finish_all(path: Path, ledger: Ledger, *modules: str) -> list[Cell]:
    """Every cell, by code in which these modules were other than today."""
    cells = cells_of(load_experiment(path))
    for cell in cells:
        by_other(ledger, cell, *modules, value=float(cell.seed))
    return cells


def supclap(command: str, path: Path, *options: str) -> Result:
    return CliRunner().invoke(
        main, [command, str(path), "--storage", str(path.parent / "storage"), *options]
    )


def results(ledger: Ledger, cells: list[Cell]) -> Mapping[str, Any]:
    return ledger.results(cell.signature for cell in cells)


def test_an_edited_part_makes_its_own_cells_stale(path: Path, ledger: Ledger) -> None:
    finish_all(path, ledger, SVR)
    plan = make_plan(load_experiment(path), ledger)
    found = {cell.label: plan.status(cell) for cell in plan.cells}
    assert {label for label, status in found.items() if status is Status.STALE} == {
        "Static, seed 0",
        "Static, seed 1",
    }
    (stale,) = plan.stale
    assert stale.changed == (SVR,)
    assert plan.to_run == []


def test_cells_of_an_edited_loop_are_all_stale_by_the_code_that_each_had(
    path: Path, ledger: Ledger
) -> None:
    cells = finish_all(path, ledger, LOOP)
    stale = stale_cells(cells, results(ledger, cells), ledger)
    assert sorted(cell.label for one in stale for cell in one.cells) == sorted(
        cell.label for cell in cells
    )
    assert {one.changed for one in stale} == {(LOOP,)}


def test_cells_that_start_from_a_stale_stage_are_stale_with_it(path: Path, ledger: Ledger) -> None:
    path.write_text(STAGED, encoding="utf-8")
    cells = finish_all(path, ledger, SIGLIP)
    plan = make_plan(load_experiment(path), ledger)
    assert {plan.status(cell) for cell in cells} == {Status.STALE}
    path.write_text(STAGED.replace("loss: siglip}}", "loss: infonce}}"), encoding="utf-8")
    cells = finish_all(path, ledger, SIGLIP)
    plan = make_plan(load_experiment(path), ledger)
    stale = {cell.variant for cell in cells if plan.status(cell) is Status.STALE}
    assert stale == {"SigLIP"}


def test_one_state_of_the_code_is_no_mixture_and_two_are(path: Path, ledger: Ledger) -> None:
    cells = finish_all(path, ledger, SVR)
    assert mixture(cells, results(ledger, cells), ledger) is None
    new = [cell for cell in cells if cell.label == "InfoNCE, seed 0"]
    assert mixture(cells, results(ledger, cells), ledger, to_run=new) is None
    new = [cell for cell in cells if cell.label == "Static, seed 0"]
    found = mixture(cells, results(ledger, cells), ledger, to_run=new)
    assert found is not None
    assert f"differ in {SVR}" in found
    by_other(ledger, cells[0], LOOP)
    found = mixture(cells, results(ledger, cells), ledger)
    assert found is not None
    assert f"differ in {LOOP}" in found


def test_code_that_noted_nothing_mixes_with_all_other(path: Path, ledger: Ledger) -> None:
    cells = finish_all(path, ledger)
    finish(ledger, cells[0], {}, code="0123456789ab")
    found = mixture(cells, results(ledger, cells), ledger)
    assert found is not None
    assert "0123456789ab did not note its modules" in found
    for cell in cells:
        finish(ledger, cell, {}, code="0123456789ab")
    assert mixture(cells, results(ledger, cells), ledger) is None


def test_a_table_says_what_is_old_and_why(path: Path, ledger: Ledger) -> None:
    cells = finish_all(path, ledger, SVR)
    table = build_table(load_experiment(path), ledger)
    code = results(ledger, cells)[cells[2].signature].code
    (line,) = (note for note in table.notes if note.startswith("STALE"))
    assert line == (
        f"STALE: 2 of 6 runs are of code {code}, not of today's (changed since: {SVR}): Static. "
        "`supclap run FILE --rerun-stale` trains them anew."
    )
    assert f"{code} (stale)" in table.notes[-1]
    finish_all(path, ledger)
    assert not [n for n in build_table(load_experiment(path), ledger).notes if "stale" in n.lower()]


def test_a_verdict_says_that_it_rests_on_old_runs(path: Path, ledger: Ledger) -> None:
    claims = "claims: [Static > InfoNCE on t2a.R@1, SigLIP > InfoNCE on t2a.R@1]\n"
    path.write_text(FILE + claims, encoding="utf-8")
    finish_all(path, ledger, SVR)
    first, second = judge(load_experiment(path), ledger)
    assert "2 of its runs are of earlier code (stale)" in first.remarks
    assert not [remark for remark in second.remarks if "stale" in remark]


@pytest.mark.heavy
@pytest.mark.parametrize("command", ["table", "report"])
def test_a_command_that_shows_old_results_has_a_code_of_its_own(
    path: Path, ledger: Ledger, command: str
) -> None:
    finish_all(path, ledger, SVR)
    shown = supclap(command, path)
    assert shown.exit_code == STALE == 3
    assert "stale: 2 cells finished by code " in shown.stderr
    assert f"(changed since: {SVR}): Static" in shown.stderr
    assert supclap(command, path, "--mixed").exit_code == 0
    finish_all(path, ledger)
    assert supclap(command, path).exit_code == 0


@pytest.mark.heavy
def test_a_run_says_it_in_its_first_lines_and_at_its_end(path: Path, ledger: Ledger) -> None:
    finish_all(path, ledger, SVR)
    shown = supclap("run", path)
    assert shown.exit_code == STALE, shown.output
    lines = shown.stdout.splitlines()
    assert "6 cells, 4 done, 2 stale, 0 to run" in lines[0]
    assert f"(changed since: {SVR}): Static; shown as they are, --rerun-stale trains" in lines[1]
    assert lines[-1].startswith("stale: 2 of the 6 results above are of earlier code")
    planned = supclap("plan", path)
    assert planned.exit_code == 0
    assert lines[1] in planned.stdout.replace("\n", " ")


def test_what_would_be_mixed_is_refused_before_anything_starts(path: Path, ledger: Ledger) -> None:
    finish_all(path, ledger, SVR)
    path.write_text(FILE.replace("seeds: 2", "seeds: 3"), encoding="utf-8")
    refused = supclap("run", path)
    assert refused.exit_code == 2
    assert f"differ in {SVR}; train the older cells anew with --rerun-stale" in refused.stderr


def chosen(path: Path, ledger: Ledger, *rows: str) -> list[str]:
    plan, anew = with_reruns(make_plan(load_experiment(path), ledger), rows)
    assert {cell.signature for cell in plan.to_run} == set(anew)
    assert not {c.signature for one in plan.stale for c in one.cells} & set(anew)
    return [cell.label for cell in plan.cells if cell.signature in anew]


def test_a_rerun_takes_all_or_the_rows_that_it_is_given(path: Path, ledger: Ledger) -> None:
    finish_all(path, ledger, LOOP)
    assert chosen(path, ledger) == []
    assert len(chosen(path, ledger, "*")) == 6
    assert chosen(path, ledger, "SigLIP") == ["SigLIP, seed 0", "SigLIP, seed 1"]
    assert len(chosen(path, ledger, "SigLIP", "InfoNCE")) == 4
    with pytest.raises(InputError, match=r"--rerun-stale Siglip: .*did you mean 'SigLIP'\?"):
        chosen(path, ledger, "Siglip")


def test_a_stage_is_run_anew_with_all_that_starts_from_it(path: Path, ledger: Ledger) -> None:
    path.write_text(STAGED, encoding="utf-8")
    finish_all(path, ledger, SIGLIP)
    assert len(chosen(path, ledger, "InfoNCE")) == 7


@pytest.mark.heavy
@pytest.mark.parametrize(
    "words",
    [
        ["FILE", "--rerun-stale"],
        ["--rerun-stale", "FILE"],
        ["FILE", "--rerun-stale", "--address", "127.0.0.1:1"],
        ["FILE", "--rerun-stale", "SigLIP"],
        ["FILE", "--rerun-stale=SigLIP", "--rerun-stale", "InfoNCE"],
    ],
)
def test_the_option_stands_anywhere(path: Path, ledger: Ledger, words: list[str]) -> None:
    """Ray is asked for where nothing answers: the command line alone is looked at."""
    cells = finish_all(path, ledger, LOOP)
    words = [str(path) if word == "FILE" else word for word in words]
    options = ["--storage", str(path.parent / "storage"), "--mixed"]
    ran = CliRunner().invoke(main, ["run", *words, *options, "--address", "127.0.0.1:1"])
    assert "nothing answers there" in ran.output
    assert ran.exit_code == 2
    assert len(results(ledger, cells)) == 6  # and nothing is taken away before Ray is there


def test_a_rerun_keeps_the_last_result_of_each_code_without_its_model(
    path: Path, ledger: Ledger
) -> None:
    cell = cells_of(load_experiment(path))[0]
    first = by_other(ledger, cell, LOOP, value=1.0)
    ledger.folder(cell.signature).write("model/weights.safetensors", b"large")
    ledger.set_aside(cell.signature)
    assert ledger.result(cell.signature) is None
    assert ledger.folder(cell.signature).names() == []
    by_other(ledger, cell, LOOP, value=2.0)
    ledger.set_aside(cell.signature)
    second = by_other(ledger, cell, "supclap.step", value=3.0)
    ledger.set_aside(cell.signature)
    earlier = ledger.earlier(cell.signature)
    assert {code: result.metrics["test.t2a.R@1"] for code, result in earlier.items()} == {
        first: 2.0,
        second: 3.0,
    }
    kept = ledger.storage.names(f"earlier/{cell.signature}/{first}")
    assert kept == ["config.json", "events.jsonl", "ranks.npz", "result.json"]
    assert ledger.earlier("nothing") == {}


def test_a_cell_that_never_finished_leaves_nothing_aside(path: Path, ledger: Ledger) -> None:
    cell = cells_of(load_experiment(path))[0]
    ledger.folder(cell.signature).write("events.jsonl", b"")
    ledger.set_aside(cell.signature)
    assert ledger.earlier(cell.signature) == {}


def test_whoever_asks_gets_the_code_that_would_run(path: Path) -> None:
    def fixed(cell: Cell) -> str:
        return "now"

    experiment: Experiment = load_experiment(path)
    ledger = open_ledger(path.parent / "storage", writing=True)
    cells = cells_of(experiment)
    finish(ledger, cells[0], {}, code="now")
    assert make_plan(experiment, ledger, fixed).status(cells[0]) is Status.DONE
    assert make_plan(experiment, ledger).status(cells[0]) is Status.STALE
