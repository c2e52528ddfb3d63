"""Runs with known figures for a tracking store, and what the store should then show of them."""

import json
from collections.abc import Sequence
from typing import Any

from supclap_platform.experiment.cells import Cell
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.testing import BEGIN, events_of

from supclap.events import Event


def reported(
    cell: Cell, epochs: int, place: int = 0, finished: bool = False, begin: float = BEGIN
) -> list[Event]:
    """The events of a run after so many epochs; cell after cell begins a minute later."""
    of_epochs = [
        {
            "train.loss": 4 / epoch + place,
            "train.base": 3 / epoch + cell.seed,
            "val.t2a.R@1": 10.0 * epoch + place,
            "drift_cosine.text": 0.1 * epoch,
            "radius.text.mean": float("nan") if epoch == 1 else 0.5,
        }
        for epoch in range(1, epochs + 1)
    ]
    metrics = {"test.t2a.R@1": 30.0 + place, "test.a2t.mAP10": 20.0, "val.t2a.R@1": 20.0}
    return events_of(cell, of_epochs, metrics if finished else None, begin=begin + 60 * place)


def histories(
    ledger: Ledger, signature: str, columns: Sequence[str] = ()
) -> dict[str, list[tuple[int, float, int]]]:
    """name -> (step, value, milliseconds) of each point, derived from the file's JSON alone.

    Args:
        columns: metrics that the experiment's table has, those of the test split without it.
    """
    found: dict[str, list[tuple[int, float, int]]] = {}
    for line in ledger.folder(signature).read("events.jsonl").decode().splitlines():
        event: dict[str, Any] = json.loads(line)
        values: dict[str, float] = {}
        if event["kind"] == "epoch":
            for name, value in event["metrics"].items():
                values[name.replace(".", "/", 1).replace("@", "_at_")] = value
            for name, value in event["system"].items():
                values["system/" + name] = value
            values["epoch"], values["seconds"] = event["epoch"], event["seconds"]
        if event["kind"] == "finished":
            for name, value in event["metrics"].items():
                values["final/" + name.replace("test.", "").replace("@", "_at_")] = value
            for name in columns:
                full = name if name in event["metrics"] else "test." + name
                if full in event["metrics"]:  # a row without SVR has no radius
                    values["Table/" + name.replace("@", "_at_")] = event["metrics"][full]
            values["final/best_epoch"] = event["best_epoch"]
            values["final/seconds"] = event["seconds"]
            if event["peak_MB"] is not None:
                values["final/peak_MB"] = event["peak_MB"]
        for name, value in values.items():
            step = 0 if event["kind"] == "finished" else event["step"]
            point = (step, float(value), round(event["time"] * 1000))
            found.setdefault(name, []).append(point)
    return found
