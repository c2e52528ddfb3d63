"""What the training loop costs beyond the steps themselves, and what a second worker brings.

    python -m benchmarks.training             # about 3 minutes on 2 cores
    python -m benchmarks.training --rounds 3  # in one

Soundscenes and encoders are the defaults; an epoch is cut to 4 batches of 128 clips. The bare loop
is plain PyTorch on the same model, loss and optimizer, with inputs that lie ready in memory; `fit`
also prepares batches, averages diagnostics of drift and radius, checks for numbers that are not
finite, writes a checkpoint and records the epoch.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe, interleaved, median_ratio, print_table
from supclap.batches import Batches
from supclap.config import RunConfig, parse_config
from supclap.data import open_data
from supclap.events import EpochEnded
from supclap.inputs import Inputs
from supclap.launcher import launch
from supclap.losses import build_loss
from supclap.model.clap import build_model
from supclap.storage import Folder
from supclap.training import fit

BATCHES = 4
SVR = {"sides": "both", "radius": "dynamic"}


def config(epochs: int, svr: dict[str, str] | None = None) -> RunConfig:
    """The default run without measuring: training alone is timed."""
    values: dict[str, Any] = {
        "data": {"limit": BATCHES * 128, "val": None, "test": None},
        "select": {"split": "last"},
        "loss": {"svr": svr},
        "epochs": epochs,
    }
    return parse_config(values)


def fitting(run: RunConfig, place: Path) -> Callable[[], object]:
    """Each call trains one epoch of `fit`."""
    stream = fit(run, Folder.at(place))
    next(stream)
    return lambda: next(stream)


def bare(run: RunConfig) -> Callable[[], object]:
    """Each call trains one epoch of the loop that anyone would write."""
    train = open_data(run.data).split("train")
    words = [c.text for captions in train.captions for c in captions if c.language == "eng"]
    model = build_model(run.model, words, 2.0, run.seed)
    loss = build_loss(run.loss, run.batch_size)
    parameters = [*model.parameters(), *loss.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=run.optimizer.lr, fused=True)
    batches = Batches(train.captions, ["eng"], run.batch_size, run.seed, limit=run.data.limit)
    inputs = Inputs("train", train, model, ["eng"])
    ready = [fed for _, fed in inputs.feed(batches.epoch(0), 0, 1)]

    def epoch() -> None:
        model.train()
        for audio, text in ready:
            optimizer.zero_grad()
            loss(*model(audio, text, level="features")).total.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()

    return epoch


def compare_loops(rounds: int, scratch: Path) -> None:
    epochs = rounds + 1
    rivals = {
        "bare loop, InfoNCE": bare(config(epochs)),
        "fit, InfoNCE": fitting(config(epochs), scratch / "infonce"),
        "bare loop, bi-DynamicSVR": bare(config(epochs, SVR)),
        "fit, bi-DynamicSVR": fitting(config(epochs, SVR), scratch / "svr"),
    }
    times = interleaved(rivals, rounds)
    rows = [
        [
            name,
            f"{statistics.median(seconds):.2f}",
            f"{BATCHES * 128 / statistics.median(seconds):.0f}",
            f"{median_ratio(times, name, name.replace('fit', 'bare loop')):.3f}",
            f"{median_ratio(times, name, name.replace('bi-DynamicSVR', 'InfoNCE')):.3f}",
        ]
        for name, seconds in times.items()
    ]
    print(f"\nOne epoch of {BATCHES} batches of 128 clips, {rounds} rounds in turns, medians")
    print_table(["", "s", "clips/s", "of the bare loop", "of InfoNCE"], rows)


def compare_workers(rounds: int, scratch: Path) -> None:
    threads = torch.get_num_threads()
    times: dict[str, list[float]] = {}
    for number in range(-(-rounds // 3)):
        for name, workers, total in (
            ("1 worker, 1 thread", 1, 1),
            ("1 worker, 2 threads", 1, 2),
            ("2 workers, 1 thread each", 2, 2),
        ):
            torch.set_num_threads(total)
            place = str(scratch / f"{number}-{workers}-{total}")
            events = launch(config(4), place, workers)
            epochs = [event.seconds for event in events if isinstance(event, EpochEnded)]
            times.setdefault(name, []).extend(epochs[1:])  # the first one fills the features
    torch.set_num_threads(threads)
    alone = statistics.median(times["1 worker, 1 thread"])
    rows = []
    for name, seconds in times.items():
        speed = alone / statistics.median(seconds)
        cores = 1 if name == "1 worker, 1 thread" else 2
        share = f"{100 * speed / cores:.0f} %"
        rows.append([name, f"{statistics.median(seconds):.2f}", f"{speed:.2f}", share])
    print("\nThe same epoch, InfoNCE, medians over runs")
    print_table(["", "s", "speed-up", "efficiency"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print(describe())
    with tempfile.TemporaryDirectory(prefix="supclap-benchmark-") as scratch:
        compare_loops(rounds, Path(scratch))
        compare_workers(rounds, Path(scratch))


if __name__ == "__main__":
    main()
