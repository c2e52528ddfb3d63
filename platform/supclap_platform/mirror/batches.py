"""What is logged to MLflow at once, each call with the mark that is true once it is done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from supclap.events import Event, Started
from supclap_platform.ledger.journal import Line
from supclap_platform.mirror.content import MetricPoint, cursor_of, milliseconds, points_of
from supclap_platform.mirror.stored_run import METRICS

Batch = tuple[list[MetricPoint], str | None]


def batches(events: Sequence[Event], done: int) -> list[Batch]:
    """The points of the events after the first ``done``, in calls that MLflow takes, each with the
    mark that is true once it is logged (None: in the midst of an event)."""
    found: list[Batch] = []
    times = [milliseconds(event) for event in events]
    points: list[MetricPoint] = []
    for at in range(done, len(events)):
        new = points_of(events[at])
        if points and len(points) + len(new) > METRICS:
            found.append((points, cursor_of(times[:at])))
            points = []
        points += new
        while len(points) > METRICS:
            found.append((points[:METRICS], None))
            points = points[METRICS:]
    if done < len(events):
        found.append((points, cursor_of(times)))
    return found


def line_points(
    lines: Sequence[Line], done: int, began: int
) -> Iterator[tuple[list[MetricPoint], str]]:
    """The points of a journal's lines after the first ``done``, by the seconds since ``began``."""
    times = [line.time for line in lines]
    points: list[MetricPoint] = []
    for at in range(done, len(lines)):
        line = lines[at]
        if points and len(points) + len(line.values) > METRICS:
            yield points, cursor_of(times[:at])
            points = []
        step = max(0, line.time - began) // 1000
        points += [MetricPoint(n, float(v), line.time, step) for n, v in line.values.items()]
    yield points, cursor_of(times)


def data_set(started: Started) -> Any:
    """The data set input: its name, and the content hash as its digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = started.config.get("data", {})
    name = Path(data["folder"]).name if data.get("folder") else str(data.get("name", "data"))
    source = json.dumps(data, ensure_ascii=False, sort_keys=True)
    profile = json.dumps({"clips": started.clips, "left_out": started.left_out})
    return DatasetInput(
        Dataset(name, started.data[:36], "supclap", source, profile=profile),
        [InputTag("mlflow.data.context", "training")],
    )
