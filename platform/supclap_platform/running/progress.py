"""How far the cells of an experiment are: what the live view, a log and `supclap status` show."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from supclap.device_share import latest_share
from supclap.events import EpochEnded, Event, Finished, Started
from supclap.progress import STEPS, Doing, epoch_name
from supclap.version import SHARE
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.running.doing import EVERY, WAITING, doing_in

LEAST = 1.0  # seconds: what still runs is never "0 s left"


@dataclass(frozen=True)
class Running:
    """One cell at work. ``epochs`` is None until it has reported its start."""

    label: str
    epoch: int  # ended
    epochs: int | None
    metric: str
    value: float | None
    seconds_left: float | None
    doing: Doing | None = None  # what it is busy with, where that is known
    device: str = ""  # the share of one that it is held to, such as 1/3; empty of a whole

    @property
    def share(self) -> float:
        """How much of its training is done, 0 to 1."""
        return (self.epoch + _part(self.doing)) / self.epochs if self.epochs else 0.0

    @property
    def waits(self) -> bool:
        """Whether nothing works on it yet, as what it needs is not free."""
        return self.doing is not None and self.doing.unit == WAITING

    @property
    def state(self) -> str:
        """What it is at, in a few words."""
        return f"{self._at}, on {self.device} of a device" if self.device else self._at

    @property
    def _at(self) -> str:
        if self.doing is not None and self.waits:
            return f"waiting for {self.doing.what}"
        if self.doing is None:
            return "starting" if self.epochs is None else epoch_name(self.epoch, self.epochs)
        if self.doing.unit == STEPS or self.epochs is None:
            return str(self.doing)
        share = self.doing.share
        how_far = f" {share:.0%}" if share is not None else ""
        return f"{epoch_name(self.epoch, self.epochs)}, {self.doing.what}{how_far}"


@dataclass(frozen=True)
class Progress:
    """The state of an experiment at one moment."""

    title: str
    counts: Mapping[str, int]  # runs by state, those that are not there left out
    running: tuple[Running, ...]
    troubles: tuple[str, ...]  # failures and retries, one line each
    seconds: float | None  # since this run began; None where nobody drives it now
    seconds_left: float | None  # of the whole, None where nothing is known yet
    money: str = ""  # what it has cost, and will, where the experiment has prices
    look: str = ""  # where seeds are added until the claims are decided: how far that is


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
        self._last: dict[str, tuple[int, float]] = {}  # events, and when there came to be so many
        self._busy: dict[str, tuple[float, Doing | None]] = {}
        self._slowly = (0.5 if local else EVERY[False]) if every is None else every

    def events(self, signature: str) -> list[Event]:
        """What the cell has reported, possibly as of a moment ago."""
        now = self._clock()
        at, events = self._read.get(signature, (now - self._every, []))
        if now - at >= self._every:
            # Where the storage is away for a moment, what was read before is shown.
            with contextlib.suppress(OSError):
                read = self._ledger.spared(lambda: self._ledger.events(signature))
                events = events if read is None else read
            if len(events) != self._last.get(signature, (0, 0.0))[0]:
                self._last[signature] = (len(events), now)
            self._read[signature] = (now, events)
        return events

    def age(self, signature: str) -> float:
        """Seconds since the cell's last event was first seen here; 0 where none was."""
        now = self._clock()
        return now - self._last.get(signature, (0, now))[1]

    def doing(self, signature: str) -> Doing | None:
        """What the cell is busy with, possibly as of some seconds ago."""
        now = self._clock()
        at, doing = self._busy.get(signature, (now - self._slowly, None))
        if now - at >= self._slowly:
            doing = doing_in(self._ledger.folder(signature))
            self._busy[signature] = (now, doing)
        return doing

    def forget(self, signature: str) -> None:
        """Drops what was read of a cell that has ended."""
        self._read.pop(signature, None)
        self._last.pop(signature, None)
        self._busy.pop(signature, None)


def running(
    label: str,
    events: Sequence[Event],
    metric: str,
    doing: Doing | None = None,
    whole: float | None = None,
    spent: float = 0.0,
    age: float = 0.0,
) -> Running:
    """A cell at work, from what it has reported.

    Args:
        metric: as reported, such as ``val.t2a.R@1``.
        doing: what it is busy with.
        whole: seconds that a cell of its shape takes in all, where one has finished.
        spent: seconds since it was started, which count until it reports its start. More than half
            of ``whole`` it was given to data that are made once.
        age: seconds since its last event. They count for what no step does: what is measured after
            the steps of an epoch, and at the end.
    """
    started = next((event for event in events if isinstance(event, Started)), None)
    ended = [event for event in events if isinstance(event, EpochEnded)]
    epochs = started.epochs if started else None
    epoch = ended[-1].epoch if ended else 0
    value = ended[-1].metrics.get(metric) if ended else None
    if doing is not None and doing.unit == STEPS:
        # It is written now and then: of an epoch that is over it says nothing any more.
        current = epochs is not None and doing.what == epoch_name(epoch + 1, epochs)
        doing = doing if current else None
    left = None
    if any(isinstance(event, Finished) for event in events):
        left = LEAST
    elif started is not None and epochs is not None:
        pace = _pace(ended, doing)
        if pace is not None:
            rest = _last_measurement(pace, epochs)
            if whole is not None:
                rest = max(0.0, whole - started.setup_seconds - pace * epochs)
            longest = pace if epoch < epochs else rest  # until the next event
            left = (epochs - epoch) * pace + rest - max(_part(doing) * pace, min(age, longest))
            left = max(LEAST, left)
    if left is None and whole is not None:
        past = started.setup_seconds + age if started else min(spent, whole / 2)
        left = max(LEAST, whole - past)
    device = latest_share(started.ran_on.get(SHARE, "")) if started else ""
    return Running(label, epoch, epochs, metric, value, left, doing, device)


def seconds_left(
    waiting: Sequence[tuple[str, float]],
    at_work: Sequence[Running],
    known: Mapping[str, float],
    at_once: int,
) -> float | None:
    """How long the rest takes, or None where no epoch of any cell has been timed yet.

    Args:
        waiting: shape and epochs of each cell that has not begun, in order.
        known: seconds per epoch by shape, from finished and running cells; a shape that is not
            among them is taken for their mean.
        at_once: cells side by side: as soon as one has ended the next begins.
    """
    if not known:
        if waiting or not at_work or any(one.seconds_left is None for one in at_work):
            return None
        return max(one.seconds_left or LEAST for one in at_work)
    typical = _mean(known.values())
    free = [
        one.seconds_left if one.seconds_left is not None else typical * (one.epochs or 1)
        for one in at_work
    ]
    free += [0.0] * (at_once - len(free))
    heapq.heapify(free)
    for shape, epochs in waiting:
        heapq.heapreplace(free, free[0] + known.get(shape, typical) * epochs)
    return max(free)


def seconds_per_epoch(events: Sequence[Event], doing: Doing | None = None) -> float | None:
    """Of a cell, with all that comes before the first and after the last: measured where it has
    ended, else as far as it can be known; None where no step of it is timed."""
    started = next((event for event in events if isinstance(event, Started)), None)
    ended = [event for event in events if isinstance(event, EpochEnded)]
    finished = next((event for event in events if isinstance(event, Finished)), None)
    setup = started.setup_seconds if started else 0.0
    if finished is not None and ended:
        return (setup + finished.seconds) / len(ended)
    epochs = started.epochs if started else len(ended)
    pace = _pace(ended, doing)
    return None if pace is None else pace + (setup + _last_measurement(pace, epochs)) / epochs


def _pace(ended: Sequence[EpochEnded], doing: Doing | None) -> float | None:
    """Seconds of an epoch: the mean of those that have ended, else from the steps of the first."""
    if ended:
        return _mean(event.seconds for event in ended)
    part = _part(doing)
    return doing.seconds / part if doing is not None and part else None


def _part(doing: Doing | None) -> float:
    """How much of the current epoch is done."""
    return (doing.share or 0.0) if doing is not None and doing.unit == STEPS else 0.0


def _last_measurement(pace: float, epochs: int) -> float:
    """What the end of a cell takes, a guess until one has ended: measuring the test split is no
    longer than an epoch, and little beside many."""
    return min(pace, 0.1 * epochs * pace)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
