"""A first forecast: how much data a run uses, and how long its steps take, against the run."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import make_collection, tiny_config

from supclap import registry
from supclap.config import DataConfig, parse_config
from supclap.data.soundscenes import soundscenes_collection
from supclap.data.soundscenes.build import seconds_to_make
from supclap.errors import InputError
from supclap.parts import Augmentation, register
from supclap.timing import Sizes, estimate, sizes_of


def test_the_sizes_are_those_of_the_collection(tmp_path: Path) -> None:
    data = str(make_collection(tmp_path / "data", captions=2))
    # 24, 12, 12 and 12 clips with two captions in each of two languages; English alone by default.
    assert sizes_of(tiny_config(Path(data))) == Sizes(24, 24, (12, 24), (24, 48))
    every = tiny_config(Path(data), data__pairs="all", data__languages=["eng", "deu"])
    assert sizes_of(every) == Sizes(24, 96, (12, 48), (24, 96))
    fewer = tiny_config(Path(data), data__pairs="all", data__limit=6, select__split="test")
    assert sizes_of(fewer) == Sizes(6, 12, (24, 48), (24, 48))


@pytest.mark.heavy
def test_soundscenes_are_counted_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path))
    config = parse_config({"data": {"clips": 30}})
    sizes = sizes_of(config)
    assert seconds_to_make(config.data) > 0
    assert list(tmp_path.iterdir()) == []  # nothing was made
    made = soundscenes_collection(DataConfig(clips=30), workers=1)
    counts = {split: len(made.split(split)) for split in made.splits}
    captions = {
        split: sum(c.language == "eng" for row in made.split(split).captions for c in row)
        for split in made.splits
    }
    assert sizes == Sizes(
        counts["train"],
        counts["train"],
        (counts["val"], captions["val"]),
        (counts["test"] + counts["shifted"], captions["test"] + captions["shifted"]),
    )
    assert seconds_to_make(config.data) == 0.0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__audio__freeze": True, "model__text__freeze": True},
        {"loss__multilingual": "kcl", "data__languages": ["eng", "deu"]},
        {"optimizer__name": "adamw", "precision": "bf16"},
    ],
)
def test_every_kind_of_run_can_be_timed(tmp_path: Path, changes: dict[str, object]) -> None:
    config = tiny_config(make_collection(tmp_path / "data"), **changes)
    threads = torch.get_num_threads()
    found = estimate(config)
    assert torch.get_num_threads() == threads
    assert found.seconds > 0
    assert 1 <= found.steps <= 3
    assert (found.once > 0) is ("model__audio__freeze" in changes)


def test_what_cannot_be_timed_here_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="asks for a GPU, and this machine has none"):
        estimate(tiny_config(tmp_path), gpu=True)
    with pytest.raises(InputError, match="absent"):
        estimate(tiny_config(tmp_path / "absent"))
    other = tiny_config(make_collection(tmp_path / "data"), data__test="testing")
    with pytest.raises(InputError, match="no split 'testing'"):
        estimate(other)


def test_what_augmentations_take_in_every_epoch_is_a_part_of_it(tmp_path: Path) -> None:
    class Slow(Augmentation):
        def waveform(self, waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
            time.sleep(0.05)
            return waveform

        def caption(self, text: str, language: str, generator: np.random.Generator) -> str:
            time.sleep(0.05)
            return text

    data = make_collection(tmp_path / "data")
    with registry.forgotten():
        register("slow")(Slow)
        found = estimate(tiny_config(data, data__augment={"slow": {}}))
    assert found.seconds > 2 * 24 * (0.05 + 0.05)  # two epochs of 24 clips
