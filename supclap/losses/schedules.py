"""Numbers of a loss that change over a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """A number as a function of progress (`supclap.number_schedule`)."""

    def at(self, progress: float) -> float: ...


@dataclass(frozen=True)
class Scheduled:
    """A number of a loss with a schedule.

    name: it is logged as ``train.NAME``.
    put: sets the number.
    """

    name: str
    schedule: Schedule
    put: Callable[[float], None]

    def take(self, progress: float) -> None:
        """Sets the number to its value at ``progress``, from 0 to 1."""
        self.put(self.schedule.at(progress))
