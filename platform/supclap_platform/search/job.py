"""What Ray Tune runs for one trial: its cells, one after another, reporting epoch by epoch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from supclap.events import EpochEnded, Event, Started
from supclap.user_code import parts_of
from supclap_platform.experiment.method import Configuration, Method
from supclap_platform.experiment.search import Objective
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.records import Result, State
from supclap_platform.running.attempt import run_cell
from supclap_platform.running.ending import Ending
from supclap_platform.running.place import Place, here
from supclap_platform.running.task import Task
from supclap_platform.search.trials import Trial, mean_values

BUSY_SECONDS = 2.0  # between looks at a cell that another process works on
BEGUN = "begun"  # the kind of a trial's first report: where it is
NODES = "nodes"  # in a trial's configuration: which it may be given
BACK_OFF = 1.0  # seconds before a crashed cell is tried again, doubled each time


@dataclass(frozen=True)
class Common:
    """What all trials of a search have in common. ``task`` has no cell of its own."""

    task: Task
    objectives: tuple[Objective, ...]


def config_of(trial: Trial, nodes: Mapping[str, str] | None = None) -> dict[str, str]:
    """A trial as Tune's configuration: texts, which Tune neither flattens nor resolves.

    Args:
        nodes: Ray's selector of the nodes that it may be given; None of an own Ray, whose only
            node nobody watches.
    """
    cells = [
        {
            "label": cell.label,
            "signature": cell.signature,
            "config": cell.method.stored(cell.config),
            "parts": parts_of(cell.config),
            "resources": cell.resources.model_dump(mode="json"),
        }
        for cell in trial.cells
    ]
    text = json.dumps({"number": trial.number, "cells": cells})
    return {"trial": text} | ({} if nodes is None else {NODES: json.dumps(nodes)})


def nodes_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Ray's selector of the nodes that a trial may be given; empty where it may have any."""
    return dict(json.loads(config.get(NODES, "{}")))


def run_trial(config: dict[str, Any], common: Common | None = None) -> None:
    """Tune's trainable. Reports: where it is, of a cluster whose nodes are watched; the number of
    each epoch and what the trial would be worth if it ended there; how it ended. It is stopped by
    SystemExit out of a report."""
    from ray import tune

    from supclap_platform.experiment.schema import Resources

    assert common is not None
    place = here() if NODES in config else Place()
    if place.node:
        tune.report({"kind": BEGUN, "step": -1, "value": None, **asdict(place)})
    common.task.load_code()  # before a configuration may name a part of it
    tasks = []
    for cell in json.loads(config["trial"])["cells"]:
        tasks.append(
            replace(
                common.task,
                label=cell["label"],
                signature=cell["signature"],
                config=cell["config"],
                code={**common.task.code, **cell["parts"]},
                resources=Resources.model_validate(cell["resources"]),
                nodes=nodes_of(config),
            )
        )
    ledger = open_ledger(common.task.storage)
    meter = Meter(common.objectives, common.task.method)
    for task in tasks:
        own = task.configuration()

        def report(event: Event, config: Configuration = own) -> None:
            value = meter.value(event, config)
            if isinstance(event, EpochEnded):
                step = len(meter.finished) * config.epochs + event.epoch
                tune.report({"kind": "epoch", "step": step, "value": value})

        if ledger.state(task.signature) is State.DONE:  # trained before: its events are read
            for event in ledger.events(task.signature):
                report(event)
        ending = _finished(task, ledger, report)
        if ending.kind == "stopped":
            return
        if ending.kind != "done":
            ending = replace(ending, node=ending.node or place.node)
            ended = {**asdict(ending), "signature": task.signature}
            tune.report({"kind": "failed", "step": -1, "value": None, **ended})
            return
        result = ledger.result(task.signature)
        assert result is not None
        meter.finished.append(result)
    tune.report({"kind": "finished", "step": -1, "value": None})


def _finished(task: Task, ledger: Ledger, report: Callable[[Event], None]) -> Ending:
    """Runs a cell until it is done or given up; waits where another process works on it."""
    attempts = 0
    while True:
        ending = run_cell(task, report)
        if ending.kind == "busy":
            while ledger.state(task.signature) is State.RUNNING:
                time.sleep(BUSY_SECONDS)
            continue
        if ending.kind == "crashed" and attempts < task.resources.max_failures:
            time.sleep(BACK_OFF * 2**attempts)
            attempts += 1
            continue
        return ending


class Meter:
    """What a trial is worth so far: the mean over finished seeds and the one at work.

    Of the one at work it is what its best epoch so far reports, as the cell would if it ended now.
    Trials are thus compared at equal seeds and epochs.
    """

    def __init__(self, objectives: Sequence[Objective], method: Method) -> None:
        self.objectives = objectives
        self._method = method
        self.finished: list[Result] = []
        self._best: EpochEnded | None = None
        self._seconds = 0.0

    def value(self, event: Event, config: Configuration) -> float | None:
        """The value of the first objective after an event; None where it is not reported yet."""
        if isinstance(event, Started):
            self._best, self._seconds = None, 0.0
        if not isinstance(event, EpochEnded):
            return None
        self._seconds += event.seconds
        name = self._method.watched(config)
        if (
            self._best is None
            or name is None
            or self._method.better(
                config, event.metrics.get(name, 0.0), self._best.metrics.get(name, 0.0)
            )
        ):
            self._best = event
        now = Result(
            signature="",
            metrics=self._best.metrics,
            seconds=self._seconds,
            best_epoch=self._best.epoch,
            step=event.step,
            epochs=event.epoch,
            workers=1,
            code="",
            data="",
        )
        results = [*self.finished, now]
        values = mean_values(results, self.objectives[:1], len(results))
        return None if values is None else values[0]


def curve(trial: Trial, ledger: Ledger, objectives: Sequence[Objective]) -> list[tuple[int, float]]:
    """The values that a finished trial would have reported, by step: from the ledger's events."""
    meter = Meter(objectives, trial.cells[0].method)
    found = []
    for cell in trial.cells:
        done = len(meter.finished) * cell.config.epochs
        for event in ledger.events(cell.signature):
            value = meter.value(event, cell.config)
            if isinstance(event, EpochEnded) and value is not None:
                found.append((done + event.epoch, value))
        result = ledger.result(cell.signature)
        if result is None:
            break
        meter.finished.append(result)
    return found
