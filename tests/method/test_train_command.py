"""`supclap train` as typed: what is printed, where it goes, and how mistakes end."""

from __future__ import annotations

import fcntl
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest
from click.testing import CliRunner, Result
from supclap_platform.cli import main
from tiny_run import make_collection

from supclap.errors import InputError
from supclap.storage import Folder
from supclap.train_command import LOCK, alone

TINY = """
data: {seconds: 0.5}
model:
  audio: {name: cnn, width: 8, layers: 2}
  text: {name: transformer, width: 32, layers: 1, vocabulary: 300}
  dim: 16
epochs: 2
batch_size: 7
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    return str(make_collection(tmp_path / "data"))


def train(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["train", *arguments])


@pytest.mark.heavy
def test_a_run_is_told_epoch_by_epoch_and_ends_with_figures_beside_chance(data: str) -> None:
    result = train("tiny.yaml", "--data", data, "--set", "loss.svr.radius=dynamic", "--out", "run")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "24 clips, 2 epochs of 3 steps" in lines[1]
    assert "each epoch leaves 3 pairs" in lines[2]
    for epoch, line in enumerate(lines[3:5], 1):
        for part in (f"epoch  {epoch}/2", "loss", "val R@1", "drift", "radius", "clips/s"):
            assert part in line
    table = {line.split()[0]: line.split()[1:] for line in lines if line[:1].isalpha()}
    assert table["chance"][0] == "8.3"  # one clip of twelve
    assert {"test", "shifted"} <= table.keys()
    assert "(chance 25.0 %)" in result.output
    assert Path("run/model/model.json").is_file()
    assert f"supclap evaluate {Path('run').absolute()}/model --data {data}" in result.output


@pytest.mark.heavy
def test_the_same_command_again_only_shows_the_figures(data: str) -> None:
    first = train("tiny.yaml", "--data", data)
    again = train("tiny.yaml", "--data", data)
    assert again.stdout == first.stdout
    (run,) = Path("supclap-runs").iterdir()
    assert run.name.startswith("infonce-")
    train("tiny.yaml", "--data", data, "--set", "seed=1")
    assert len(list(Path("supclap-runs").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.yaml"], "absent.yaml: cannot be read"),
        (["tiny.yaml", "--set", "loss.svr.raduis=1"], "did you mean 'radius'?"),
        (["tiny.yaml", "--set", "epochs"], "--set epochs: expected KEY=VALUE"),
        (["tiny.yaml", "--set", "epochs=[1"], "--set epochs: the value is not valid YAML: [1"),
        (["--set", "data.seed=2024-13-45"], "--set data.seed: input should be a valid integer"),
        (["--set", "data.seconds=0.01"], "data.seconds: input should be greater than or equal to"),
        (["--set", "data.seconds=1e300"], "data.seconds: input should be less than or equal to"),
        (["--set", "seed=99999999999999999999"], "seed: input should be less than 922337203685477"),
        (["tiny.yaml", "--data", "/nowhere"], "/nowhere: not a prepared collection"),
        (["tiny.yaml", "--out", "tiny.yaml/run"], "tiny.yaml/run: cannot be written"),
        (
            ["tiny.yaml", "--out", "s4://bucket/x"],
            "s4://bucket/x: no store is addressed by 's4://'",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    data: str, arguments: list[str], message: str
) -> None:
    if "--data" not in arguments:
        arguments = [*arguments, "--data", data]
    result = train(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    lines = result.output.splitlines()
    assert [
        line for line in lines if not re.fullmatch(r"loading PyTorch \(\d+ s\)", line)
    ] == lines[-1:]


def test_a_diverging_run_ends_with_one_line_and_exit_code_1(data: str) -> None:
    result = train("tiny.yaml", "--data", data, "--set", "optimizer.lr=1e30")
    assert result.exit_code == 1
    assert "Error: step" in result.output
    assert "lower optimizer.lr" in result.output.splitlines()[-1]


def test_two_commands_do_not_train_into_one_folder(data: str, tmp_path: Path) -> None:
    with alone(Folder.at(tmp_path / "run")):
        result = train("tiny.yaml", "--data", data, "--out", "run")
    assert result.exit_code == 2
    assert "another process is training here" in result.output
    assert train("tiny.yaml", "--data", data, "--out", "run").exit_code == 0


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "batch_size=64"], "batch_size is 64, but there are only 24 pairs"),
        (["--set", "data.test=tset"], "no split 'tset'"),
        (["--set", "select.metric=t2a.R@2"], "no metric 't2a.R@2'"),
        (["--set", "model.audio.layers=9"], "model.audio.layers: 9"),
        (["--set", "batch_size=2", "--workers", "3"], "batch_size: 2 is too few for 3 workers"),
    ],
)
def test_a_refused_command_leaves_nothing_and_the_corrected_one_runs(
    data: str, arguments: list[str], message: str
) -> None:
    before = sorted(Path().rglob("*"))
    for place in (["--out", "new/folders/run"], []):
        refused = train("tiny.yaml", "--data", data, *place, *arguments)
        assert refused.exit_code == 2, refused.output
        assert message in refused.output
        assert sorted(Path().rglob("*")) == before
    if "--workers" not in arguments:  # the folder is as it was for every refusal: once is enough
        return
    corrected = train("tiny.yaml", "--data", data, "--out", "new/folders/run")
    assert corrected.exit_code == 0, corrected.output


def test_a_refused_command_leaves_the_users_own_folder_as_it_was(data: str) -> None:
    Path("mine").mkdir()
    Path("empty").mkdir()
    Path("mine/notes.txt").write_text("of mine")
    before = sorted(Path().rglob("*"))
    for folder in ("mine", "empty"):
        wrong = train("tiny.yaml", "--data", data, "--out", folder, "--set", "batch_size=64")
        assert wrong.exit_code == 2
        assert [path for path in sorted(Path().rglob("*")) if path.name != LOCK] == before
    assert not Path("empty", LOCK).exists()
    assert train("tiny.yaml", "--data", data, "--out", "mine").exit_code == 0
    assert Path("mine/notes.txt").read_text() == "of mine"


def test_a_lock_whose_file_was_removed_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder removes it as it ends; who had opened it before must not hold the old file."""
    flock = fcntl.flock

    def late(file: IO[str], operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        (tmp_path / "run" / LOCK).unlink()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with alone(Folder.at(tmp_path / "run")):
        with (
            pytest.raises(InputError, match="another process is training here"),
            alone(Folder.at(tmp_path / "run")),
        ):
            pytest.fail("two hold the lock")
        assert (tmp_path / "run" / LOCK).exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.heavy
def test_of_many_that_come_and_go_one_holds_the_folder(tmp_path: Path) -> None:
    """Each that ends removes folder and lock, while the others are just about to open them."""
    inside: list[int] = []
    most: list[int] = []

    def come_and_go(number: int) -> int:
        held = 0
        for _ in range(200):
            try:
                with alone(Folder.at(tmp_path / "new" / "run")):
                    inside.append(number)
                    most.append(len(inside))
                    inside.remove(number)
                    held += 1
            except InputError as error:
                assert "another process is training here" in str(error)  # noqa: PT017
        return held

    with ThreadPoolExecutor(4) as threads:
        held = list(threads.map(come_and_go, range(4)))
    assert max(most) == 1
    assert sum(held) == len(most) > 0


@pytest.mark.heavy
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_folder_that_is_no_encoder_is_refused_before_clips_are_made(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    changes = ["model.text.name=huggingface", "model.text.folder=nowhere", "batch_size=8"]
    arguments = [word for change in changes for word in ("--set", change)]
    result = train("--workers", workers, *arguments)
    assert result.exit_code == 2
    assert "model.text.folder: " in result.output.splitlines()[-1]
    assert not list(tmp_path.glob("cache/**/*.npy")) + list(tmp_path.glob("cache/**/*.wav"))
    assert "making" not in result.output
