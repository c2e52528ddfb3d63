"""Finished cells without training: what `supclap.training.fit` leaves in a cell's folder."""

import json

from supclap_platform.experiment.cells import Cell
from supclap_platform.ledger.ledger import Ledger

from supclap.events import EpochEnded, to_line

TEN_SECONDS = 10.0


def finish(
    ledger: Ledger,
    cell: Cell,
    metrics: dict[str, float],
    code: str = "code-a",
    data: str = "data-a",
    seconds: float = TEN_SECONDS,
) -> None:
    """Writes a cell's result as the training loop does, last of all its files."""
    folder = ledger.folder(cell.signature)
    folder.write("config.json", json.dumps(cell.config.model_dump(mode="json")).encode())
    end_epochs(ledger, cell, cell.config.epochs, seconds / cell.config.epochs)
    result = {
        "kind": "finished",
        "best_epoch": 1,
        "step": 100,
        "seconds": seconds,
        "metrics": metrics,
        "epochs": cell.config.epochs,
        "workers": cell.resources.workers,
        "code": code,
        "data": data,
        "made_with": {"torch": f"torch of {code}", "device": "CPU"},
    }
    folder.write("result.json", json.dumps(result).encode())


def end_epochs(ledger: Ledger, cell: Cell, epochs: int, seconds: float = 1.0) -> None:
    """Writes the events of so many ended epochs."""
    lines = [to_line(EpochEnded(e, e * 10, seconds)) for e in range(1, epochs + 1)]
    text = "".join(f"{line}\n" for line in lines)
    ledger.folder(cell.signature).write("events.jsonl", text.encode())


def interrupt(ledger: Ledger, cell: Cell, epochs: int = 1) -> None:
    """Leaves a cell with a checkpoint after so many epochs."""
    folder = ledger.folder(cell.signature)
    folder.write("checkpoints/00000010.pt", b"weights")
    folder.write("checkpoints/latest.json", b'{"file": "00000010.pt"}')
    end_epochs(ledger, cell, epochs)
