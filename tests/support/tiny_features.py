"""Features so small that a whole run takes a second: two arrays and their table."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from supclap.config import ArraysConfig, RunConfig, parse_config
from supclap.data.features import FeatureCollection
from supclap.data.features.table import read_table
from supclap.data.features.writing import write_features
from supclap.overrides import override

AUDIO, TEXT = 12, 10  # widths
SPLITS = {"train": 24, "val": 9, "test": 11, "unused": 2}


def make_arrays(folder: Path, seed: int = 0, kind: str = "float16") -> ArraysConfig:
    """46 clips in mixed order with two English captions and a French one, of three kinds; clips
    share sentences, some sound the same, and some sentences read the same. ``kinds.csv`` has
    sentences of two of the kinds."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(seed)
    clips = sum(SPLITS.values())
    audio = numbers.normal(size=(clips + 3, AUDIO)).astype(kind)
    text = numbers.normal(size=(40, TEXT)).astype(kind)
    splits = numbers.permutation([name for name, count in SPLITS.items() for _ in range(count)])
    rows = numbers.permutation(clips + 3)[:clips]
    text[7] = text[3]
    of_test = [int(rows[at]) for at in np.flatnonzero(splits == "test")]
    audio[of_test[4]] = audio[of_test[1]]
    lines = []
    for row, split in zip(rows, splits, strict=True):
        first, second, french = numbers.integers(0, 39, 3)
        kind_of = ("dog", "cat", "bird")[row % 3]
        lines.append([row, split, f"g{row}", first, second, french, f"words {first}", kind_of])
    lines[3][3:6] = [7, 3, ""]
    np.save(folder / "audio.npy", audio)
    np.save(folder / "text.npy", text)
    heads = ["row", "split", "group", "text1", "text2", "text_fra", "caption1", "kind"]
    with open(folder / "clips.csv", "w", newline="") as file:
        csv.writer(file).writerows([heads, *lines])
    with open(folder / "kinds.csv", "w", newline="") as file:
        csv.writer(file).writerows([["label", "text"], ["dog", 5], ["cat", 6], ["dog", 39]])
    return arrays_in(folder)


def arrays_in(folder: Path, **more: Any) -> ArraysConfig:
    places = {"audio": folder / "audio.npy", "text": folder / "text.npy"}
    places["captions"] = folder / "clips.csv"
    return ArraysConfig.model_validate({k: str(v) for k, v in places.items()} | more)


def make_features(folder: Path, seed: int = 0, **more: Any) -> FeatureCollection:
    make_arrays(folder / "arrays", seed)
    return write_features(read_table(arrays_in(folder / "arrays", **more)), folder / "prepared")


def features_config(folder: Path, **changes: Any) -> RunConfig:
    """Two epochs of three steps; ``changes``: dotted keys with ``__`` for the dot."""
    base = {
        "data": {"name": "features", "folder": str(folder)},
        "model": {"dim": 6},
        "epochs": 2,
        "batch_size": 8,
    }
    return parse_config(override(base, {k.replace("__", "."): v for k, v in changes.items()}))
