"""Scenes from recorded events: layouts, folds, and what a broken collection gets.

The recordings are tones whose frequency names their fold, so a clip tells what it was cut from.
"""

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from supclap.config import DataConfig, parse_config
from supclap.data.soundscenes import RECORDED, soundscenes_collection
from supclap.data.soundscenes.recordings import Recording, find_recordings, usable_kinds
from supclap.errors import InputError

RATE = 16_000
# Played up to 1.44 times faster or slower, the folds of train, val and test still lie apart.
TONES = {1: 300, 2: 360, 3: 430, 4: 1500, 5: 4500}
BANDS = {"train": (200, 640), "val": (1000, 2250), "test": (3000, 6700)}
KINDS = ("dog", "rain", "siren", "crow")


def tone(fold: int, seconds: float = 1.0, lead: float = 0.4, rate: int = RATE) -> np.ndarray:
    """Silence, then a tone: (samples,)."""
    time = np.arange(int(seconds * rate)) / rate
    silence = np.zeros(int(lead * rate))
    return np.concatenate([silence, 0.4 * np.sin(2 * np.pi * TONES[fold] * time)])


def esc(
    folder: Path, folds: Iterable[int] = TONES, kinds: Iterable[str] = KINDS, suffix: str = ".wav"
) -> list[dict[str, Any]]:
    rows = [
        {"filename": f"{fold}-{kind}.wav", "fold": fold, "category": kind, "src_file": f"{fold}"}
        for fold in folds
        for kind in kinds
    ]
    (folder / "audio").mkdir(parents=True)
    for row in rows:
        name = Path(row["filename"]).with_suffix(suffix)
        soundfile.write(folder / "audio" / name, tone(row["fold"]), RATE)
    write_table(folder / "meta" / "esc50.csv", rows)
    return rows


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def strongest(audio: np.ndarray) -> float:
    return np.abs(np.fft.rfft(audio)).argmax() * RATE / len(audio)


@pytest.mark.heavy
def test_no_split_hears_a_fold_of_another(tmp_path: Path) -> None:
    esc(tmp_path / "esc", suffix=".flac")  # the table says .wav
    config = DataConfig(clips=12, events=(str(tmp_path / "esc"),))
    scenes = soundscenes_collection(config, tmp_path / "cache")
    roles = {"pretrain": "train", "train": "train", "val": "val"}
    for split in scenes.splits:
        clips = scenes.split(split)
        low, high = BANDS[roles.get(split, "test")]
        for row in range(len(clips)):
            assert low < strongest(clips.audio(row)) < high, clips.sources[row]
    assert len(scenes.split("events")) == len(KINDS)


@pytest.mark.heavy
def test_events_are_cut_where_the_sound_is(tmp_path: Path) -> None:
    """Recordings of 5 s with one second of sound somewhere: the clips are not silent."""
    rows = esc(tmp_path / "esc")
    for row in rows:
        start = 1.0 + 0.3 * row["fold"]
        sound = np.concatenate([tone(row["fold"], lead=start), np.zeros(RATE * 2)])
        soundfile.write(tmp_path / "esc" / "audio" / row["filename"], sound, RATE)
    config = DataConfig(clips=6, events=(str(tmp_path / "esc"),))
    events = soundscenes_collection(config, tmp_path / "cache").split("events")
    for place in range(len(events)):
        frames = events.audio(place).astype(float)[: 199 * 160].reshape(-1, 160).std(1)
        assert (frames > 10 * np.sort(frames)[20]).sum() >= 80  # of 199 frames of 10 ms


@pytest.mark.heavy
def test_a_folder_that_was_moved_is_the_same_data(tmp_path: Path) -> None:
    esc(tmp_path / "here")
    cache = tmp_path / "cache"
    made = soundscenes_collection(DataConfig(clips=4, events=(str(tmp_path / "here"),)), cache)
    os.rename(tmp_path / "here", tmp_path / "there")
    moved = DataConfig(clips=4, events=(str(tmp_path / "there"),))
    assert soundscenes_collection(moved, cache).folder == made.folder
    soundfile.write(tmp_path / "there" / "audio" / "1-dog.wav", tone(2), RATE)
    assert soundscenes_collection(moved, cache).folder != made.folder


@pytest.mark.heavy
def test_rates_and_channels_are_brought_to_one(tmp_path: Path) -> None:
    rows = esc(tmp_path / "esc")
    for row in rows:
        stereo = np.stack([tone(row["fold"], rate=44_100)] * 2, 1)
        soundfile.write(tmp_path / "esc" / "audio" / row["filename"], stereo, 44_100)
    config = DataConfig(clips=4, events=(str(tmp_path / "esc"),))
    test = soundscenes_collection(config, tmp_path / "cache").split("events")
    for place in range(len(test)):
        assert strongest(test.audio(place)) == pytest.approx(TONES[5], rel=0.04)


def urban(folder: Path, folds: Iterable[int], origins: int) -> list[dict[str, Any]]:
    rows = []
    for fold in folds:
        for kind in ("dog_bark", "siren"):
            for origin in range(origins):
                for cut in range(2):
                    name = f"{fold}{origin}-{kind}-{cut}.wav"
                    rows.append(
                        {"slice_file_name": name, "fsID": f"{fold}{kind}{origin}", "fold": fold}
                        | {"class": kind}
                    )
                    (folder / "audio" / f"fold{fold}").mkdir(parents=True, exist_ok=True)
                    path = folder / "audio" / f"fold{fold}" / name
                    soundfile.write(path, tone(fold, 0.2), RATE)
    write_table(folder / "metadata" / "UrbanSound8K.csv", rows)
    return rows


def roles_by_fold(recordings: Iterable[Recording]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for recording in recordings:
        found.setdefault(int(recording.path.parent.name[4:]), set()).add(recording.role)
    return found


def test_of_many_folds_the_last_are_for_test_and_val(tmp_path: Path) -> None:
    urban(tmp_path, (1, 2, 4, 5), 1)
    assert roles_by_fold(find_recordings([str(tmp_path)])) == {
        1: {"train"},
        2: {"train"},
        4: {"val"},
        5: {"test"},
    }


def test_of_two_folds_val_takes_whole_source_recordings_of_the_first(tmp_path: Path) -> None:
    urban(tmp_path, (1, 2), 10)
    recordings = find_recordings([str(tmp_path)])
    assert roles_by_fold(recordings) == {1: {"train", "val"}, 2: {"test"}}
    for kind in ("dog", "siren"):
        by_origin: dict[Any, Any] = {}
        for one in recordings:
            if one.kind == kind and one.role != "test":
                origin = one.path.name.split("-")[0]
                by_origin.setdefault(origin, set()).add(one.role)
        assert all(len(roles) == 1 for roles in by_origin.values())
        assert sum(roles == {"val"} for roles in by_origin.values()) == 2  # of 10


def test_collections_are_joined_and_classes_of_one_meaning_are_one_kind(tmp_path: Path) -> None:
    esc(tmp_path / "esc", kinds=("dog", "rain"))
    urban(tmp_path / "urban", (1, 2), 2)
    kinds = usable_kinds(find_recordings([str(tmp_path / "esc"), str(tmp_path / "urban")]))
    for role in ("train", "val", "test"):
        assert set(kinds[role]) == {"dog", "rain", "siren"}


def test_a_class_that_cannot_be_trained_on_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = esc(tmp_path / "esc")
    rows = [row for row in rows if row["category"] != "crow" or row["fold"] == 5]
    write_table(tmp_path / "esc" / "meta" / "esc50.csv", rows)
    config = DataConfig(clips=4, events=(str(tmp_path / "esc"),))
    folder = soundscenes_collection(config, tmp_path / "cache").folder
    told = (folder / "events.json").read_text()
    assert '"left out": {\n  "crow": 1\n }' in told
    assert told.count('"dog"') == 3


def test_all_fifty_and_ten_classes_have_words() -> None:
    assert len(RECORDED) == 50 + 10 - len({"dog_bark", "car_horn", "engine_idling", "siren"})


def refused(tmp_path: Path, match: str) -> None:
    config = DataConfig(clips=4, events=(str(tmp_path / "esc"),))
    with pytest.raises(InputError, match=match) as caught:
        soundscenes_collection(config, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    cache = tmp_path / "cache"
    assert not [path for path in cache.glob("*") if path.is_dir()] if cache.exists() else True


def test_broken_collections_are_refused_with_their_row(tmp_path: Path) -> None:
    rows = esc(tmp_path / "esc")
    table = tmp_path / "esc" / "meta" / "esc50.csv"

    write_table(table, [{**rows[0], "category": "dgo"}, *rows[1:]])
    refused(tmp_path, r"esc50\.csv:2: no words are known for the class 'dgo'; did you mean 'dog'")
    write_table(table, [rows[0], {**rows[1], "fold": "two"}, *rows[2:]])
    refused(tmp_path, r"esc50\.csv:3: fold 'two' is not a number")
    write_table(table, [*rows, {**rows[0], "filename": "gone.wav"}])
    refused(tmp_path, r"esc50\.csv:22: audio/gone\.wav is not there")
    write_table(table, rows[:4])
    refused(tmp_path, "its 4 rows are of one fold")
    write_table(table, rows)
    soundfile.write(tmp_path / "esc" / "audio" / "2-rain.wav", np.zeros(RATE), RATE)
    refused(tmp_path, r"esc50\.csv:7: 2-rain\.wav: digital silence")
    table.unlink()
    refused(tmp_path, r"neither meta/esc50\.csv nor metadata/UrbanSound8K\.csv")


def test_recordings_that_are_no_files_are_refused_at_once(tmp_path: Path) -> None:
    """The fingerprint opens every file before anything is decoded; a pipe would hold it up."""
    esc(tmp_path)
    recording = tmp_path / "audio" / "1-dog.wav"
    for make, reason in [
        (os.mkfifo, "is a named pipe, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, not a file"),
        (lambda path: path.symlink_to("nowhere"), "is a link to a file that is not there"),
    ]:
        recording.unlink()
        make(recording)
        with pytest.raises(InputError, match=f"esc50.csv:2: audio/1-dog.wav {reason}; mend the"):
            find_recordings([str(tmp_path)])


def test_one_folder_or_a_list_of_them_can_be_named() -> None:
    one = parse_config({"data": {"events": "a, b"}}).data
    assert one.events == ("a, b",)
    assert parse_config({"data": {"events": ["a", "b"]}}).data.events == ("a", "b")


@pytest.mark.heavy
@pytest.mark.skipif("SUPCLAP_TEST_DATA" not in os.environ, reason="SUPCLAP_TEST_DATA is not set")
def test_scenes_of_real_recordings(tmp_path: Path) -> None:
    real = Path(os.environ["SUPCLAP_TEST_DATA"]) / "esc10"
    with open(real / "meta" / "esc50.csv", newline="") as file:
        first = {(row["fold"], row["category"]): row for row in csv.DictReader(file)}
    write_table(tmp_path / "meta" / "esc50.csv", list(first.values()))
    (tmp_path / "audio").symlink_to(real / "audio")
    config = DataConfig(clips=20, events=(str(tmp_path),))
    scenes = soundscenes_collection(config, tmp_path / "cache")
    assert len(scenes.split("events")) == 10
    for split in scenes.splits:
        clips = scenes.split(split)
        assert all(clips.audio(row).std() > 50 for row in range(len(clips)))
