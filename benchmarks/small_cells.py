"""Where the time of a small cell goes: frozen encoders, heads trained, as in the profile `heads`.

    python -m benchmarks.small_cells                    # half a minute, once the scenes are made
    python -m benchmarks.small_cells --laptop           # and one cell of the laptop profile beside

Aim: a cell of Table 3 takes at most a tenth of the laptop profile's time, all costs in, and two
cores run 1,000 such cells an hour, which is 7.2 s of processor time a cell. All figures are of
processor time, so that other work on the machine does not count. The cells run one after the other
in this process, as they do in a worker of Ray; they start from a fresh model in the place of a
trained stage, which changes no time.
"""

from __future__ import annotations

import argparse
import importlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.history import Histories
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.mirror.mirror import Mirror
from supclap_platform.mirror.store import choose_store
from supclap_platform.running.attempt import run_cell
from supclap_platform.running.task import task_of

from benchmarks.machine import describe, print_table
from supclap.config import ModelConfig
from supclap.model.clap import build_model

PROCESSOR_SECONDS = 7.2  # of a cell, for 1,000 of them an hour on two cores
SHARE = 0.1  # of the time of a laptop cell
FILE = """
experiment: small-cells
base:
  data: {{name: soundscenes, clips: {clips}}}
  model: {{audio: {{name: cnn, width: 16}}}}
  batch_size: 24
  epochs: 4
  optimizer: {{lr: 3.0e-4}}
variants:
  InfoNCE: {{}}
  bi-StaticSVR: {{loss.svr: {{sides: both, radius: static}}}}
  bi-DynamicSVR: {{loss.svr: {{sides: both, radius: dynamic}}}}
seeds: {seeds}
profiles:
  heads:
    base:
      model: {{audio.freeze: true, text.freeze: true, start: {start}}}
      epochs: {epochs}
      optimizer.lr: 1.0e-3
"""
# A stage of a cell -> the functions that are it; of one within another the inner one counts.
STAGES = {
    "code compared, ledger, lease": ("supclap_platform.running.attempt:_checked_ledger",),
    "data opened": (
        "supclap.training:open_data",
        "supclap.training:choose_sets",
        "supclap.training:batches_of",
    ),
    "model built": (
        "supclap.training:_model",
        "supclap.training:_loss",
        "supclap.training:build_optimizer",
    ),
    "inputs of the heads": (
        "supclap.training:inputs_of",
        "supclap.training:open_held_out",
        "supclap.training:frozen_hashes",
    ),
    "steps": ("supclap.step:Step.__call__",),
    "their drift and radii": ("supclap.step:Step._diagnose",),
    "val, after each epoch": ("supclap.training:measure_retrieval",),
    "test, shifted, zero-shot": ("supclap.training:measure_at_the_end",),
    "checkpoints": (
        "supclap.checkpoint:Checkpoints.save",
        "supclap.checkpoint:Checkpoints.load",
    ),
    "results and events": (
        "supclap.record:Record.begin",
        "supclap.record:Record.write_events",
        "supclap.record:Record.finish",
    ),
}
REST = "the rest of the loop"


def main() -> None:
    """Prints what a process, each stage of a cell and MLflow take, and both aims."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clips", type=int, default=2000, help="of the train split")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--laptop", action="store_true", help="train a whole cell too")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    print(f"{describe()}\n")
    with tempfile.TemporaryDirectory() as place:
        measure(Path(place), given.clips, given.epochs, given.seeds, given.laptop)


def measure(place: Path, clips: int, epochs: int, seeds: int, laptop: bool) -> None:
    """Runs the cells below ``place`` and prints the tables."""
    start = place / "start"
    config = ModelConfig.model_validate({"audio": {"name": "cnn", "width": 16}})
    build_model(config, ["a dog barks", "rain falls"], 2.0, 0).save(start)
    path = place / "small.yaml"
    text = FILE.format(clips=clips, epochs=epochs, seeds=seeds, start=start)
    path.write_text(text, encoding="utf-8")
    ledger = open_ledger(place / "storage")
    experiment = load_experiment(path, "heads")
    cells = _planned(experiment, ledger)
    first = _trained([cells[0]], ledger)  # with what a process and a data set need once
    mirror = _mirror(experiment, cells, ledger)
    opened = _seconds(mirror.catch_up)
    found = _trained(cells, ledger, anew=cells[0])
    shown = _seconds(mirror.catch_up) / len(cells)

    print("once, for a process of Ray, the driver or a data set (seconds of the processor)")
    once = {
        "a process starts and imports": _imports(),
        "its first cell, beyond the others": first[0].whole - found[0].whole,
        "MLflow is imported, its store made": opened,
    }
    print_table(["", "s"], [[name, f"{seconds:.2f}"] for name, seconds in once.items()])
    print(f"\neach cell: {clips} clips, {epochs} epochs of heads")
    names = [cell.variant for cell in cells[: len(found) // seeds or 1]]
    rows = [
        [stage, *(f"{one.stages.get(stage, 0.0):.2f}" for one in found)]
        for stage in [*STAGES, REST]
    ]
    rows.append(["MLflow", *(f"{shown:.2f}" for _ in found)])
    whole = [one.whole + shown for one in found]
    rows.append(["all", *(f"{seconds:.2f}" for seconds in whole)])
    print_table(["", *(cell.label for cell in cells)], rows)
    mean = sum(whole) / len(whole)
    print(f"\nmean {mean:.2f} s; aim: at most {PROCESSOR_SECONDS} s ({', '.join(names)})")
    if laptop:
        other = _planned(load_experiment(path), ledger)[0]
        seconds = _trained([other], ledger)[0].whole
        print(
            f"a laptop cell: {seconds:.2f} s; of heads {mean / seconds:.2f} of it, "
            f"aim at most {SHARE:.2f}"
        )


@dataclass
class Stages:
    """Seconds of one cell: of all of it, and of each stage without those within it."""

    whole: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)


def _trained(cells: list[Cell], ledger: Ledger, anew: Cell | None = None) -> list[Stages]:
    """Trains cells one after the other; ``anew``: one that has finished, and is to run again."""
    found = []
    for cell in cells:
        if anew is not None and cell.signature == anew.signature:
            ledger.discard(cell.signature)
        with _watched() as stages:
            began = time.process_time()
            ending = run_cell(task_of(cell, ledger, "small-cells"))
            stages.whole = time.process_time() - began
        if ending.kind != "done":
            raise SystemExit(f"{cell.label}: {ending.error}")
        stages.stages[REST] = stages.whole - sum(stages.stages.values())
        found.append(stages)
    return found


@contextmanager
def _watched() -> Iterator[Stages]:
    """Adds up what the functions of `STAGES` take while it is open."""
    stages = Stages()
    inner = [0.0]  # what the calls within each open call have taken

    def watching(stage: str, function: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            began = time.process_time()
            inner.append(0.0)
            try:
                return function(*args, **more)
            finally:
                spent = time.process_time() - began
                stages.stages[stage] = stages.stages.get(stage, 0.0) + spent - inner.pop()
                inner[-1] += spent

        return call

    with ExitStack() as patched:
        for stage, names in STAGES.items():
            for name in names:
                module, _, attribute = name.partition(":")
                *owner, last = attribute.split(".")
                target: Any = importlib.import_module(module)
                for part in owner:
                    target = getattr(target, part)
                wrapped = watching(stage, getattr(target, last))
                patched.enter_context(patch.object(target, last, wrapped))
        yield stages


def _planned(experiment: Experiment, ledger: Ledger) -> list[Cell]:
    plan = make_plan(experiment, ledger)
    remember(plan, ledger)
    return cells_of(experiment)


def _mirror(experiment: Experiment, cells: list[Cell], ledger: Ledger) -> Mirror:
    store = choose_store(None, ledger.storage)
    assert store is not None
    return Mirror(ledger, store, Histories(ledger).begin(experiment, cells), driving=True)


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def _imports() -> float:
    """Seconds of the processor that a new process takes until it could train."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    load = "import ray, supclap_platform.running.attempt, supclap.training, torch._dynamo"
    subprocess.run([sys.executable, "-c", load], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


if __name__ == "__main__":
    main()
