"""Data and models in a store: what is read of them is what lies in a folder of this machine."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from click import Command
from click.testing import CliRunner
from s3_server import S3Server, s3_server
from tiny_features import features_config, make_features
from tiny_run import everything, tiny_config

import supclap
from supclap.config import parse_config
from supclap.data import look_at, open_data
from supclap.data.cache import cache_folder
from supclap.data.features import FeatureClips
from supclap.data.overlap_command import overlap_command
from supclap.data.prepare_command import prepare_command
from supclap.errors import InputError, SettingError
from supclap.feasibility import check_data
from supclap.model.clap import CLAP, build_model
from supclap.parts import DataSource, Item, register
from supclap.storage import Folder
from supclap.timing import sizes_of
from supclap.train_command import train_command
from supclap.training import fit
from supclap.use_commands import embed_command, evaluate_command, search_command

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(scope="module")
def model(data: Path) -> CLAP:
    return build_model(tiny_config(data).model, ["a low tone, steady"], 0.5, seed=3)


@pytest.fixture(scope="module")
def folders(
    server: S3Server, data: Path, model: CLAP, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """A collection, a model and some sounds with their table: here, and in the store."""
    root = tmp_path_factory.mktemp("lies here")
    model.save(root / "model")
    sounds = root / "sounds"
    sounds.mkdir()
    lines = []
    for number in range(6):
        sound = 0.3 * np.sin(np.arange(8_000) * 0.05 * (1 + number))
        soundfile.write(sounds / f"ton é {number}.wav", sound, 16_000)
        lines.append([f"ton é {number}.wav", f"tone {number}", "train"])
    with open(sounds / "captions.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "caption", "split"), *lines])
    here = {"data": data, "model": root / "model", "sounds": sounds}
    far = {f"{name} far": server.upload(path, f"bucket/{name}") for name, path in here.items()}
    return {**{name: str(path) for name, path in here.items()}, **far}


def run(command: Command, *arguments: object) -> str:
    found = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))


def test_a_run_on_them_is_the_same_to_the_byte(folders: dict[str, str], tmp_path: Path) -> None:
    left = {}
    for where in ("", " far"):
        config = tiny_config(Path(), epochs=1, model__start=folders[f"model{where}"])
        data = config.data.model_copy(update={"folder": folders[f"data{where}"]})
        place = Folder.at(tmp_path / f"run{where}")
        assert list(fit(config.model_copy(update={"data": data}), place))
        left[where] = everything(place)
        assert left[where].pop("config.json")  # names the places, as does the first event
        assert left[where]["events.jsonl"][0].pop("config")
    assert left[""].keys() == left[" far"].keys()
    assert left[""] == left[" far"]


def test_load_opens_a_model_of_a_store(folders: dict[str, str], model: CLAP) -> None:
    opened = supclap.load(folders["model far"])
    assert opened.content_hash() == model.content_hash()
    assert opened.folder == folders["model far"]
    keys = folders["model far"].replace("://", "://testing:testing@")
    assert supclap.load(keys).folder == folders["model far"]  # an index that it makes names it
    with pytest.raises(InputError, match=r"s3://bucket/data\?.*has no model\.json: not a model"):
        supclap.load(folders["data far"])
    with pytest.raises(InputError, match="given as a text and not as a Path"):
        supclap.load(Path(folders["model far"]))


def test_features_and_arrays(server: S3Server, tmp_path: Path) -> None:
    made = make_features(tmp_path / "made")
    far = server.upload(tmp_path / "made", "bucket/features")
    folder, arrays = Folder.at(far).below("prepared"), Folder.at(far).below("arrays")
    names = {"audio": "audio.npy", "text": "text.npy", "captions": "clips.csv"}
    places = {key: arrays.below(name).place for key, name in names.items()}
    of_arrays = {"data": {"name": "features", "arrays": places}}
    for config in (features_config(Path()), parse_config(of_arrays)):
        data = config.data
        if data.folder is not None:
            data = data.model_copy(update={"folder": folder.place})
        found = open_data(data)
        assert found.content_hash() == made.content_hash()
        first, other = (one.split("val") for one in (found, made))
        assert isinstance(first, FeatureClips)
        assert isinstance(other, FeatureClips)
        rows = np.array([0, 3])
        assert np.array_equal(first.audio_vectors(rows), other.audio_vectors(rows))


def test_a_data_source_of_ones_own_finds_its_folder(folders: dict[str, str]) -> None:
    class Listed(DataSource):
        def items(self) -> Iterable[Item]:
            assert self.folder is not None
            with open(self.folder / "captions.csv", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    yield Item(row["file"], [row["caption"]], split=row["split"])

    register("listed in a store")(Listed)
    here, far = (
        look_at(parse_config({"data": {"name": "listed in a store", "folder": folders[name]}}).data)
        for name in ("sounds", "sounds far")
    )
    assert here.content_hash() == far.content_hash()


def test_before_it_is_fetched_only_the_index_is_looked_at(
    server: S3Server, folders: dict[str, str]
) -> None:
    server.take()
    far = tiny_config(Path("/x"))
    far = far.model_copy(
        update={"data": far.data.model_copy(update={"folder": folders["data far"]})}
    )
    check_data(far)
    wrong = far.data.model_copy(update={"test": "tset"})
    with pytest.raises(SettingError, match="no split 'tset'; did you mean 'test'"):
        check_data(far.model_copy(update={"data": wrong}))
    with pytest.raises(InputError, match="are not copied to this machine"):
        sizes_of(far)
    read = {key for kind, key in server.asked if kind == "GET"}
    assert {key.rpartition("/")[2] for key in read} == {"collection.json"}
    open_data(far.data)
    assert sizes_of(far).pairs == 24
    nothing = far.data.model_copy(update={"languages": ("jpn",)})
    with pytest.raises(SettingError, match="jpn"):  # now its captions are here
        check_data(far.model_copy(update={"data": nothing}))


def test_commands_read_what_lies_there(folders: dict[str, str], tmp_path: Path) -> None:
    figures = []
    for where in ("", " far"):
        out = tmp_path / f"figures{where}.json"
        place = folders[f"model{where}"]
        run(evaluate_command, place, "--data", folders[f"data{where}"], "--json", out)
        figures.append(json.loads(out.read_text()))
    assert figures[0] == figures[1]
    index = tmp_path / "index.parquet"
    run(embed_command, folders["sounds far"], "--model", folders["model far"], "--out", index)
    assert pq.read_table(index).num_rows == 6
    assert "ton é" in run(search_command, index, "a tone")  # by the model that made it
    prepared = tmp_path / "prepared"
    run(prepare_command, "captions", "--source", folders["sounds far"], "--out", prepared)
    assert len(open_data(tiny_config(prepared).data).split("train")) == 6


@pytest.mark.parametrize(
    "words",
    [
        (evaluate_command, "m", "--data", "soundscenes", "--json"),
        (embed_command, "x", "--model", "m", "--out"),
        (prepare_command, "captions", "--source", "x", "--out"),
        (overlap_command, "a", "b", "--out"),
    ],
    ids=["evaluate", "embed", "prepare", "overlap"],
)
def test_what_is_written_here_is_not_written_to_a_folder_called_s3(
    words: tuple[Command, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"s3://bucket/x: expected a path of this machine"):
        run(*words, "s3://bucket/x")
    with pytest.raises(InputError, match=r"s3:/bucket/x: an address has two slashes"):
        run(*words, "s3:/bucket/x")
    assert not list(tmp_path.iterdir())


def test_a_mistyped_address_of_a_run_or_of_the_cache_is_no_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"gs:/bucket/x: an address has two slashes"):
        run(train_command, "--out", "gs:/bucket/x")
    for place in ("s3://bucket/cache", "s3:/bucket/cache"):
        monkeypatch.setenv("SUPCLAP_CACHE", place)
        with pytest.raises(InputError, match=f"SUPCLAP_CACHE {place}: expected a folder of this"):
            cache_folder()
    assert not list(tmp_path.iterdir())
