"""What the ledger says of cells: their states, results, failures, and which were asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from supclap.device_share import WHOLE
from supclap.s3 import Listed
from supclap.stored import (
    Count,
    Duration,
    Positive,
)
from supclap.version import SHARE
from supclap_platform.ledger.leases import LeaseName

# A signature that is read from a file names a folder, which may be removed: one name, no path.
# As `supclap.device_share.shares_had` has them.
_SHARE = re.compile(r"1(?:/([1-9]\d{0,3}))?(?: from (\d{1,12}) s)?")
CellName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class State(StrEnum):
    """What the ledger says of a cell."""

    DONE = "done"
    RUNNING = "running"
    FAILED = "failed"
    RESUMABLE = "resumable"
    TO_RUN = "to run"
    DAMAGED = "damaged"  # done, and its result is no longer what was written (`Ledger.examine`)


@dataclass(frozen=True)
class Failure:
    """Why the last attempt at a cell ended. ``log``: the last lines of its log."""

    error: str
    log: tuple[str, ...] = ()
    attempts: Positive = 1
    configuration: bool = False  # a mistake in the input: trying again cannot help


@dataclass(frozen=True)
class Result:
    """What a finished cell reports (`supclap.events.Finished`), and what it came from.

    Each is a value of its result file. Those with a default are absent in results of earlier
    versions.
    """

    signature: str
    metrics: dict[str, float]
    seconds: Duration
    best_epoch: Positive
    step: Count
    epochs: Positive
    workers: Positive
    code: str
    data: str
    peak_MB: float | None = None  # most memory held; None where the system did not say
    reserved_MB: float | None = None  # of a GPU; None without one, and of earlier versions
    made_with: dict[str, str] = field(default_factory=dict)  # versions below it, and the device
    ran_on: dict[str, str] = field(default_factory=dict)  # host, device and process of rank 0
    setup_seconds: float = 0.0  # before the first step; not part of `seconds`
    files: dict[str, str] = field(default_factory=dict)  # hashes of what belongs to it
    time: Duration = field(default=0.0, compare=False)  # when it ended, in seconds since 1970

    @property
    def share(self) -> float:
        """Of its device, what it had: the mean over its time, to which each attempt brings its own
        share. Where it is not said since when it had one, the most that it was given."""
        found = [_SHARE.fullmatch(one) for one in self.ran_on.get(SHARE, WHOLE).split(" + ")]
        had = [(1 / int(one[1] or 1), one[2]) for one in found if one is not None]
        if len(had) < len(found):
            return 1.0
        whole = self.setup_seconds + self.seconds
        if not whole or not all(since for _, since in had[1:]):
            return max(share for share, _ in had)
        starts = [0.0, *(min(self.setup_seconds + float(s or 0), whole) for _, s in had[1:]), whole]
        times = (end - start for start, end in pairwise(starts))
        return sum(share * time for (share, _), time in zip(had, times, strict=True)) / whole

    def value(self, name: str) -> float | None:
        """What the run reports under a metric's full name, or None."""
        if name in self.metrics:
            return self.metrics[name]
        whole = {
            "seconds": self.seconds,
            "seconds_per_epoch": self.seconds / self.epochs,
            "peak_MB": self.peak_MB,
            "best_epoch": float(self.best_epoch),
            "steps": float(self.step),
        }
        return whole.get(name)


@dataclass(frozen=True)
class Known:
    """A cell that some run of an experiment has asked for."""

    variant: str
    seed: int
    signature: CellName
    shape: str  # what decides how long it takes (`plan.shape`)
    group: str | None = None  # of its variant


@dataclass(frozen=True)
class Overview:
    """The states of many cells at one moment."""

    states: dict[str, State] = field(default_factory=dict)
    leases: dict[str, LeaseName] = field(default_factory=dict)  # of running cells: who
    # "signature/file" -> what the listing says of a file of the cell or of its run; of a result
    # only where the cell is done.
    files: dict[str, Listed] = field(default_factory=dict)

    def of(self, signature: str) -> State:
        return self.states.get(signature, State.TO_RUN)
