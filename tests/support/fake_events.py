"""Cells that tell of their epochs without training, and what a store should then show of them."""

import json
from typing import Any

from supclap_platform.experiment.cells import Cell
from supclap_platform.ledger.ledger import Ledger

from supclap.events import EpochEnded, Event, Finished, Started, to_line

BEGIN = 1_790_000_000.0  # seconds since 1970; cell after cell begins a minute later
CODE, DATA = "c0de" * 3, "da7a" * 4


def told(
    cell: Cell, epochs: int, place: int = 0, finished: bool = False, begin: float = BEGIN
) -> list[Event]:
    """The events of a run after so many epochs."""
    begin += 60 * place
    events: list[Event] = [
        Started(
            config=cell.config.model_dump(mode="json"),
            code=CODE,
            data=DATA,
            workers=1,
            epochs=cell.config.epochs,
            steps_per_epoch=10,
            parameters=1234,
            clips=1500,
            made_with={"torch": "9.9", "device": "CPU"},
            time=begin,
        )
    ]
    for epoch in range(1, epochs + 1):
        metrics = {
            "train.loss": 4 / epoch + place,
            "train.base": 3 / epoch + cell.seed,
            "val.t2a.R@1": 10.0 * epoch + place,
            "drift.text": 0.1 * epoch,
            "radius.text.mean": float("nan") if epoch == 1 else 0.5,
        }
        system = {"cpu_percent": 90.0 + epoch, "memory_megabytes": 512.0}
        events.append(EpochEnded(epoch, 10 * epoch, 1.25, metrics, system, begin + 10 * epoch))
    if finished:
        metrics = {"test.t2a.R@1": 30.0 + place, "test.a2t.mAP10": 20.0, "val.t2a.R@1": 20.0}
        end = begin + 10 * epochs + 5
        events.append(Finished(epochs, 10 * epochs, 2.5, metrics, end, peak_MB=700.5))
    return events


def write(ledger: Ledger, cell: Cell, events: list[Event]) -> None:
    """Leaves in a cell's folder what `supclap.training.fit` does, the result last."""
    folder = ledger.folder(cell.signature)
    folder.write("events.jsonl", "".join(f"{to_line(event)}\n" for event in events).encode())
    last = events[-1]
    if isinstance(last, Finished):
        result = {
            "best_epoch": last.best_epoch,
            "step": last.step,
            "seconds": last.seconds,
            "metrics": last.metrics,
            "epochs": cell.config.epochs,
            "workers": 1,
            "code": CODE,
            "data": DATA,
        }
        folder.write("result.json", json.dumps(result).encode())


def histories(ledger: Ledger, signature: str) -> dict[str, list[tuple[int, float, int]]]:
    """name -> (step, value, milliseconds) of each point, derived from the file's JSON alone."""
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
            values["final/best_epoch"] = event["best_epoch"]
            values["final/seconds"] = event["seconds"]
            if event["peak_MB"] is not None:
                values["final/peak_MB"] = event["peak_MB"]
        for name, value in values.items():
            step = 0 if event["kind"] == "finished" else event["step"]
            point = (step, float(value), round(event["time"] * 1000))
            found.setdefault(name, []).append(point)
    return found
