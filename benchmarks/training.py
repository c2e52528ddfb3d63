"""What the training loop costs beyond the steps themselves, and what a second worker brings.

    python -m benchmarks.training             # about 4 minutes on 2 cores
    python -m benchmarks.training --rounds 3  # in two

Soundscenes and encoders are the defaults; an epoch is cut to 8 batches of 128 clips. The bare loop
is plain PyTorch on the same model, loss and optimizer, with inputs that lie ready in memory; `fit`
also prepares batches, averages diagnostics of drift and radius, checks for numbers that are not
finite, writes a checkpoint and records the epoch. Beside the time on the clock stands the
processor's: where others use the machine too, it is the steadier one.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
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

BATCHES = 8
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
    used: dict[str, list[float]] = {name: [] for name in rivals}
    clock = interleaved({name: _noting(call, used[name]) for name, call in rivals.items()}, rounds)
    used = {name: seconds[1:] for name, seconds in used.items()}  # the first round is a warm-up
    rows = []
    for name, seconds in clock.items():
        loop, loss = name.replace("fit", "bare loop"), name.replace("bi-DynamicSVR", "InfoNCE")
        ratios = [median_ratio(t, name, rival) for rival in (loop, loss) for t in (clock, used)]
        middle = statistics.median(seconds)
        shown = [f"{middle:.2f}", f"{BATCHES * 128 / middle:.0f}", *(f"{r:.3f}" for r in ratios)]
        rows.append([name, *shown])
    print(f"\nOne epoch of {BATCHES} batches of 128 clips, {rounds} rounds in turns, medians")
    heads = ["of bare loop", "processor", "of InfoNCE", "processor"]
    print_table(["", "s", "clips/s", *heads], rows)


def _noting(call: Callable[[], object], used: list[float]) -> Callable[[], object]:
    """The call, with its seconds of processor time appended to ``used``."""

    def noted() -> None:
        start = time.process_time()
        call()
        used.append(time.process_time() - start)

    return noted


def compare_workers(rounds: int, scratch: Path) -> None:
    """Speed-up by the clock, and by rank 0's processor time: what a free second core would give."""
    threads = torch.get_num_threads()
    clock: dict[str, list[float]] = {}
    used: dict[str, list[float]] = {}
    for number in range(-(-rounds // 3)):
        for name, workers, total in (
            ("1 worker, 1 thread", 1, 1),
            ("1 worker, 2 threads", 1, 2),
            ("2 workers, 1 thread each", 2, 2),
        ):
            torch.set_num_threads(total)
            place = str(scratch / f"{number}-{workers}-{total}")
            events = launch(config(4), place, workers)
            epochs = [event for event in events if isinstance(event, EpochEnded)]
            for epoch in epochs[1:]:  # the first one fills the features
                busy = epoch.system["cpu_percent"] / 100 / (total // workers)
                clock.setdefault(name, []).append(epoch.seconds)
                used.setdefault(name, []).append(epoch.seconds * busy)
    torch.set_num_threads(threads)
    rows = []
    for name, seconds in clock.items():
        row = [name, f"{statistics.median(seconds):.2f}"]
        for times in (clock, used):
            speed = statistics.median(times["1 worker, 1 thread"]) / statistics.median(times[name])
            cores = 1 if name == "1 worker, 1 thread" else 2
            row += [f"{speed:.2f}", f"{100 * speed / cores:.0f} %"]
        rows.append(row)
    print("\nThe same epoch, InfoNCE, medians over runs")
    print_table(["", "s", "speed-up", "efficiency", "by processor", "efficiency"], rows)


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
