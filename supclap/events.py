"""What a training run reports, in order: Started, then one EpochEnded per epoch, then Finished.

Metric names are flat and dotted: ``train.loss``, ``train.svr``, ``val.t2a.R@1``,
``test.a2t.mAP10``, ``drift_cosine.text``, ``radius.text.mean``. Percentages are 0 to 100.

``time`` is when an event was made, in seconds since 1970. It says nothing of the run's result, and
events that differ in it alone are equal.
"""

from __future__ import annotations

import json
import time as clock
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from supclap.stored import AGAIN, Count, Damaged, Duration, Positive, fault_of

# "Drift" rose where drift falls: what is measured is a cosine, and is called so.
EARLIER_NAMES = {f"drift.{side}": f"drift_cosine.{side}" for side in ("text", "audio")}


@dataclass(frozen=True)
class Started:
    """The run begins, or goes on from ``step`` (0 for a fresh one)."""

    config: dict[str, Any]
    code: str  # version of the code that the run depends on (`supclap.code`)
    data: str  # content hash of the collection
    workers: Positive  # now: those of the last attempt
    epochs: Positive
    steps_per_epoch: Positive
    parameters: Count
    step: Count = 0
    clips: Count = 0  # trained on
    left_out: Count = 0  # clips of the train split without a caption in the languages
    # Pairs that wait at the end of each epoch, others in every epoch. With a batch order of one's
    # own: those that the first epoch leaves out, and how often it takes one again.
    dropped: Count = 0
    repeated: Count = 0
    noisy: Count = 0  # clips that bear another clip's captions
    also: dict[str, str] = field(default_factory=dict)  # content hashes of further test sets' data
    # Content hashes of the frozen encoders, by their side: checkpoints do not hold their weights.
    frozen: dict[str, str] = field(default_factory=dict)
    # The modules behind ``code``, each with its hash; runs of earlier versions have noted none.
    modules: dict[str, str] = field(default_factory=dict)
    # The hash of the user's code that it needs (`supclap.user_code.travel`); "": it needs none.
    user_code: str = field(default="", compare=False)
    # Python, PyTorch, device (`supclap.version`): two that differ may still agree on the result.
    # And "workers" as in "1 + 2", where a run went on with another number of them.
    made_with: dict[str, str] = field(default_factory=dict, compare=False)
    # Host, device and process of rank 0 (`supclap.version`), of each all that the run has had.
    ran_on: dict[str, str] = field(default_factory=dict, compare=False)
    # That data, model and loss took before this event, without what is made once and then kept
    # (`supclap.data.cache`). 0 where an earlier version did not note it.
    setup_seconds: Duration = field(default=0.0, compare=False)
    learned: Count = 0  # of the parameters; 0 where an earlier version did not note it
    time: Duration = field(default_factory=clock.time, compare=False)
    kind: Literal["started"] = "started"


@dataclass(frozen=True)
class EpochEnded:
    """One epoch is trained, measured and checkpointed. ``epoch`` counts from 1."""

    epoch: Positive
    step: Count
    seconds: Duration
    metrics: dict[str, float] = field(default_factory=dict)
    # What rank 0 used (`supclap.usage`): no part of the result either.
    system: dict[str, float] = field(default_factory=dict, compare=False)
    time: Duration = field(default_factory=clock.time, compare=False)
    kind: Literal["epoch"] = "epoch"


@dataclass(frozen=True)
class Finished:
    """The run is whole; ``metrics`` are those of ``best_epoch``, test split included."""

    best_epoch: Positive
    step: Count
    seconds: Duration
    metrics: dict[str, float] = field(default_factory=dict)
    time: Duration = field(default_factory=clock.time, compare=False)
    # The most memory that rank 0 held, in MB (`supclap.usage`): no part of the result.
    peak_MB: float | None = field(default=None, compare=False)
    # What its allocator has held of a GPU at most; None without one.
    reserved_MB: float | None = field(default=None, compare=False)
    kind: Literal["finished"] = "finished"


Event = Started | EpochEnded | Finished
# Last words of the metrics of retrieval of which a small value is the good one.
LOW = ("medR", "meanR", "MRV")


def to_line(event: Event) -> str:
    """One line of JSON, without the newline. Infinities and NaN keep their JavaScript names."""
    return json.dumps(asdict(event), ensure_ascii=False, sort_keys=True)


def from_line(line: str, where: str = "an event", remedy: str = AGAIN) -> Event:
    """The event that `to_line` wrote. What only another version of this package knows is left out,
    so that tables and figures of its runs can still be made.

    Raises:
        Damaged: it is none; ``where`` and ``remedy`` are named.
    """
    try:
        event = _adapter().validate_json(line, strict=True)
    except ValidationError as error:
        raise Damaged(where, fault_of(error), remedy) from None
    if isinstance(event, Started) or not event.metrics.keys() & EARLIER_NAMES.keys():
        return event
    return replace(event, metrics=current_names(event.metrics))


def current_name(metric: str) -> str:
    """The name of a metric today, where an earlier version called it otherwise."""
    return EARLIER_NAMES.get(metric, metric)


def first_name(metric: str) -> str:
    """The name that a metric had at first: what is filed under it is still found."""
    return next((first for first, today in EARLIER_NAMES.items() if today == metric), metric)


def current_names(metrics: dict[str, float]) -> dict[str, float]:
    """Metrics of any version under their names of today."""
    return {current_name(name): value for name, value in metrics.items()}


def from_lines(content: bytes, where: str, remedy: str = AGAIN) -> list[Event]:
    """The events of a file, a line each; one that is still being written is left out.

    Raises Damaged, naming the line.
    """
    lines = content.decode("utf-8", errors="replace").split("\n")[:-1]
    return [from_line(line, f"{where}, line {at}", remedy) for at, line in enumerate(lines, 1)]


@cache
def _adapter() -> TypeAdapter[Event]:
    return TypeAdapter(Annotated[Event, Field(discriminator="kind")])
