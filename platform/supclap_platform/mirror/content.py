"""What MLflow shows of a cell, as a function of the ledger's events and nothing else.

Names: MLflow allows no ``@`` in a metric's name and draws one section of charts for what stands
before a ``/``. So ``val.t2a.R@1`` is shown as ``val/t2a.R_at_1``, and no two names alike. Metrics
of epochs stand under their own names, at the epoch's global step. What the run ends with (the best
epoch's figures, which the table shows) stands under ``final/``, so that it is never taken for the
last epoch's; what names no split is the test split's. It stands at step 0, whereupon MLflow draws
bars, one for each run, and no lines of one point.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from supclap.events import EpochEnded, Event, Finished, Started
from supclap.overrides import flat
from supclap_platform.ledger.records import Failure, Known, State

MOST_CHARACTERS = 6000  # of a parameter's value; MLflow keeps no more
SYSTEM = "system/"  # MLflow shows these on a page of their own
FINAL = "final/"

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
MIRRORED = "mirrored"  # tag: how many events are there, and when the last was made
MODEL = "model"  # tag: the logged model
ERROR = "error"  # tag: why the run failed
EARLY = "stopped_early"  # tag: by a search


@dataclass(frozen=True)
class MetricPoint:
    """A value of a metric. ``time`` in milliseconds since 1970."""

    name: str
    value: float
    time: int
    step: int


@dataclass(frozen=True)
class CellRecord:
    """What the ledger says of a cell at one moment."""

    cell: Known
    events: list[Event]
    failure: Failure | None
    early: bool  # a search has stopped it
    status: str
    began: int  # milliseconds since 1970
    ended: int


def metric_name(name: str) -> str:
    """The name in MLflow of a metric of an event."""
    section, dot, rest = name.replace("@", "_at_").partition(".")
    return f"{section}/{rest}" if dot else section


def final_name(name: str) -> str:
    """The name in MLflow of a figure that a run ends with; the test split's as the table has it."""
    return FINAL + name.removeprefix("test.").replace("@", "_at_")


def points_of(event: Event) -> list[MetricPoint]:
    """What is logged to MLflow of one event."""
    time = milliseconds(event)
    if isinstance(event, EpochEnded):
        values = {metric_name(name): value for name, value in event.metrics.items()}
        values |= {f"{SYSTEM}{name}": value for name, value in event.system.items()}
        values |= {"epoch": event.epoch, "seconds": event.seconds}
    elif isinstance(event, Finished):
        values = {final_name(name): value for name, value in event.metrics.items()}
        values |= {f"{FINAL}best_epoch": event.best_epoch, f"{FINAL}seconds": event.seconds}
        if event.peak_MB is not None:
            values[f"{FINAL}peak_MB"] = event.peak_MB
    else:
        return []
    step = 0 if isinstance(event, Finished) else event.step
    return [MetricPoint(name, float(value), time, step) for name, value in sorted(values.items())]


def milliseconds(event: Event) -> int:
    """When an event was made."""
    return round(event.time * 1000)


def params_of(config: Mapping[str, Any]) -> dict[str, str]:
    """A RunConfig, flattened to dotted keys; values as JSON, strings as they are.

    A value longer than MLflow keeps ends in ``…``; the whole is in the cell's config.json.
    """
    found: dict[str, str] = {}
    for key, value in flat(config).items():
        if value == {}:
            continue
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        found[key] = text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
    return found


def tags_of(
    cell: Known, started: Started | None, failure: Failure | None, early: bool = False
) -> dict[str, str]:
    """The tags by which a cell is found."""
    tags = {"variant": cell.variant, "seed": str(cell.seed), "signature": cell.signature}
    if cell.group is not None:
        tags["group"] = cell.group
    if started is not None:
        tags |= {
            "code_version": started.code,
            "data_hash": started.data,
            "workers": str(started.workers),
            "parameters": str(started.parameters),
            **started.made_with,
        }
    if failure is not None:
        tags[ERROR] = failure.error[:MOST_CHARACTERS]
    if early:
        tags[EARLY] = "true"
    return tags


def cursor(events: list[Event]) -> str:
    """Marks how far a run is mirrored: the number of events and when the last was made."""
    return f"{len(events)}:{milliseconds(events[-1]) if events else 0}"


def mirrored(mark: str | None, events: list[Event]) -> int | None:
    """How many of ``events`` a mark covers; None where it marks other events than these.

    Other events: the cell was discarded and began anew, so what MLflow has of it is history.
    """
    if mark is None:
        return 0
    count = marked(mark)
    return count if count <= len(events) and cursor(events[:count]) == mark else None


def marked(mark: str) -> int:
    """How many events a mark is of; more than there can be where it is no mark of ours."""
    count = mark.partition(":")[0]
    return int(count) if count.isdecimal() and len(count) < 16 else 2**53


def status_of(state: State, expected: bool) -> str:
    """The status of a cell's run. ``expected``: a living driver is going to (re)start it."""
    if state is State.DONE:
        return FINISHED
    if state is State.RUNNING:
        return RUNNING
    if state is State.FAILED:
        return FAILED
    return RUNNING if expected else KILLED
