"""The files of a run's folder: their names and how each is written. Nothing else knows them.

    config.json               the RunConfig
    events.jsonl              the events so far, one line each
    checkpoints/latest.json   while the run is not finished: which checkpoint is the last good one
    model/                    the best epoch's model
    ranks.npz                 ranks of the test split's queries
    result.json               written last: where it is, the run is finished

`supclap.record` writes them as a run goes; the platform's ledger reads them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from supclap.config import RunConfig
from supclap.events import Finished, Started

if TYPE_CHECKING:
    import numpy as np

CONFIG = "config.json"
EVENTS = "events.jsonl"
RESULT = "result.json"
RANKS = "ranks.npz"
MODEL = "model"
CHECKPOINTS, LATEST = "checkpoints", "latest.json"
POINTER = f"{CHECKPOINTS}/{LATEST}"
# Of the start, what the result repeats.
RECORDED = ("epochs", "workers", "code", "data", "made_with", "setup_seconds")


def config_file(config: RunConfig) -> bytes:
    """The content of config.json."""
    return (json.dumps(config.model_dump(mode="json"), indent=1) + "\n").encode()


def events_file(lines: Iterable[str]) -> bytes:
    """The content of events.jsonl; each line as `supclap.events.to_line` makes it."""
    return "".join(f"{line}\n" for line in lines).encode()


def ranks_file(ranks: Mapping[str, np.ndarray]) -> bytes:
    """The content of ranks.npz: arrays by name (`supclap.measurement.Measured.ranks`)."""
    import numpy as np

    packed = io.BytesIO()
    np.savez(packed, **ranks)  # type: ignore[arg-type]
    return packed.getvalue()


def result_file(started: Started, finished: Finished) -> bytes:
    """The content of result.json."""
    values: dict[str, Any] = asdict(finished) | {key: getattr(started, key) for key in RECORDED}
    return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()
