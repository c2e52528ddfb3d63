"""`supclap run` on a real Ray of its own: the whole way, from the file to the table."""

from pathlib import Path

import pytest
from tiny_grid import attempts, claimed, supclap, write_experiment

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
