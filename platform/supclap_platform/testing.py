"""Runs without training: what finished, interrupted and failed cells leave in a ledger.

For tests and benchmarks of whatever reads results, yours too:

    from supclap_platform.testing import fail, finish, interrupt

    ledger = open_ledger(tmp_path)
    first, second, third = cells_of(load_experiment("e.yaml"))
    finish(ledger, first, {"test.t2a.R@1": 41.0})
    interrupt(ledger, second, epochs=2)
    fail(ledger, third, "the loss is not finite")

The files are those of `supclap.training.fit`, written by the same functions (`supclap.run_files`).
Each takes a whole number of seconds and steps, so that sums of them are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from supclap.events import EpochEnded, Event, Finished, Started, to_line
from supclap.run_files import (
    CHECKPOINTS,
    CONFIG,
    EVENTS,
    POINTER,
    RANKS,
    RESULT,
    config_file,
    events_file,
    ranks_file,
    result_file,
)
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.method import version_of
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.records import Failure

if TYPE_CHECKING:
    import numpy as np

DATA = "data-a"  # a hash, in place of a true one
BEGIN = 1_790_000_000.0  # when a run begins, in seconds since 1970
STEPS = 10  # of an epoch
SECONDS = 10.0  # that a finished run took


def events_of(
    cell: Cell,
    epochs: Sequence[Mapping[str, float]] = (),
    metrics: Mapping[str, float] | None = None,
    *,
    code: str | None = None,
    modules: Mapping[str, str] | None = None,
    data: str = DATA,
    begin: float = BEGIN,
    seconds: float = SECONDS,
) -> list[Event]:
    """What a run reports up to the end of its last epoch here, or to its own end.

    Args:
        epochs: metrics of each epoch that has ended; the events of one are 10 s apart.
        metrics: those of the finished run; None where it has not finished.
        code: the version of another code than today's.
        modules: what that code has noted of its modules; by default nothing.
        begin: when it began, in seconds since 1970.
        seconds: that the whole run takes, shared by its epochs.
    """
    noted = dict(cell.method.code(cell.config)) if code is None else dict(modules or {})
    share = seconds / max(1, cell.config.epochs)
    events: list[Event] = [
        Started(
            config=cell.method.stored(cell.config),
            code=code or version_of(noted),
            modules=noted,
            data=data,
            workers=cell.resources.workers,
            epochs=cell.config.epochs,
            steps_per_epoch=STEPS,
            parameters=1234,
            clips=1500,
            made_with={"torch": f"torch of {code or 'today'}", "device": "CPU"},
            time=begin,
        )
    ]
    for epoch, values in enumerate(epochs, 1):
        system = {"cpu_percent": 90.0 + epoch, "memory_megabytes": 512.0}
        time = begin + 10 * epoch
        events.append(EpochEnded(epoch, STEPS * epoch, share, dict(values), system, time))
    if metrics is not None:
        end = begin + 10 * len(epochs) + 5
        last = len(epochs)
        events.append(Finished(last, STEPS * last, seconds, dict(metrics), end, peak_MB=700.5))
    return events


def leave(
    ledger: Ledger,
    cell: Cell,
    events: Sequence[Event],
    ranks: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes what a run with these events leaves: configuration, events, ranks and, where the last
    event is `Finished`, the result last of all."""
    folder = ledger.folder(cell.signature)
    folder.write(CONFIG, config_file(cell.method.stored(cell.config)))
    kept = {EVENTS: events_file(map(to_line, events))}
    if ranks is not None:
        kept[RANKS] = ranks_file(ranks)
    for name, content in kept.items():
        folder.write(name, content)
    first, last = events[0], events[-1]
    if isinstance(last, Finished):
        assert isinstance(first, Started), "a run's first event is its start"
        folder.write(RESULT, result_file(first, last, kept))


def finish(
    ledger: Ledger,
    cell: Cell,
    metrics: Mapping[str, float],
    epochs: Sequence[Mapping[str, float]] | None = None,
    ranks: Mapping[str, np.ndarray] | None = None,
    *,
    code: str | None = None,
    data: str = DATA,
    seconds: float = SECONDS,
) -> None:
    """Leaves a finished run.

    Args:
        metrics: what it reports, under the names of `supclap.events`.
        epochs: metrics of each epoch; by default none, for as many epochs as are configured.
        ranks: arrays of per-query ranks (`supclap.measurement.Measured`).
        code: version of the code that it was made with; by default today's, with its modules.
        data: content hash of the data.
    """
    ended = [{}] * cell.config.epochs if epochs is None else epochs
    events = events_of(cell, ended, metrics, code=code, data=data, seconds=seconds)
    leave(ledger, cell, events, ranks)


def interrupt(ledger: Ledger, cell: Cell, epochs: int = 1) -> None:
    """Leaves a run that was killed after so many epochs, with a checkpoint to go on from."""
    name = f"{STEPS * epochs:08d}.pt"
    folder = ledger.folder(cell.signature)
    leave(ledger, cell, events_of(cell, [{}] * epochs))
    folder.write(f"{CHECKPOINTS}/{name}", b"weights")
    folder.write(POINTER, f'{{"file": "{name}"}}'.encode())


def fail(
    ledger: Ledger,
    cell: Cell,
    error: str,
    log: Sequence[str] = (),
    *,
    attempts: int = 1,
    configuration: bool = False,
) -> Failure:
    """Leaves a run that ended in an error before its first epoch did; what the ledger notes of it.

    Args:
        log: the last lines of its log.
        configuration: whether the input is at fault, so that trying again cannot help.
    """
    leave(ledger, cell, events_of(cell))
    return ledger.record_failure(cell.signature, error, log, configuration, attempts)
