"""Clips per second of the input path, against the usual ways to read the same clips.

    python -m benchmarks.input [--clips 400] [--seconds 10] [--collection FOLDER --split NAME]

The same clips lie on disk in every form: the prepared Arrow collection, 16 kHz mono WAV and FLAC
files, and webdataset shards of both. Every way gives float32 batches of equal size; the first four
in an order shuffled anew each epoch, webdataset in its shards' order, which is what it is for. All
files are in the page cache: what is measured is the work per clip, not the disk. Each figure is the
median over ``--repeats`` epochs; the ways take turns, so that a busy machine slows them alike.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
import webdataset
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.machine import describe
from supclap.data.clips import Clip, Clips, Collection, write_split
from supclap.data.reading import RandomCrop, prefetch, read_batch

RATE = 16_000
Epoch = Callable[[int], Iterator[Tensor]]  # the number of the epoch -> its batches


class SoundFiles(Dataset):
    """The plain way: one file per clip, decoded when it is asked for."""

    def __init__(self, files: list[Path], samples: int) -> None:
        self.files = files
        self.samples = samples

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> Tensor:
        return fitted(soundfile.read(self.files[row], dtype="float32")[0], self.samples)


def fitted(sound: np.ndarray, samples: int) -> Tensor:
    """(any,) float32 -> (samples,), cut at a random place or padded."""
    start = np.random.randint(len(sound) - samples + 1) if len(sound) > samples else 0
    result = np.zeros(samples, np.float32)
    part = sound[start : start + samples]
    result[: len(part)] = part
    return torch.from_numpy(result)


class Decoder:
    """What webdataset calls for each sample: (samples,) from the bytes of a sound file."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __call__(self, sample: dict) -> Tensor:
        content = sample.get("wav") or sample["flac"]
        return fitted(soundfile.read(io.BytesIO(content), dtype="float32")[0], self.samples)


def prepared(clips: Clips, batch: int, samples: int, ahead: bool) -> Epoch:
    def epoch(number: int) -> Iterator[Tensor]:
        order = np.random.default_rng(number).permutation(len(clips))
        crop = RandomCrop(0, number)
        parts = (order[at : at + batch] for at in range(0, len(order), batch))
        batches = (read_batch(clips, rows, samples, crop) for rows in parts)
        return prefetch(batches) if ahead else batches

    return epoch


def plain(files: list[Path], batch: int, samples: int, workers: int) -> Epoch:
    loader = DataLoader(
        SoundFiles(files, samples),
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return lambda number: iter(loader)


def shards(pattern: list[str], batch: int, samples: int, workers: int) -> Epoch:
    data = webdataset.WebDataset(pattern, shardshuffle=False).map(Decoder(samples))
    loader = DataLoader(
        data.batched(batch, collation_fn=torch.stack),
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return lambda number: iter(loader)


def noises(count: int, seconds: float) -> Iterator[Clip]:
    """Coloured noise with a slow envelope: FLAC compresses it about as well as field recordings."""
    rng = np.random.default_rng(0)
    for number in range(count):
        white = rng.standard_normal(round(seconds * RATE))
        sound = np.convolve(white, np.hanning(8), mode="same")
        sound *= 0.02 + 0.1 * np.abs(np.sin(np.linspace(0, 7, len(sound)) + number))
        yield Clip(f"{number:06d}", (sound * 32767 / 4).astype(np.int16))


def write_files(clips: Clips, folder: Path, suffix: str) -> list[Path]:
    files: list[Path] = []
    for clip in clips:
        files.append(folder / f"{len(files):06d}.{suffix}")
        soundfile.write(files[-1], clip.audio, RATE, subtype="PCM_16")
    return files


def write_shards(files: list[Path], folder: Path, count: int) -> list[str]:
    """webdataset's tar files. As many as workers at least, or some of them would idle."""
    paths = []
    for number in range(count):
        paths.append(str(folder / f"{files[0].suffix[1:]}-{number}.tar"))
        with tarfile.open(paths[-1], "w") as tar:
            for file in files[number::count]:
                tar.add(file, file.name)
    return paths


def clips_per_second(epoch: Epoch, number: int) -> float:
    start = time.perf_counter()
    seen = sum(len(batch) for batch in epoch(number))
    return seen / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description="Clips per second of the input path.")
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--crop", type=float, help="length of a batch's lines; default: --seconds")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--collection", type=Path, help="a prepared collection instead of noise")
    parser.add_argument("--split", default="train")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.collection is None:
            write_split(folder, "noise", options.split, noises(options.clips, options.seconds))
        clips = Collection(options.collection or folder).split(options.split)
        run(clips, folder, options)


def run(clips: Clips, folder: Path, options: argparse.Namespace) -> None:
    samples, batch = round((options.crop or options.seconds) * RATE), options.batch
    wav, flac = (write_files(clips, folder, suffix) for suffix in ("wav", "flac"))
    tars = {
        suffix: write_shards(files, folder, 4) for suffix, files in (("wav", wav), ("flac", flac))
    }
    ways: dict[str, Epoch] = {
        "supclap, in the loop": prepared(clips, batch, samples, ahead=False),
        "supclap, one thread ahead": prepared(clips, batch, samples, ahead=True),
    }
    for workers in (0, 2):
        for suffix, files in (("wav", wav), ("flac", flac)):
            ways[f"soundfile + DataLoader, {suffix}, {workers} workers"] = plain(
                files, batch, samples, workers
            )
            ways[f"webdataset + DataLoader, {suffix}, {workers} workers"] = shards(
                tars[suffix], batch, samples, workers
            )
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(options.repeats + 1):
        for way, epoch in ways.items():
            speed = clips_per_second(epoch, number)
            if number:  # the first epoch starts workers and warms caches
                speeds[way].append(speed)
    print(describe())
    minutes = clips.lengths.sum() / RATE / 60
    print(
        f"{len(clips)} clips, {minutes:.0f} min; batches of {batch} x {samples / RATE:g} s; "
        f"median of {options.repeats} epochs"
    )
    ours = statistics.median(speeds["supclap, in the loop"])
    print(f"\n{'way':<48}{'clips/s':>10}{'range':>18}{'supclap is':>13}")
    for way, found in speeds.items():
        middle = statistics.median(found)
        spread = f"{min(found):,.0f}-{max(found):,.0f}"
        print(f"{way:<48}{middle:>10,.0f}{spread:>18}{ours / middle:>12.1f}x")


if __name__ == "__main__":
    main()
