"""`supclap run` on a file with a search: Ray Tune, kills, and workers of trials stopped early."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from supclap_platform.experiment.claims import Greater
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.records import State
from supclap_platform.mirror.store import default_store
from tiny_grid import attempts, claimed, start, supclap, write_experiment
from waiting import PATIENCE, until

pytestmark = pytest.mark.heavy

LONG = 10_000  # epochs: no search ends by itself while it is stopped

SEARCH = """
baseline: InfoNCE
claims: [winner > InfoNCE on t2a.R@1]
search:
  space:
    loss.svr.radius: [static, dynamic]
    loss.svr.alpha: {log_uniform: [0.1, 10]}
    loss.svr.initial: {uniform: [-0.5, 2], when: {loss.svr.radius: static}}
    optimizer.lr: {log_uniform: [1.0e-5, 0.01]}
  trials: 6
  start: [{optimizer.lr: 0.003}]
  sampler: {name: tpe, startup: 3}
  pruner: {name: asha, startup: 2}
"""
WITH_WORKERS = """
search:
  space:
    optimizer.lr: {log_uniform: [1.0e-9, 0.01]}
  start: [{optimizer.lr: 0.003}, {optimizer.lr: 1.0e-9}]
  trials: 2
  pruner: {name: asha, startup: 1, factor: 2}
"""


def write_search(folder: Path, search: str, epochs: int = 3) -> Path:
    path = write_experiment(folder, epochs=epochs, seeds=1)
    text = path.read_text().replace(
        "  bi-DynamicSVR: {loss.svr: {sides: both, radius: dynamic}}\n", ""
    )
    path.write_text(text.replace(", radius.text.mean", "") + search)
    return path


def trials_of(storage: Path) -> list[Any]:
    file = storage / "experiments" / "tiny" / "study.db"
    if not file.exists():
        return []
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        return optuna.load_study(study_name="tiny", storage=f"sqlite:///{file}").trials
    except Exception:  # it is being created
        return []


def runs_of(storage: Path) -> list[Any]:
    client = default_store(storage).connect()
    experiment = client.get_experiment_by_name("tiny")
    return list(client.search_runs([experiment.experiment_id]))


def content(storage: Path) -> list[tuple[Any, ...]]:
    return [
        (t.number, t.state.name, t.values, t.params, t.intermediate_values)
        for t in trials_of(storage)
    ]


def killed_when(path: Path, storage: Path, moment: Callable[[], bool]) -> None:
    process = start("run", path, "--storage", storage, "--cpus", "1")
    try:
        until(moment, process)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """File, storage and output of a search that nothing disturbed, one trial at a time."""
    folder = tmp_path_factory.mktemp("search")
    path = write_search(folder, SEARCH)
    code, output = supclap("run", path, "--storage", folder / "whole", "--cpus", "1")
    assert code == 0, output
    return path, folder / "whole", output


def test_a_search_ends_with_its_winner_judged_beside_the_baseline(
    whole: tuple[Path, Path, str],
) -> None:
    _, storage, output = whole
    assert "search: 6 trials" in output
    assert "best: trial " in output
    assert "Ray Tune" not in output
    assert "Traceback" not in output
    table = (storage / "experiments/tiny/table.txt").read_text()
    assert table.strip() in output
    assert "winner" in table
    assert "winner > InfoNCE on t2a.R@1" in output
    assert not (storage / "experiments/tiny/ray-tune").exists()


def test_what_is_stopped_early_is_left_to_go_on_and_never_counts_as_finished(
    whole: tuple[Path, Path, str],
) -> None:
    _, storage, _ = whole
    stopped = [t for t in trials_of(storage) if t.state.name == "PRUNED"]
    assert stopped
    ledger = open_ledger(storage)
    shown = {run.data.tags.get("signature"): run for run in runs_of(storage)}
    kinds = {run.info.run_id: run.data.tags["kind"] for run in runs_of(storage)}
    for trial in stopped:
        (signature,) = trial.user_attrs["cells"]
        assert ledger.state(signature) is State.RESUMABLE
        run = shown[signature]
        assert (run.info.status, run.data.tags["stopped_early"]) == ("KILLED", "true")
        assert run.data.tags["variant"] == f"trial {trial.number}"
        assert kinds[run.data.tags["mlflow.parentRunId"]] == "search"
    for trial in (t for t in trials_of(storage) if t.state.name == "COMPLETE"):
        result = ledger.result(trial.user_attrs["cells"][0])
        assert result is not None
        assert result.metrics["val.t2a.R@1"] == trial.value


@pytest.mark.long
def test_a_driver_killed_at_three_moments_leaves_an_equal_study(
    whole: tuple[Path, Path, str],
) -> None:
    path, undisturbed, _ = whole
    storage = undisturbed.parent / "killed"
    cells = storage / "cells"

    def begun(trials: int) -> bool:
        return len(list(cells.glob("*/*/events.jsonl"))) >= trials

    killed_when(path, storage, lambda: begun(1))
    killed_when(path, storage, lambda: sum(t.state.is_finished() for t in trials_of(storage)) >= 2)
    killed_when(path, storage, lambda: begun(5))
    code, output = supclap("run", path, "--storage", storage, "--cpus", "1")
    assert code == 0, output
    assert content(storage) == content(undisturbed)
    assert claimed(storage) == []


def test_a_rerun_and_another_study_of_the_same_space_train_nothing_again(
    whole: tuple[Path, Path, str],
) -> None:
    path, storage, _ = whole
    before = attempts(storage)
    code, output = supclap("run", path, "--storage", storage, "--address", "127.0.0.1:1")
    assert code == 0, output  # the address, where nothing answers, was not needed
    assert attempts(storage) == before
    text = path.read_text().replace("trials: 6", "trials: 1\n  study: once-more")
    other = path.with_name("other.yaml")
    other.write_text(text)
    code, output = supclap("run", other, "--storage", storage, "--cpus", "1")
    assert code == 0, output
    assert "1 known from the ledger" in output
    own = {s: n for s, n in attempts(storage).items() if s in before}
    assert own == before


def test_the_best_settings_become_the_variants_of_a_file(whole: tuple[Path, Path, str]) -> None:
    path, storage, _ = whole
    target = path.with_name("variants.yaml")
    arguments = ("promote", path, "--storage", storage, "--top", "2", "--as", target)
    code, output = supclap(*arguments)
    assert code == 0, output
    experiment = load_experiment(target)
    best = sorted(
        (t for t in trials_of(storage) if t.state.name == "COMPLETE"), key=lambda t: -t.value
    )
    assert [v.name for v in experiment.variants][:2] == ["InfoNCE", f"trial {best[0].number}"]
    assert experiment.variants[1].config.optimizer.lr == best[0].params["optimizer.lr"]
    assert len(experiment.variants) == 3
    asked = load_experiment(path).search
    assert asked is not None
    (objective,) = asked.objectives
    judged = objective.metric.replace("val.", "test.")  # on val it was chosen
    assert {(c.greater, c.metric) for c in experiment.claims if isinstance(c, Greater)} == {
        (variant.name, judged) for variant in experiment.variants[1:]
    }
    code, output = supclap(*arguments)
    assert code == 2
    assert "exists already" in output


def test_a_search_that_is_stopped_or_interrupted_goes_on_where_it_was(tmp_path: Path) -> None:
    path = write_search(tmp_path, SEARCH.replace("trials: 6", "trials: 1"), epochs=LONG)
    storage = tmp_path / "storage"

    def ended(how: Callable[[Any], None]) -> str:
        process = start("run", path, "--storage", storage, "--cpus", "1")
        try:
            wait_for_an_epoch(process, storage)
            how(process)
            output, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
        assert process.returncode == 130, output
        assert "stopped with 0 of 1 trial over; the same command goes on" in output
        assert "Traceback" not in output
        assert claimed(storage) == []
        assert list(open_ledger(storage).overview().states.values()) == [State.RESUMABLE]
        return str(output)

    def by_command(process: Any) -> None:
        code, told = supclap("stop", path, "--storage", storage)
        assert code == 0, told

    ended(by_command)
    assert "interrupted trials that go on: 1" in ended(
        lambda process: process.send_signal(signal.SIGINT)
    )
    assert not (storage / "experiments/tiny/ray-tune").exists()
    (trial,) = trials_of(storage)
    assert not trial.state.is_finished()


def wait_for_an_epoch(process: Any, storage: Path) -> None:
    """Until the search's only cell has gone an epoch further than it was."""

    def epochs() -> int:
        lines = [f.read_text() for f in (storage / "cells").glob("*/*/events.jsonl")]
        return sum(text.count('"kind": "epoch"') for text in lines)

    before = epochs()
    until(lambda: epochs() > before, process)


@pytest.mark.long
def test_a_trial_stopped_early_frees_the_workers_that_it_has_started(tmp_path: Path) -> None:
    """On one core, which two workers share: were anything left behind, nothing else would ever
    begin. The grid after the two trials needs the same core."""
    path = write_search(tmp_path, WITH_WORKERS)
    text = path.read_text().replace("max_failures: 2", "workers: 2, cpu: 0.5")
    path.write_text(text)
    storage = tmp_path / "storage"
    code, output = supclap("run", path, "--storage", storage, "--cpus", "1")
    assert code == 0, output
    states = [trial.state.name for trial in trials_of(storage)]
    assert states == ["COMPLETE", "PRUNED"]
    assert claimed(storage) == []


@pytest.mark.long
def test_a_budget_ends_a_search_and_says_what_is_left(tmp_path: Path) -> None:
    more = SEARCH.replace("trials: 6", "trials: 500\n  budget: {hours: 0.005}")
    path = write_search(tmp_path, more.replace("asha, startup: 2", "none"), epochs=2)
    storage = tmp_path / "storage"
    code, output = supclap("run", path, "--storage", storage, "--cpus", "1")
    over = [t for t in trials_of(storage) if t.state.is_finished()]
    assert code == (0 if over else 1), output
    assert f"{500 - len(over)} trials left: raise search.budget" in output
    assert claimed(storage) == []
