"""What MLflow shows of a cell, as a function of the ledger's events and nothing else.

Names: MLflow allows no ``@`` in a metric's name and draws one section of charts for what stands
before a ``/``. So ``val.t2a.R@1`` is shown as ``val/t2a.R_at_1``, and a group ``n/N=24`` as
``n/N_3d_24``: whatever else is not allowed by its number, so that no two names are alike. Metrics
of epochs stand under their own names, at the epoch's global step. What the run ends with (the best
epoch's figures, which the table shows) stands under ``final/``, so that it is never taken for the
last epoch's; what names no split is the test split's. It stands at step 0, whereupon MLflow draws
bars, one for each run, and no lines of one point.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supclap.events import EpochEnded, Event, Finished, Started
from supclap.run_files import ANEW, MODEL_INDEX
from supclap.storage import Folder
from supclap.stored import parse_values, read_content
from supclap_platform.ledger.known_table import KnownColumn, Numbers, in_text, row_of
from supclap_platform.ledger.records import Failure, Known, Result, State
from supclap_platform.mirror.stamps import Stamp

MOST_CHARACTERS = 6000  # of a parameter's value; MLflow keeps no more
SYSTEM = "system/"  # MLflow shows these on a page of their own
FINAL = "final/"
TABLE = "Table/"  # of a cell its value, of a row the mean over seeds
DIFFERENCE, STD, SEEDS = "Table difference/", "Table std/", "Table n/"  # of a row

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
MIRRORED = "mirrored"  # tag: how many events are there, and when the last was made
BELOW = "supclap.below"  # tag of a run below a parent: of which, whatever the parent's run is
DECLARED = "declared"  # tag: hash of the columns that the run shows
NO_MODEL = f"MLflow shows the run without it; {ANEW}"
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
class KeptModel:
    """The model of a finished cell, as its index describes it."""

    folder: Folder
    needs_code: bool  # of the user's


@dataclass(frozen=True)
class CellRecord:
    """What the ledger says of a cell at one moment."""

    cell: Known
    stamp: Stamp
    events: list[Event]
    failure: Failure | None
    early: bool  # a search has stopped it
    result: Result | None  # of a finished cell
    status: str
    began: int  # milliseconds since 1970
    ended: int
    model: KeptModel | None = None  # of a finished cell, where it is still to be logged
    model_gone: bool = False  # it was logged, and is kept no longer


def allowed(name: str) -> str:
    """A name as MLflow takes it of a metric: groups and an own method's metrics may have any name.

    MLflow takes letters, digits, ``_-. :`` and ``/``, this one where a path could have it.
    """
    known = re.sub(r"[^\w\-. :/]", _number, name.replace("@", "_at_"))
    if posixpath.normpath(f"of/{known}") == f"of/{known}" and known:
        return known
    return re.sub(r"/|(?<![^/])\.+(?![^/])", _number, known)


def _number(found: re.Match[str]) -> str:
    return "".join(f"_{ord(one):x}_" for one in found[0])


def kept_model(folder: Folder) -> KeptModel | None:
    """The model in a folder; None where there is none. Raises Damaged."""
    try:
        content = read_content(folder, MODEL_INDEX, NO_MODEL)
    except FileNotFoundError:
        return None
    values = parse_values(content, folder.uri_of(MODEL_INDEX), NO_MODEL)
    return KeptModel(folder, bool(values.get("parts")))


def metric_name(name: str) -> str:
    """The name in MLflow of a metric of an event."""
    section, _, rest = name.partition(".")
    return f"{allowed(section)}/{allowed(rest)}" if section and rest else allowed(name)


def final_name(name: str) -> str:
    """The name in MLflow of a figure that a run ends with; the test split's as the table has it."""
    return FINAL + allowed(name.removeprefix("test."))


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


def declared_name(section: str, column: KnownColumn) -> str:
    """The name in MLflow of a column's number."""
    return section + allowed(column.name)


def declared_of(record: CellRecord, columns: Iterable[KnownColumn]) -> list[MetricPoint]:
    """What a finished cell has of the columns of its group."""
    if record.result is None:
        return []
    found = []
    for column in columns:
        value = record.result.value(column.metric)
        if column.group == record.cell.group and value is not None:
            found.append(MetricPoint(declared_name(TABLE, column), float(value), record.ended, 0))
    return found


def row_values(numbers: Iterable[tuple[KnownColumn, Numbers]]) -> dict[str, float]:
    """A row's numbers by their names in MLflow, which shows every digit: they have ten."""
    found: dict[str, float] = {}
    for column, one in numbers:
        parts = {TABLE: one.mean, DIFFERENCE: one.difference, STD: one.std, SEEDS: float(one.n)}
        for section, value in parts.items():
            if value is not None:
                found[declared_name(section, column)] = float(f"{value:.10g}")
    return found


def milliseconds(event: Event) -> int:
    """When an event was made."""
    return round(event.time * 1000)


def params_of(config: Mapping[str, Any]) -> dict[str, str]:
    """A RunConfig, flattened to dotted keys; values as JSON, strings as they are.

    A value longer than MLflow keeps ends in ``…``; the whole is in the cell's config.json.
    """
    return {
        key: text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
        for key, text in in_text(config).items()
    }


def tags_of(
    cell: Known, started: Started | None, failure: Failure | None, early: bool = False
) -> dict[str, str]:
    """The tags by which a cell is found."""
    tags = {
        "variant": cell.variant,
        "row": row_of(cell),
        "seed": str(cell.seed),
        "signature": cell.signature,
    }
    if cell.group is not None:
        tags["group"] = cell.group
    if started is not None:
        tags |= {
            "code_version": started.code,
            "data_hash": started.data,
            "workers": str(started.workers),
            "parameters": str(started.parameters),
            **({"parameters_learned": str(started.learned)} if started.learned else {}),
            **started.made_with,
            **{f"ran_on.{name}": value for name, value in started.ran_on.items()},
        }
    if failure is not None:
        tags[ERROR] = failure.error[:MOST_CHARACTERS]
    if early:
        tags[EARLY] = "true"
    return tags


def cursor_of(times: Sequence[int]) -> str:
    """Marks how far a run is mirrored: how many events or lines, and when the last was made.

    Args:
        times: in milliseconds since 1970.
    """
    return f"{len(times)}:{times[-1] if times else 0}"


def mirrored(mark: str | None, times: Sequence[int]) -> int | None:
    """How many of the events a mark covers; None where it marks other events than these.

    Other events: the cell was discarded and began anew, so what MLflow has of it is history.
    """
    if mark is None:
        return 0
    count = marked(mark)
    return count if count <= len(times) and cursor_of(times[:count]) == mark else None


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
