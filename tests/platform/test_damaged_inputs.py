"""Every file that `evaluate`, `embed`, `search` and `prepare` read, damaged in every way: one line
that names it and exit code 2; or what was hit has no meaning. Never a traceback or a wait."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from click.testing import CliRunner, Result
from damages import DAMAGES, in_time
from supclap_platform.cli import main
from tiny_run import make_collection, tiny_config

from supclap.data.clips import Collection
from supclap.model.clap import build_model

# The file, the command that reads it, and the damages that leave something readable in it.
NUMBERS = ("numbers as text", "NaN", "negative", "sizes out of range")
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "model/model.json": ("evaluate", ()),
    "model/weights.safetensors": ("embed", ()),
    "model/text/tokenizer.json": ("search", ()),
    "data/collection.json": ("evaluate", ()),
    "data/test.arrow": ("evaluate", ("bit",)),  # a sample's: who reads those reads all of the file
    "index.parquet": ("search", ("bit",)),
    # Somebody's own file: an id may be any number, a bit another letter.
    "sounds/captions.json": ("prepare", ("bit", *NUMBERS)),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a collection, sounds with captions, and an index of them."""
    place = tmp_path_factory.mktemp("whole")
    make_collection(place / "data")
    build_model(tiny_config(place / "data").model, ["a low tone"], 0.5, seed=0).save(
        place / "model"
    )
    (place / "sounds").mkdir()
    items = []
    for number in range(6):
        sound = np.random.default_rng(number).normal(0, 0.1, 8000)
        soundfile.write(place / "sounds" / f"{number}.wav", sound, 16_000)
        captions = {"eng": [f"noise number {number}"], "fra": ["du bruit"]}
        items.append({"file": f"{number}.wav", "captions": captions, "clip_id": 100 + number})
    (place / "sounds" / "captions.json").write_text(json.dumps(items))
    assert called("embed", place, out="index.parquet").exit_code == 0
    return place


def called(command: str, place: Path, out: str = "out") -> Result:
    model, sounds = str(place / "model"), str(place / "sounds")
    arguments = {
        "evaluate": [model, "--data", str(place / "data"), "--json", str(place / out)],
        "embed": [sounds, "--model", model, "--out", str(place / out)],
        "search": [str(place / "index.parquet"), "a low tone", "--model", model],
        "prepare": ["captions", "--source", sounds, "--out", str(place / out), "--workers", "1"],
    }
    with in_time(60):
        return CliRunner().invoke(main, [command, *arguments[command]])


def assert_one_line(result: Result) -> str:
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("supclap: ")
    assert len(line) < 900, line
    return line


@pytest.mark.heavy
@pytest.mark.parametrize("name", CASES)
def test_one_line_names_the_file(name: str, whole: Path, tmp_path: Path) -> None:
    command, readable = CASES[name]
    before = called(command, whole, str(tmp_path / "before")).stdout
    harmless = []
    for number, (damage, do) in enumerate(DAMAGES.items()):
        place = tmp_path / str(number)
        shutil.copytree(whole, place)
        do(place / name)
        result = called(command, place)
        if result.exit_code == 0:
            harmless.append(damage)
            if name == "data/test.arrow":
                assert said(place) == said(whole), damage
            elif name == "index.parquet":
                assert result.stdout == before, damage
        else:
            line = assert_one_line(result)
            nothing = line.endswith("sounds: the index of captions lists no clip")
            assert Path(name).name in line or nothing, line
        shutil.rmtree(place)
    assert {d for d in harmless if not d.startswith(readable or "none")} == set()
    assert len(harmless) < len(DAMAGES) / 2


def said(place: Path) -> list[dict[str, object]]:
    """All that a split's file holds but the samples."""
    file = Collection(place / "data").split("test").path
    table = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
    lengths = pa.compute.list_value_length(table.column("audio"))
    rows: list[dict[str, object]] = table.drop(["audio"]).to_pylist()
    return [*rows, {"lengths": lengths.to_pylist()}]


@pytest.mark.parametrize("command", ["evaluate", "embed"])
@pytest.mark.parametrize("kind", ["a device", "a FIFO", "a folder"])
def test_what_is_no_file_is_not_replaced(
    command: str, kind: str, whole: Path, tmp_path: Path
) -> None:
    place = shutil.copytree(whole, tmp_path / "place")
    (place / "out").write_text("")
    DAMAGES[kind](place / "out")
    assert f"{place}/out: is " in assert_one_line(called(command, place))
    assert (place / "out").exists()
    assert not (place / "out").is_file()


@pytest.mark.parametrize("kind", ["a device", "a FIFO", "a folder", "a link to itself"])
def test_what_is_no_experiment_file_is_not_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text("")
    DAMAGES[kind](path)
    with in_time(20):
        result = CliRunner().invoke(main, ["plan", str(path), "--storage", str(tmp_path / "s")])
    assert "e.yaml: " in assert_one_line(result)
