"""The first forecast: steps that are timed where no finished cell says how long one takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.forecast import Estimates, forecast, time_shapes
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import Plan, make_plan
from supclap_platform.testing import finish
from tiny_grid import write_experiment

import supclap.timing
from supclap.config import RunConfig
from supclap.errors import InputError
from supclap.timing import Estimate


def planned(tmp_path: Path, more: str = "") -> tuple[Plan, Ledger]:
    path = write_experiment(tmp_path, more=more)
    ledger = open_ledger(tmp_path / "storage")
    return make_plan(load_experiment(path), ledger, code_of=lambda _: "now"), ledger


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RunConfig, int, int, bool]]:
    """Cells take 10 s an epoch, one second before and 30 s once; what was timed."""
    asked: list[tuple[RunConfig, int, int, bool]] = []

    def estimate(config: RunConfig, workers: int, threads: int, gpu: bool) -> Estimate:
        asked.append((config, workers, threads, gpu))
        if gpu:
            raise InputError("it asks for a GPU")
        return Estimate(10.0 * config.epochs, 1.0, 30.0, 3)

    monkeypatch.setattr(supclap.timing, "estimate", estimate)
    monkeypatch.setattr(supclap.timing, "seconds_of_scenes", lambda config: 5.0)
    return asked


def test_every_shape_is_timed_once_and_the_forecast_rests_on_it(
    tmp_path: Path, timed: list[tuple[RunConfig, int, int, bool]]
) -> None:
    plan, ledger = planned(tmp_path)
    assert len({cell.shape for cell in plan.cells}) == 1
    first = time_shapes(plan, ledger)
    form = plan.cells[0].shape
    assert first is not None
    assert (first.seconds, first.steps, first.once) == ({form: 21.0}, 3, {form: 35.0})
    assert [asked[1:] for asked in timed] == [(1, 1, False)]
    expected = forecast(plan, ledger, 2, first)
    assert (expected.cells, expected.unknown, expected.basis, expected.estimated) == (4, 0, 0, 4)
    assert expected.wall_seconds == 35.0 + 2 * 21.0
    assert expected.worker_hours == pytest.approx(4 * 21 / 3600)
    assert forecast(plan, ledger, 2).unknown == 4


def test_a_finished_cell_knows_better(
    tmp_path: Path, timed: list[tuple[RunConfig, int, int, bool]]
) -> None:
    plan, ledger = planned(tmp_path)
    finish(ledger, plan.cells[0], {}, code="now", seconds=7.0)
    plan, ledger = planned(tmp_path)
    assert time_shapes(plan, ledger) is None
    assert timed == []
    assert forecast(plan, ledger, 1, Estimates({plan.cells[1].shape: 99.0}, 3)).wall_seconds == 21


def test_what_does_not_fit_the_budget_is_scaled_by_epochs_and_clips(
    tmp_path: Path, timed: list[tuple[RunConfig, int, int, bool]]
) -> None:
    plan, ledger = planned(tmp_path)
    path = tmp_path / "tiny.yaml"
    text = path.read_text().replace("InfoNCE: {}", "InfoNCE: {}\n  Long: {epochs: 6}")
    path.write_text(text)
    plan = make_plan(load_experiment(path), ledger, code_of=lambda _: "now")
    first = time_shapes(plan, ledger, budget=-1.0)
    assert first is not None
    assert len(timed) == 1
    (late,) = first.scaled
    assert first.seconds[late] == pytest.approx(3 * 21.0)  # three times as many epochs


def test_what_cannot_be_timed_stays_unknown_with_its_reason(
    tmp_path: Path, timed: list[tuple[RunConfig, int, int, bool]]
) -> None:
    path = write_experiment(tmp_path)
    path.write_text(path.read_text().replace("{max_failures: 2}", "{gpu: 1}"))
    arguments = ["plan", str(path), "--storage", str(tmp_path / "storage")]
    shown = CliRunner().invoke(main, arguments, catch_exceptions=False)
    last, unknown = shown.stdout.splitlines()[-2:]
    assert unknown.startswith("not known: hours; ")
    assert last.startswith("forecast: none for 4 cells: no finished cell of their shape")
    assert last.endswith("and none could be timed: it asks for a GPU")


def test_a_batch_that_does_not_fit_here_is_said_with_what_helps(
    tmp_path: Path, timed: list[tuple[RunConfig, int, int, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = "a step of 24 clips does not fit into memory here; set chunk: 8"
    found = Estimate(10.0, 1.0, 0.0, 1, short=short)
    monkeypatch.setattr(supclap.timing, "estimate", lambda *_: found)
    path = write_experiment(tmp_path, seeds=1)
    arguments = ["plan", str(path), "--storage", str(tmp_path / "storage"), "--at-once", "1"]
    shown = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines.count(short) == 1
    assert lines[-1].startswith("forecast: 2 cells take ")


def test_the_command_says_what_the_forecast_rests_on(
    tmp_path: Path, timed: list[tuple[RunConfig, int, int, bool]]
) -> None:
    path = write_experiment(tmp_path, seeds=1)
    arguments = ["plan", str(path), "--storage", str(tmp_path / "storage"), "--at-once", "1"]
    shown = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert shown.stdout.splitlines()[-1] == (
        "forecast: 2 cells take 1 min 17 s with 1 at once, 0.01 worker-hours (an estimate from 3 "
        "steps timed here just now, with 35 s for data that are made once)"
    )
    shown = CliRunner().invoke(main, [*arguments, "--no-timing"], catch_exceptions=False)
    assert "forecast: none for 2 cells" in shown.stdout
    assert len(timed) == 1
    one = [*arguments, "--set", "seeds=1"][:-2]
    path.write_text(path.read_text().split("  bi-Dynamic")[0] + "seeds: 1\n")
    shown = CliRunner().invoke(main, one, catch_exceptions=False)
    assert "1 variant x 1 seed" in shown.stdout
    assert "forecast: 1 cell takes 56 s" in shown.stdout
    assert not (tmp_path / "storage").exists()
