"""Clips that two collections share: by id, recording, content, and a fingerprint."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result
from supclap_platform.cli import main

from supclap.data.clips import Caption, Clip, write_split
from supclap.data.overlap.fingerprint import fingerprint
from supclap.data.overlap.matching import ALIKE, SHORTEST, near_pairs
from supclap.data.overlap.origin import FREESOUND, YOUTUBE, Origin, origin_of

REAL = os.environ.get("SUPCLAP_TEST_DATA")
real = pytest.mark.skipif(not REAL, reason="SUPCLAP_TEST_DATA names no folder")


def sound(seed: int, seconds: float = 4.0) -> np.ndarray:
    """Noise whose color changes twenty times a second: (samples,) int16."""
    rng = np.random.default_rng(seed)
    pieces = []
    for _ in range(round(seconds * 20)):
        spectrum = np.fft.rfft(rng.normal(0, 1, 800)) * rng.uniform(0, 1, 401) ** 3
        pieces.append(np.fft.irfft(spectrum, 800))
    wave = np.concatenate(pieces)
    return (wave / np.abs(wave).max() * 20_000).astype(np.int16)


def coded(samples: np.ndarray) -> np.ndarray:
    """Through Vorbis and back, at its lowest quality but one."""
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="OGG", compression_level=0.9)
    file.seek(0)
    return soundfile.read(file, dtype="int16")[0]


def test_the_fingerprint_is_that_of_its_definition() -> None:
    """Haitsma and Kalker (2002), frame by frame and band by band, in float64."""
    samples = sound(0, 0.9)
    edges = [250 * 14 ** (m / 33) for m in range(34)]
    energy = []
    for start in range(0, len(samples) - 6_144 + 1, 384):
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(6_144) / 6_143)
        power = np.abs(np.fft.rfft(samples[start : start + 6_144] * window)) ** 2
        bins = [round(edge * 6_144 / 16_000) for edge in edges]
        energy.append([power[bins[m] : bins[m + 1]].sum() for m in range(33)])
    words, says = fingerprint(samples)
    assert len(words) == len(energy) - 1
    assert says.all()
    for n, word in enumerate(words, 1):
        for m in range(32):
            now, before = energy[n], energy[n - 1]
            difference = (now[m] - now[m + 1]) - (before[m] - before[m + 1])
            if abs(difference) > 1e-4 * max(now):  # float32 beneath
                assert (int(word) >> m) & 1 == (difference > 0)


def test_pairs_are_those_that_every_shift_compared_bit_by_bit_finds() -> None:
    rng = np.random.default_rng(0)
    prints = [rng.integers(0, 2**32, size, np.uint32) for size in (60, 100, 200, 43, 80)]
    flips = rng.random((100, 32)) < 0.05
    noise = (flips * (1 << np.arange(32, dtype=np.uint64))).sum(1).astype(np.uint32)
    prints.append((prints[1] ^ noise)[20:])  # begins later
    prints.append(np.concatenate([rng.integers(0, 2**32, 30, np.uint32), prints[2]]))
    prints.append(prints[0][:30])  # shorter than what two clips must share: all of it
    prints.append(prints[4][-(SHORTEST - 10) :])
    wanted = set()
    for i, one in enumerate(prints):
        for j, other in enumerate(prints[i + 1 :], i + 1):
            for shift in range(-len(other) + 1, len(one)):
                a, b = max(0, shift), min(len(one), len(other) + shift)
                if b - a < min(SHORTEST, len(one), len(other)):
                    continue
                theirs = other[a - shift : b - shift]
                differing = [int(x ^ y).bit_count() for x, y in zip(one[a:b], theirs, strict=True)]
                if sum(differing) <= ALIKE * 32 * (b - a):
                    wanted.add((i, j, shift))
    every = [(words, np.ones(len(words), bool)) for words in prints]
    found = {(n.one, n.other, round(n.shift / 0.024)) for n in near_pairs(every, every, same=True)}
    assert found == wanted
    assert {(i, j) for i, j, _ in wanted} == {(1, 5), (2, 6), (0, 7), (4, 8)}


@pytest.mark.heavy
def test_codecs_gains_and_shifts_are_seen_through_and_other_sounds_are_not() -> None:
    ones = [sound(seed) for seed in range(12)]
    changed = [coded(ones[0]), ones[1] // 8, ones[2][10_007:], coded(ones[3][9_000:-9_000])]
    others = [*changed, *(sound(seed) for seed in range(100, 112)), np.zeros(64_000, np.int16)]
    found = near_pairs([fingerprint(s) for s in ones], [fingerprint(s) for s in others])
    assert [(n.one, n.other) for n in found] == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert [n.shift for n in found] == pytest.approx(
        [0, 0, 10_007 / 16_000, 9_000 / 16_000], abs=0.024
    )
    # What is silent in both is no likeness.
    quiet = [np.concatenate([one[:16_000], np.zeros(64_000, np.int16)]) for one in ones[4:6]]
    given = [fingerprint(s) for s in (*quiet, np.zeros(64_000, np.int16))]
    assert near_pairs(given, given, same=True) == []
    assert len(fingerprint(ones[0][:6_500])[0]) == 0  # shorter than two frames


@pytest.mark.parametrize(
    ("collection", "clip", "origin"),
    [
        ("audiocaps", "-bcdefghi_k_30", Origin(YOUTUBE, "-bcdefghi_k", 30.0)),
        ("vggsound", "-bcdefghi_k_000030", Origin(YOUTUBE, "-bcdefghi_k", 30.0)),
        ("wavcaps", "AudioSet_SL/Y-bcdefghi_k", Origin(YOUTUBE, "-bcdefghi_k")),
        ("wavcaps", "FreeSound/100032", Origin(FREESOUND, "100032")),
        ("esc50", "1-100032-A-0", Origin(FREESOUND, "100032")),
        ("urbansound8k", "100032-3-0-0", Origin(FREESOUND, "100032")),
        ("wavcaps", "SoundBible/17", None),
        ("clotho", "test/rain", None),
        ("mine", "1-100032-A-0", None),
    ],
)
def test_ids_say_which_recording_a_clip_is_of(
    collection: str, clip: str, origin: Origin | None
) -> None:
    assert origin_of(collection, clip) == origin


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, words)], catch_exceptions=False)


def clip(name: str, samples: np.ndarray) -> Clip:
    return Clip(name, samples, (Caption("a sound"),))


@pytest.mark.heavy
def test_the_command_counts_lists_and_writes_and_prepare_leaves_out_what_it_found(
    tmp_path: Path,
) -> None:
    sounds = {seed: sound(seed, 2.0) for seed in range(5)}
    names = ["-bcdefghi_k_30", "2bcdefghijk_0", "3bcdefghijk_0", "4bcdefghijk_0"]
    write_split(
        tmp_path / "a", "audiocaps", "train", [clip(n, sounds[i]) for i, n in enumerate(names)]
    )
    write_split(tmp_path / "a", "audiocaps", "test", [clip("5bcdefghijk_0", sounds[4])])
    theirs = [("-bcdefghi_k_000030", 4), ("2bcdefghijk_000007", 3), ("6bcdefghijk_000000", 2)]
    write_split(tmp_path / "b", "vggsound", "test", [clip(n, sounds[i]) for n, i in theirs])
    write_split(tmp_path / "b", "vggsound", "val", [clip("7bcdefghijk_000000", coded(sounds[1]))])
    out = tmp_path / "found.csv"
    whole = run("data", "overlap", tmp_path / "a", tmp_path / "b", "--out", out, "--workers", "1")
    assert whole.exit_code == 1
    rows = [line.split() for line in whole.stdout.splitlines()]
    assert rows[1:4] == [
        ["split", "clips", "id", "recording", "content", "near", "in", "all"],
        ["train", "4", "1", "2", "2", "3", "4"],
        ["test", "1", "0", "0", "1", "1", "1"],
    ]
    assert "id: train -bcdefghi_k_30 is test -bcdefghi_k_000030" in whole.stdout
    with out.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert {(r["clip_id"], r["kind"], r["other_clip_id"]) for r in table} == {
        ("'-bcdefghi_k_30", "id", "'-bcdefghi_k_000030"),
        ("'-bcdefghi_k_30", "recording", "'-bcdefghi_k_000030"),
        ("2bcdefghijk_0", "recording", "2bcdefghijk_000007"),
        ("2bcdefghijk_0", "near", "7bcdefghijk_000000"),
        *(("3bcdefghijk_0", kind, "6bcdefghijk_000000") for kind in ("content", "near")),
        *(("4bcdefghijk_0", kind, "2bcdefghijk_000007") for kind in ("content", "near")),
        *(("5bcdefghijk_0", kind, "'-bcdefghi_k_000030") for kind in ("content", "near")),
    }
    one = run("data", "overlap", tmp_path / "a", tmp_path / "b", "--splits-a", "test", "--by", "id")
    assert (one.exit_code, one.stdout.splitlines()[2].split()) == (0, ["test", "1", "0", "0"])
    within = run("data", "overlap", tmp_path / "a", tmp_path / "a", "--workers", "1")
    assert within.exit_code == 0  # its splits share nothing with each other

    # The same list leaves these clips out of what is prepared next.
    source = tmp_path / "source"
    for number, name in enumerate((*names, "8bcdefghijk_0")):
        (source / "audio").mkdir(parents=True, exist_ok=True)
        video, _, start = name.rpartition("_")
        soundfile.write(source / "audio" / f"{video}_{start}.wav", sound(number, 0.2), 16_000)
    lines = [
        [i, n.rpartition("_")[0], n.rpartition("_")[2], "A sound."]
        for i, n in enumerate((*names, "8bcdefghijk_0"))
    ]
    with (source / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["audiocap_id", "youtube_id", "start_time", "caption"], *lines])
    arguments = ("prepare", "audiocaps", "--source", source, "--out", tmp_path / "left")
    left = run(*arguments, "--workers", "1", "--exclude", out)
    assert left.exit_code == 0, left.output
    assert "4 clips excluded by --exclude (1 names in it are of no clip here)" in left.stdout
    assert "the index lists train 5 captions; AudioCaps 1.0 has train 49,838" in left.stdout
    assert (
        json.loads((tmp_path / "left/collection.json").read_text())["splits"]["train"]["clips"] == 1
    )
    with (tmp_path / "left/skipped.csv").open(newline="") as file:
        assert [(r["clip_id"], r["kind"], r["reason"]) for r in csv.DictReader(file)][1] == (
            "2bcdefghijk_0", "excluded", "found.csv leaves it out",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("A", "B"), "A: not a prepared collection"),
        (("clotoh=A", "B"), "with NAME of audiocaps, clotho"),
        (("clotho=A", "B"), "A: there is no such folder"),
        (("HERE", "HERE", "--splits-b", "tset"), "no split 'tset' (there are test)"),
        (("HERE", "HERE", "--by", "ids"), "--by: unknown 'ids'; did you mean 'id'?"),
        (("HERE", "HERE", "--workers", "0"), "--workers: expected at least 1, got 0"),
        (("A", "B", "--out", "/dev"), "/dev: is a folder, not a file; expected a file to write"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    write_split(tmp_path / "here", "mine", "test", [clip("a", sound(0, 0.5))])
    found = run(
        "data", "overlap", *(word.replace("HERE", str(tmp_path / "here")) for word in words)
    )
    assert found.exit_code == 2
    assert message in found.stderr
    assert len(found.stderr.splitlines()) == 1


@real
def test_two_folds_of_esc10_share_a_sound() -> None:
    """Cut from two uploads of one recording, 0.65 s apart: so folds 3 and 5 are not independent."""
    names = ["3-151080-A-20", "5-151085-A-20", "1-17367-A-10", "5-9032-A-0"]
    prints = []
    for name in names:
        path = Path(str(REAL)) / "esc10" / "audio" / f"{name}.flac"
        prints.append(fingerprint(soundfile.read(path, dtype="int16")[0]))
    (near,) = near_pairs(prints, prints, same=True)
    assert (near.one, near.other) == (0, 1)
    assert near.shift == pytest.approx(0.65, abs=0.03)


@pytest.mark.heavy
@real
def test_official_indexes_are_compared_without_their_sounds() -> None:
    root = Path(str(REAL))
    with (root / "captions/audiocaps/train.csv").open(newline="", encoding="utf-8") as file:
        ours = {row["youtube_id"] for row in csv.DictReader(file)}
    with (root / "vggsound/test.csv").open(newline="", encoding="utf-8") as file:
        theirs = {row[0][:11] for row in csv.reader(file)}
    found = run(
        *("data", "overlap", f"audiocaps={root}/captions/audiocaps", f"vggsound={root}/vggsound"),
        *("--splits-a", "train"),
    )
    assert found.exit_code == 1
    assert found.stdout.splitlines()[2].split()[:2] == ["train", "49,838"]
    assert int(found.stdout.splitlines()[2].split()[3]) == len(ours & theirs) == 15
    assert "not by content and near" in found.stdout


@pytest.mark.parametrize(
    ("name", "file", "text", "key"),
    [
        (
            "captions",
            "captions.json",
            '[{"file": "a", "captions": "x", "captions": ""}]',
            "captions",
        ),
        (
            "captions",
            "captions.json",
            '[{"file": "a", "captions": {"eng": "x", "eng": ""}}]',
            "eng",
        ),
        ("wavcaps", "bbc_final.json", '{"data": [{"id": 1, "caption": "x", "id": 2}]}', "id"),
    ],
)
def test_a_key_that_stands_twice_in_an_index_is_one_line(
    name: str, file: str, text: str, key: str, tmp_path: Path
) -> None:
    """Python takes the last of them: captions were lost, and nothing said so."""
    (tmp_path / file).write_text(text, encoding="utf-8")
    commands: tuple[tuple[str | Path, ...], ...] = (
        ("prepare", name, "--source", tmp_path, "--out", tmp_path / "out"),
        ("data", "overlap", f"{name}={tmp_path}", f"{name}={tmp_path}"),
    )
    for words in commands:
        done = CliRunner().invoke(main, [*map(str, words)])
        assert done.exit_code == 2, done.output
        assert f"{tmp_path / file}: the key '{key}' stands twice in one object" in done.output
    assert not (tmp_path / "out").exists()
