"""A run that was killed ends as if nothing had happened: real processes, real SIGKILL."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
import torch
from killed_run import PROCESSES, run, train
from tiny_run import everything, make_collection, tiny_config

from supclap import training
from supclap.config import RunConfig
from supclap.errors import InputError
from supclap.events import EpochEnded, Finished, Started, to_line
from supclap.storage import Folder
from supclap.training import fit


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[RunConfig, dict[str, Any], float]:
    """A run's configuration, all it left, and the seconds it took."""
    place = tmp_path_factory.mktemp("undisturbed")
    config = tiny_config(make_collection(place / "data"), checkpoint_steps=1)
    assert run(config, str(place / "first")) == 0  # the server of processes takes seconds to start
    begun = time.monotonic()
    assert run(config, str(place / "run")) == 0
    return config, everything(Folder.at(place / "run")), time.monotonic() - begun


@pytest.mark.heavy
def test_killed_within_any_write_it_ends_bit_identical(
    undisturbed: tuple[RunConfig, dict[str, Any], float], tmp_path: Path
) -> None:
    config, expected, _ = undisturbed
    # Configuration, events, checkpoints and pointers are the first writes of every attempt; once
    # nothing is left to train, the first two are followed by the model, ranks, events and result.
    for write in [1, 2, 3, 4, 7, 10, 6, 11, 3, 4, 6, 7, 8]:
        assert run(config, str(tmp_path / "run"), write) == -signal.SIGKILL, write
    assert not (tmp_path / "run" / "result.json").exists()
    assert run(config, str(tmp_path / "run")) == 0
    assert everything(Folder.at(tmp_path / "run")) == expected


@pytest.mark.heavy
def test_killed_at_random_moments_it_ends_bit_identical(
    undisturbed: tuple[RunConfig, dict[str, Any], float], tmp_path: Path
) -> None:
    config, expected, seconds = undisturbed
    moments = random.Random(20)
    killed = 0
    for _ in range(9):
        process = PROCESSES.Process(target=train, args=(config, str(tmp_path / "run")))
        process.start()
        process.join(moments.uniform(0.2, 0.7) * seconds)
        if process.exitcode == 0 and killed:
            break
        if process.exitcode == 0:  # the machine is faster than it was a moment ago
            shutil.rmtree(tmp_path / "run")
            seconds /= 2
            continue
        process.kill()
        process.join()
        killed += 1
    assert killed, "the run was not disturbed"
    assert run(config, str(tmp_path / "run")) == 0
    assert everything(Folder.at(tmp_path / "run")) == expected


@pytest.mark.heavy
def test_on_an_object_store_it_ends_as_on_a_local_disk(
    undisturbed: tuple[RunConfig, dict[str, Any], float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, expected, _ = undisturbed
    monkeypatch.setattr(training, "version_of", lambda modules: "code")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    # In memory, so without files that could be renamed; left and taken up again after every event.
    store = Folder(pafs._MockFileSystem(), "bucket/run", "mock://bucket/run")
    for wanted in (1, 2, 3):
        stream = fit(config, store)
        for _ in range(wanted):
            next(stream)
        stream.close()
    list(fit(config, store))
    torch.set_num_threads(threads)
    assert everything(store) == expected


@pytest.mark.heavy
def test_a_resumed_stream_is_that_of_a_whole_run(tmp_path: Path) -> None:
    config = tiny_config(make_collection(tmp_path / "data"))
    stream = fit(config, Folder.at(tmp_path / "run"))
    first = [next(stream), next(stream)]
    stream.close()
    again = list(fit(config, Folder.at(tmp_path / "run")))
    assert [type(event) for event in again] == [Started, EpochEnded, EpochEnded, Finished]
    assert isinstance(again[0], Started)
    assert again[0].step == 3
    assert again[1] == first[1]


def test_a_finished_run_only_tells_its_events(tmp_path: Path) -> None:
    config = tiny_config(make_collection(tmp_path / "data"), epochs=1)
    events = list(fit(config, Folder.at(tmp_path / "run")))
    before = everything(Folder.at(tmp_path / "run"))
    assert list(fit(config, Folder.at(tmp_path / "run"))) == events
    assert everything(Folder.at(tmp_path / "run")) == before
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_another_configuration_is_refused_by_its_key(tmp_path: Path) -> None:
    data = make_collection(tmp_path / "data")
    next(fit(tiny_config(data), Folder.at(tmp_path / "run")))
    with pytest.raises(InputError, match=r"loss\.svr\.alpha = 1\.0, not 0\.5"):
        next(fit(tiny_config(data, loss__svr__alpha=0.5), Folder.at(tmp_path / "run")))


@pytest.mark.parametrize("name", ["model/notes.txt", "checkpoints/mine.pt", "result.json"])
def test_a_folder_that_never_held_a_run_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    mine = tmp_path / "mine"
    for path in (mine / name, mine / "film.part", mine / "film.7.part"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    before = sorted(mine.rglob("*"))
    config = tiny_config(make_collection(tmp_path / "data"))
    kind = name.split("/")[0]
    with pytest.raises(InputError, match=rf"mine: has a '{kind}' and is no run's folder") as error:
        next(fit(config, Folder.at(mine)))
    assert "\n" not in str(error.value)
    assert sorted(mine.rglob("*")) == before


def test_a_first_run_leaves_the_files_of_others_and_removes_its_own_torn_ones(
    tmp_path: Path,
) -> None:
    place = tmp_path / "run"
    place.mkdir()
    for name in ("film.7.part", "film.part", "config.json.7.part"):
        (place / name).touch()
    config = tiny_config(make_collection(tmp_path / "data"))
    next(fit(config, Folder.at(place)))
    assert sorted(path.name for path in place.glob("*.part")) == ["film.7.part", "film.part"]
    (place / "events.jsonl.7.part").touch()
    (place / "model").mkdir()
    next(fit(config, Folder.at(place)))  # killed while it wrote its model: the run's own
    assert not (place / "events.jsonl.7.part").exists()
    assert not (place / "model").exists()


def test_a_key_that_an_earlier_version_did_not_know_has_its_default(tmp_path: Path) -> None:
    data, place = make_collection(tmp_path / "data"), tmp_path / "run"
    next(fit(tiny_config(data), Folder.at(place)))
    stored = json.loads((place / "config.json").read_text())
    del stored["data"]["noise"], stored["also"], stored["precision"]
    (place / "config.json").write_text(json.dumps(stored))
    with pytest.raises(InputError, match=r"holds a run with data\.noise = 0\.0, not 0\.5"):
        next(fit(tiny_config(data, data__noise=0.5), Folder.at(place)))
    next(fit(tiny_config(data), Folder.at(place)))
    assert "noise" in json.loads((place / "config.json").read_text())["data"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"data": {"na', r"config\.json: damaged \(not JSON: .*\); give another folder"),
        (b"\xff\xfe", r"config\.json: damaged \(not JSON: .*\); give another folder"),
        (b"[" * 20_000, r"config\.json: damaged \(not JSON: .*\); give another folder"),
        (b"[1]", r"config\.json: damaged \(not a mapping\); give another folder"),
        (b'{"hidden_size": 8}', r"config\.json: unknown key 'hidden_size'.* cannot go on with it"),
    ],
)
def test_a_damaged_configuration_is_told_in_one_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    place = tmp_path / "run"
    place.mkdir()
    (place / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        next(fit(tiny_config(make_collection(tmp_path / "data")), Folder.at(place)))
    assert "\n" not in str(error.value)
    assert (place / "config.json").read_bytes() == content


@pytest.mark.heavy
def test_other_data_are_refused_and_other_code_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(make_collection(tmp_path / "data"))
    for version in ("old", "new"):
        monkeypatch.setattr(training, "version_of", lambda modules, version=version: version)
        below = {"torch": f"1.0+{version}er", "device": "CPU"}
        monkeypatch.setattr(training, "made_with", lambda device, below=below: below)
        stream = fit(config, Folder.at(tmp_path / "run"))
        started = next(stream), next(stream)
        stream.close()
        assert isinstance(started[0], Started)
    assert started[0].code == "old+new"
    assert started[0].made_with == {"torch": "1.0+older + 1.0+newer", "device": "CPU"}
    make_collection(tmp_path / "data", seed=1)
    with pytest.raises(InputError, match="begun on other data"):
        next(fit(config, Folder.at(tmp_path / "run")))


@pytest.mark.heavy
@pytest.mark.parametrize(("side", "freeze"), [("audio", True), ("text", True), ("audio", 1)])
def test_another_frozen_encoder_is_refused(tmp_path: Path, side: str, freeze: bool | int) -> None:
    data = make_collection(tmp_path / "data")
    for seed in (0, 1):
        list(fit(tiny_config(data, epochs=1, seed=seed), Folder.at(tmp_path / str(seed))))
    start = tmp_path / "start"
    shutil.copytree(tmp_path / "0" / "model", start)
    config = tiny_config(data, **{f"model__{side}__freeze": freeze}, model__start=str(start))
    for _ in range(2):  # the second time it goes on
        stream = fit(config, Folder.at(tmp_path / "run"))
        started = next(stream), next(stream)
        stream.close()
    assert isinstance(started[0], Started)
    assert (started[0].step, list(started[0].frozen)) == (3, [side])
    shutil.rmtree(start)
    shutil.copytree(tmp_path / "1" / "model", start)
    with pytest.raises(InputError, match=f"begun with another frozen {side} encoder") as error:
        next(fit(config, Folder.at(tmp_path / "run")))
    assert "\n" not in str(error.value)


def test_a_frozen_encoder_that_an_earlier_version_did_not_note_is_noted_from_now_on() -> None:
    now = Started({}, "code", "data", 1, 2, 3, 4, frozen={"audio": "a1"})
    progress = training.Progress(events=[to_line(replace(now, frozen={}))])
    for _ in range(2):
        assert training._go_on(progress, now, Folder.at("run")).frozen == {"audio": "a1"}
    with pytest.raises(InputError, match=r"content hash a1, now b2"):
        training._go_on(progress, replace(now, frozen={"audio": "b2"}), Folder.at("run"))


def test_a_run_on_other_numbers_of_workers_names_them_all() -> None:
    first = Started({}, "code", "data", 1, 2, 3, 4, made_with={"torch": "1.0"})
    progress, found = training.Progress(events=[to_line(first)]), []
    for workers in (1, 2, 12, 1):
        went_on = training._go_on(progress, replace(first, workers=workers), Folder.at("run"))
        assert went_on.made_with["torch"] == "1.0"
        found.append((went_on.workers, went_on.made_with.get("workers")))
    assert found == [(1, None), (2, "1 + 2"), (12, "1 + 2 + 12"), (1, "1 + 2 + 12")]
