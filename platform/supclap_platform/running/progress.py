"""How far the cells of an experiment are: what the live view, a log and `supclap status` show."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from supclap.events import EpochEnded, Event, Finished, Started
from supclap_platform.ledger.ledger import Ledger


@dataclass(frozen=True)
class Running:
    """One cell at work. ``epochs`` is None until it has reported its start."""

    label: str
    epoch: int
    epochs: int | None
    metric: str
    value: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class Progress:
    """The state of an experiment at one moment."""

    title: str
    counts: Mapping[str, int]  # runs by state, those that are not there left out
    running: tuple[Running, ...]
    troubles: tuple[str, ...]  # failures and retries, one line each
    seconds: float  # since this run began
    seconds_left: float | None  # of the whole, None where nothing is known yet


class Reader:
    """Reads the events of running cells, each at most every ``every`` seconds."""

    def __init__(
        self,
        ledger: Ledger,
        every: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        local = ledger.storage.local is not None
        self._every = (0.5 if local else 5.0) if every is None else every
        self._ledger = ledger
        self._clock = clock
        self._read: dict[str, tuple[float, list[Event]]] = {}

    def events(self, signature: str) -> list[Event]:
        """What the cell has reported, possibly as of a moment ago."""
        now = self._clock()
        at, events = self._read.get(signature, (now - self._every, []))
        if now - at >= self._every:
            # Where the storage is away for a moment, what was read before is shown.
            with contextlib.suppress(OSError):
                events = self._ledger.events(signature)
            self._read[signature] = (now, events)
        return events

    def forget(self, signature: str) -> None:
        """Drops what was read of a cell that has ended."""
        self._read.pop(signature, None)


def running(label: str, events: Sequence[Event], metric: str) -> Running:
    """A cell at work, from its events. ``metric`` as reported, such as ``val.t2a.R@1``."""
    started = next((event for event in events if isinstance(event, Started)), None)
    ended = [event for event in events if isinstance(event, EpochEnded)]
    epochs = started.epochs if started else None
    left = None
    if ended and epochs is not None:
        left = (epochs - ended[-1].epoch) * _mean(event.seconds for event in ended)
    value = ended[-1].metrics.get(metric) if ended else None
    return Running(label, ended[-1].epoch if ended else 0, epochs, metric, value, left)


def seconds_left(
    waiting: Sequence[tuple[str, int]],
    at_work: Sequence[Running],
    known: Mapping[str, float],
    at_once: int,
) -> float | None:
    """How long the rest takes, or None where no epoch of any cell has been timed yet.

    Args:
        waiting: shape and epochs of each cell that has not begun.
        known: seconds per epoch by shape, from finished and running cells; a shape that is not
            among them is taken for their mean.
        at_once: cells side by side.
    """
    if not known:
        return None
    typical = _mean(known.values())
    ahead = sum(known.get(shape, typical) * epochs for shape, epochs in waiting)
    current = [
        one.seconds_left if one.seconds_left is not None else typical * (one.epochs or 1)
        for one in at_work
    ]
    whole = (ahead + sum(current)) / max(1, at_once)
    return max([whole, *current])


def seconds_per_epoch(events: Sequence[Event]) -> float | None:
    """Of a cell, its final measurement included where it has ended."""
    ended = [event for event in events if isinstance(event, EpochEnded)]
    finished = next((event for event in events if isinstance(event, Finished)), None)
    if finished is not None and ended:
        return finished.seconds / len(ended)
    return _mean(event.seconds for event in ended) if ended else None


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
