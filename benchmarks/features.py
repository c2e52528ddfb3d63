"""Seconds and memory of precomputed features: prepared, opened, gathered batch by batch.

    python -m benchmarks.features [--clips 100000] [--width 1024] [--batch 128]

Both arrays are random float16 numbers, with a sentence for each clip. Memory is what the process
holds of its own (RssAnon, of Linux): pages of the files themselves are the system's, which takes
them back when it needs them. The rival is an array that is loaded whole, as float32.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import describe
from supclap.batches import batches_of
from supclap.config import ArraysConfig, parse_config
from supclap.data.features import FeatureClips, FeatureCollection
from supclap.data.features.table import read_table
from supclap.data.features.writing import write_features
from supclap.held_out import inputs_of
from supclap.model.clap import build_model


def own_memory() -> float:
    """MB that this process holds besides pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


def make(folder: Path, clips: int, width: int) -> ArraysConfig:
    numbers = np.random.default_rng(0)
    paths = {name: folder / f"{name}.npy" for name in ("audio", "text")}
    for path in paths.values():
        array = np.lib.format.open_memmap(path, "w+", np.float16, (clips, width))
        for start in range(0, clips, 1_000):
            block = array[start : start + 1_000]
            block[:] = numbers.standard_normal(block.shape, np.float32)
        array.flush()
    table = folder / "clips.csv"
    with open(table, "w", newline="") as file:
        csv.writer(file).writerow(["row", "split", "text"])
        csv.writer(file).writerows([n, "test" if n % 50 == 0 else "train", n] for n in range(clips))
    return ArraysConfig(audio=str(paths["audio"]), text=str(paths["text"]), captions=str(table))


def main() -> None:
    parser = argparse.ArgumentParser(description="Precomputed features: seconds and memory.")
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=1_024)
    parser.add_argument("--batch", type=int, default=128)
    given = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), given.clips, given.width, given.batch)


def measure(folder: Path, clips: int, width: int, size: int) -> None:
    arrays = make(folder, clips, width)
    begin = own_memory()

    def step(what: str, work: Callable[[], object]) -> None:
        began = time.monotonic()
        work()
        seconds = time.monotonic() - began
        print(f"{what:44}{seconds:8.2f} s {own_memory() - begin:8.0f} MB more")

    out = folder / "out"
    step("read the table, write the folder", lambda: write_features(read_table(arrays), out))
    begin = own_memory()
    opened: dict[str, FeatureClips] = {}
    step("open the train split", lambda: opened.update(t=FeatureCollection(out).split("train")))
    train = opened["t"]
    config = parse_config({"data": {"name": "features", "folder": str(out)}, "batch_size": size})
    model = build_model(config.model, [], 10.0, 0, (width, width))
    inputs = inputs_of("train", train, model, ["eng"])
    batches = batches_of(config, train)
    steps = batches.steps_per_epoch
    fed = [inputs.feed(batches.epoch(epoch), 0, 1) for epoch in (0, 1)]
    step(f"gather an epoch: {steps:,} batches of {size}", lambda: sum(1 for _ in fed[0]))
    step("gather another one", lambda: sum(1 for _ in fed[1]))
    whole: dict[str, np.ndarray] = {}
    path = out / "train_audio.npy"
    step("rival: load the audio array whole", lambda: whole.update(a=np.load(path).astype("f4")))
    order = np.random.default_rng(0).permutation(len(train))
    parts = [order[at : at + size] for at in range(0, len(order) - size + 1, size)]
    step(
        "rival: gather its epoch, one array",
        lambda: [torch.from_numpy(whole["a"][rows]) for rows in parts],
    )


if __name__ == "__main__":
    main()
