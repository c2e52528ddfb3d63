"""A grid so small that its cells take seconds, and `supclap` run on it as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import IO

from supclap_platform.ledger.ledger import open_ledger
from tiny_run import make_collection
from waiting import PATIENCE

SUPCLAP = [sys.executable, "-c", "from supclap_platform.cli import main; main()"]

FILE = """
experiment: tiny
base:
  data: {{name: collection, folder: {collection}, seconds: 0.5}}
  model:
    audio: {{name: cnn, width: 8, layers: 2}}
    text: {{name: transformer, width: 32, layers: 1, vocabulary: 300}}
    dim: 16
  epochs: {epochs}
  batch_size: 8
variants:
  InfoNCE: {{}}
  bi-DynamicSVR: {{loss.svr: {{sides: both, radius: dynamic}}}}
seeds: {seeds}
resources: {{max_failures: {max_failures}}}
table: {{columns: [t2a.R@1, a2t.mAP10, radius.text.mean]}}
"""


def write_experiment(
    folder: Path, epochs: int = 2, seeds: int = 2, max_failures: int = 2, more: str = ""
) -> Path:
    """An experiment file on a tiny collection beside it, which is made where it is not yet."""
    collection = folder / "tones"
    if not collection.exists():
        make_collection(collection)
    path = folder / "tiny.yaml"
    quoted = json.dumps(str(collection), ensure_ascii=False)
    text = FILE.format(collection=quoted, epochs=epochs, seeds=seeds, max_failures=max_failures)
    path.write_text(text + more, encoding="utf-8")
    return path


def environment() -> dict[str, str]:
    """Of a `supclap` process: no color, and no store but the storage's own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "SUPCLAP_ST"))}
    return {**kept, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}


def start(*arguments: str | Path, out: IO[str] | None = None) -> subprocess.Popen[str]:
    """`supclap` with these arguments, as a process with its output in one pipe, or in a file: a
    pipe that nobody reads is full some time, and stops who writes."""
    return subprocess.Popen(
        [*SUPCLAP, *map(str, arguments)],
        stdout=subprocess.PIPE if out is None else out,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        # A shell that starts the tests in the background has Ctrl-C ignored in all its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def supclap(*arguments: str | Path, seconds: float = PATIENCE) -> tuple[int, str]:
    """Runs `supclap` to its end: exit code and output."""
    process = start(*arguments)
    try:
        output, _ = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, output


def attempts(storage: Path) -> dict[str, int]:
    """How often each cell was begun, by signature, as its logs say."""
    begun: Counter[str] = Counter()
    for log in (storage / "cells").glob("*/*/log*.txt"):
        begun[log.parents[1].name] += log.read_text().count("UTC, ")
    return dict(begun)


def claimed(storage: str | Path) -> list[str]:
    """The cells that some live process holds."""
    return sorted(open_ledger(storage).overview().leases)
