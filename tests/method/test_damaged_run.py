"""Every file that the method reads back, damaged in every way: one line that names it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from damages import DAMAGES, in_time
from tiny_run import make_collection, tiny_config

import supclap
from supclap.embedding import embed_folder, model_folder, search_index
from supclap.errors import InputError
from supclap.events import EpochEnded, Event
from supclap.storage import Folder
from supclap.stored import Damaged, parse_values, sealed
from supclap.training import fit

# A pointer holds no number, and a configuration is one that reads as the same.
HARMLESS = {
    "checkpoints/latest.json": ("numbers as text", "NaN", "negative", "sizes out of range"),
    "config.json": ("numbers as text",),
}
OF_A_RUN = ("config.json", "events.jsonl")
BEGUN = ("config.json", "checkpoints/latest.json", "checkpoints/00000003-epoch-1.pt")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("tones") / "data")


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for _ in fit(tiny_config(data), Folder.at(folder)):
        pass
    return folder


@pytest.fixture(scope="module")
def begun(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted after its first epoch."""
    folder = tmp_path_factory.mktemp("begun")
    for event in fit(tiny_config(data), Folder.at(folder)):
        if isinstance(event, EpochEnded):
            break
    return folder


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, symlinks=True)
    return target


def told(events: Iterable[Event]) -> str | None:
    """The line that a run ends with, or None where it comes to its end."""
    try:
        with in_time(60):
            for _ in events:
                pass
    except InputError as error:
        return str(error)
    return None


def assert_one_line(line: str, name: str) -> None:
    """It names the file, or what the configuration in it says now."""
    assert name in line or "holds a run with" in line, line
    assert "\n" not in line
    assert len(line) < 900, line


@pytest.mark.heavy
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", OF_A_RUN)
def test_of_a_finished_run(name: str, damage: str, whole: Path, data: Path, tmp_path: Path) -> None:
    place = copied(whole, tmp_path / "run")
    DAMAGES[damage](place / name)
    line = told(fit(tiny_config(data), Folder.at(place)))
    if line is None:
        assert name == "config.json"
        assert damage in HARMLESS[name] or damage.startswith("bit")
    else:
        assert_one_line(line, name)


@pytest.mark.heavy
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", BEGUN)
def test_of_a_run_that_goes_on(
    name: str, damage: str, begun: Path, whole: Path, data: Path, tmp_path: Path
) -> None:
    place = copied(begun, tmp_path / "run")
    DAMAGES[damage](place / name)
    line = told(fit(tiny_config(data), Folder.at(place)))
    if line is None:  # what was flipped carries no meaning: the run ends as without it
        assert damage in HARMLESS.get(name, ()) or damage.startswith("bit"), line
        weights = "model/weights.safetensors"
        assert (place / weights).read_bytes() == (whole / weights).read_bytes()
    else:
        assert_one_line(line, name.rpartition("/")[2])


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["model.json", "weights.safetensors", "text/tokenizer.json"])
def test_of_a_model(name: str, damage: str, whole: Path, tmp_path: Path) -> None:
    place = copied(whole / "model", tmp_path / "model")
    DAMAGES[damage](place / name)
    with in_time(60), pytest.raises(InputError, match=name.replace(".", r"\.")) as caught:
        supclap.load(place)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["audio.width", "audio.layers", "text.width", "text.layers", "dim"])
@pytest.mark.parametrize("size", [96_000, 2**40, 10**30])
def test_a_model_of_absurd_sizes_takes_no_memory(
    key: str, size: int, whole: Path, tmp_path: Path
) -> None:
    place = copied(whole / "model", tmp_path / "model")
    index = parse_values((place / "model.json").read_bytes(), "")
    section = index["config"]
    *path, last = key.split(".")
    for step in path:
        section = section[step]
    section[last] = size
    (place / "model.json").write_bytes(sealed(index))
    within = size < 2**31  # what a configuration may say at all
    why = "describes a larger model" if within else f"config: {key}: input should be less than"
    with in_time(60), pytest.raises(InputError, match=f"model.json: {why}"):
        supclap.load(place)


@pytest.fixture(scope="module")
def index(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np
    import soundfile

    folder = tmp_path_factory.mktemp("sounds")
    for number in range(40):
        sound = np.random.default_rng(number).normal(0, 0.1, 8000)
        soundfile.write(folder / f"{number}.wav", sound, 16_000)
    out = folder / "sounds.parquet"
    embed_folder(supclap.load(whole / "model"), folder, out)
    return out


@pytest.mark.parametrize("damage", DAMAGES)
def test_of_an_index(damage: str, index: Path, whole: Path, tmp_path: Path) -> None:
    place = tmp_path / index.name
    shutil.copy(index, place)
    model = supclap.load(whole / "model")
    before = search_index(model, place, "a tone")
    DAMAGES[damage](place)
    line, found = None, None
    with in_time(60):
        try:
            assert model_folder(place) == whole / "model"
            found = search_index(model, place, "a tone")
        except InputError as error:
            line = str(error)
    if line is not None:
        assert_one_line(line, "sounds.parquet")
    else:
        assert damage.startswith("bit")  # of what carries no meaning
        assert found == before


def test_a_seal_finds_one_digit_for_another() -> None:
    content = sealed({"metrics": {"t2a.R@1": 34.5}, "epochs": 2})
    assert parse_values(content, "result.json") == {"metrics": {"t2a.R@1": 34.5}, "epochs": 2}
    with pytest.raises(Damaged, match="its values do not give its seal"):
        parse_values(content.replace(b"34.5", b"74.5"), "result.json")
