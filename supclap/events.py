"""What a training run reports, in order: Started, then one EpochEnded per epoch, then Finished.

Metric names are flat and dotted: ``train.loss``, ``train.svr``, ``val.t2a.R@1``,
``test.a2t.mAP10``, ``drift.text``, ``radius.text.mean``. Percentages are 0 to 100.

``time`` is when an event was made, in seconds since 1970. It says nothing of the run's result, and
events that differ in it alone are equal.
"""

from __future__ import annotations

import json
import time as clock
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Started:
    """The run begins, or goes on from ``step`` (0 for a fresh one)."""

    config: dict[str, Any]
    code: str  # version of the code that the run depends on (`supclap.code`)
    data: str  # content hash of the collection
    workers: int  # now: those of the last attempt
    epochs: int
    steps_per_epoch: int
    parameters: int
    step: int = 0
    clips: int = 0  # trained on
    left_out: int = 0  # clips of the train split without a caption in the languages
    dropped: int = 0  # pairs that wait at the end of each epoch, others in every epoch
    noisy: int = 0  # clips that bear another clip's captions
    also: dict[str, str] = field(default_factory=dict)  # content hashes of further test sets' data
    # Content hashes of the frozen encoders, by their side: checkpoints do not hold their weights.
    frozen: dict[str, str] = field(default_factory=dict)
    # The modules behind ``code``, each with its hash; runs of earlier versions have noted none.
    modules: dict[str, str] = field(default_factory=dict)
    # Python, PyTorch, device (`supclap.version`): two that differ may still agree on the result.
    # And "workers" as in "1 + 2", where a run went on with another number of them.
    made_with: dict[str, str] = field(default_factory=dict, compare=False)
    # That data, model and loss took before this event, without what is made once and then kept
    # (`supclap.data.cache`). 0 where an earlier version did not note it.
    setup_seconds: float = field(default=0.0, compare=False)
    time: float = field(default_factory=clock.time, compare=False)
    kind: str = "started"


@dataclass(frozen=True)
class EpochEnded:
    """One epoch is trained, measured and checkpointed. ``epoch`` counts from 1."""

    epoch: int
    step: int
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)
    # What rank 0 used (`supclap.usage`): no part of the result either.
    system: dict[str, float] = field(default_factory=dict, compare=False)
    time: float = field(default_factory=clock.time, compare=False)
    kind: str = "epoch"


@dataclass(frozen=True)
class Finished:
    """The run is whole; ``metrics`` are those of ``best_epoch``, test split included."""

    best_epoch: int
    step: int
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)
    time: float = field(default_factory=clock.time, compare=False)
    # The most memory that rank 0 held, in MB (`supclap.usage`): no part of the result.
    peak_MB: float | None = field(default=None, compare=False)
    kind: str = "finished"


Event = Started | EpochEnded | Finished
# Last words of the metrics of retrieval of which a small value is the good one.
LOW = ("medR", "meanR", "MRV")
_KINDS: dict[str, type[Event]] = {"started": Started, "epoch": EpochEnded, "finished": Finished}


def to_line(event: Event) -> str:
    """One line of JSON, without the newline. Infinities and NaN keep their JavaScript names."""
    return json.dumps(asdict(event), ensure_ascii=False, sort_keys=True)


def from_line(line: str) -> Event:
    """The event that `to_line` wrote. What only another version of this package knows is left out,
    so that tables and figures of its runs can still be made."""
    values = json.loads(line)
    kind = _KINDS[values["kind"]]
    known = {one.name for one in fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in known})
