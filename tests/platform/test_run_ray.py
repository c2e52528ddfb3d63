"""`supclap run` on a real Ray of its own: the whole way, from the file to the table."""

import signal
import subprocess
from pathlib import Path

import pytest
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.records import State
from tiny_grid import attempts, claimed, start, supclap, write_experiment
from waiting import PATIENCE, until

pytestmark = pytest.mark.heavy

DIVERGES = """
  hopeless: {optimizer.lr: 1.0e+30, optimizer.clip_norm: null}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """File, storage and output of a run with a stage and a variant that cannot be trained."""
    folder = tmp_path_factory.mktemp("run")
    path = write_experiment(folder, seeds=1, more="init: {base: {epochs: 1}}\n")
    text = path.read_text().replace("\nseeds:", DIVERGES + "seeds:")
    path.write_text(text)
    code, output = supclap("run", path, "--storage", folder / "storage", "--cpus", "2")
    assert code == 1, output
    return path, folder / "storage", output


def test_the_table_shows_what_ran_and_what_failed(finished: tuple[Path, Path, str]) -> None:
    _, storage, output = finished
    table = (storage / "experiments" / "tiny" / "table.txt").read_text()
    assert table.strip() in output
    assert "hopeless: failed for seed 0." in table
    assert table.count("(0/1)") >= 2
    assert claimed(storage) == []
    report = storage / "experiments" / "tiny" / "report.html"
    assert f"report: {report} " in output
    (kept,) = (storage / "experiments" / "tiny" / "parents").glob("*/artifacts/report.html")
    assert kept.read_bytes() == report.read_bytes()  # what the parent run in MLflow shows


def test_a_failed_cell_is_told_with_the_end_of_its_log(finished: tuple[Path, Path, str]) -> None:
    _, _, output = finished
    assert "failed: hopeless, seed 0: step " in output
    assert "| supclap.divergence.TrainingError: step " in output


def test_a_failure_of_the_training_itself_is_not_tried_again(
    finished: tuple[Path, Path, str],
) -> None:
    _, storage, _ = finished
    assert sorted(attempts(storage).values()) == [1, 1, 1, 1]


def test_an_edited_file_trains_only_the_difference(finished: tuple[Path, Path, str]) -> None:
    path, storage, _ = finished
    path.write_text(path.read_text().replace(DIVERGES.strip("\n"), "  SigLIP: {loss.name: siglip}"))
    before = attempts(storage)
    code, output = supclap("run", path, "--storage", storage, "--cpus", "2")
    assert code == 0, output
    assert "4 cells, 3 done, 1 to run" in output
    after = attempts(storage)
    assert {s: n for s, n in after.items() if s in before} == before
    assert sorted(after.values()) == [1, 1, 1, 1, 1]


def test_a_finished_experiment_starts_no_ray(finished: tuple[Path, Path, str]) -> None:
    path, storage, _ = finished
    before = attempts(storage)
    code, output = supclap("run", path, "--storage", storage, "--address", "127.0.0.1:1")
    assert code == 0, output  # the address, where nothing answers, was not needed
    assert attempts(storage) == before


def test_a_cluster_that_does_not_answer_is_told_in_one_line(tmp_path: Path) -> None:
    path = write_experiment(tmp_path)
    code, output = supclap("run", path, "--storage", tmp_path / "s", "--address", "127.0.0.1:1")
    assert code == 2
    assert output.splitlines()[-1].startswith("supclap: --address 127.0.0.1:1: nothing answers")
    assert "Traceback" not in output


def test_a_cell_that_fits_no_machine_is_refused_before_anything_starts(tmp_path: Path) -> None:
    path = write_experiment(tmp_path)
    wanted = ("--set", "resources.workers=3")
    code, output = supclap("run", path, "--storage", tmp_path / "s", "--cpus", "2", *wanted)
    assert code == 2
    assert "its resources ask for 3 CPU, this machine has 2" in output
    assert attempts(tmp_path / "s") == {}


LONG = 10_000  # epochs: no cell ends by itself before it is stopped


def wait_for_cells(process: subprocess.Popen[str], storage: Path, count: int = 1) -> None:
    """Until so many cells have a checkpoint to go on from."""
    cells = storage / "cells"
    until(lambda: len(list(cells.glob("*/*/checkpoints/latest.json"))) >= count, process)


def test_status_and_stop_from_another_shell_leave_cells_that_go_on(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, epochs=LONG)
    storage = tmp_path / "storage"
    process = start("run", path, "--storage", storage, "--cpus", "2")
    try:
        wait_for_cells(process, storage, 2)
        code, output = supclap("status", path, "--storage", storage)
        assert code == 0, output
        assert "2 running" in output
        assert f"/{LONG}" in output
        assert f"driven by process {process.pid}" in output
        code, output = supclap("stop", path, "--storage", storage)
        assert code == 0, output
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130, output
    assert "stopped with 0 of 4 cells done; the same command goes on" in output
    assert claimed(storage) == []
    states = open_ledger(storage).overview().states.values()
    assert sorted(states) == [State.RESUMABLE, State.RESUMABLE]
    assert not (storage / "experiments" / "tiny" / "table.txt").exists()


def test_a_terminated_run_ends_as_an_interrupted_one(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, epochs=LONG, seeds=1)
    storage = tmp_path / "storage"
    process = start("run", path, "--storage", storage, "--cpus", "1")
    try:
        wait_for_cells(process, storage)
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130, output
    assert "stopped with 0 of 2 cells done; the same command goes on" in output
    assert claimed(storage) == []


def test_two_runs_at_once_share_the_cells_and_one_may_be_interrupted(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, epochs=150)
    storage = tmp_path / "storage"
    first = start("run", path, "--storage", storage, "--cpus", "1")
    second = None
    try:
        wait_for_cells(first, storage)
        second = start("run", path, "--storage", storage, "--cpus", "1")
        until(lambda: len(claimed(storage)) >= 2, second)  # each works on a cell of its own
        first.send_signal(signal.SIGINT)
        told, _ = first.communicate(timeout=PATIENCE)
        output, _ = second.communicate(timeout=PATIENCE)
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
    assert first.returncode == 130, told
    assert second.returncode == 0, output
    assert f"process {first.pid} on" in output
    assert "sharing the cells" in output
    assert claimed(storage) == []
    counts = attempts(storage)
    assert len(counts) == 4
    assert sum(counts.values()) <= 5  # only the one that was interrupted was begun again


def test_a_ray_worker_has_pythons_own_platform_module() -> None:
    code, output = supclap("doctor", "--storage", "/tmp")
    assert code == 0, output
    assert "its workers have supclap" in output
