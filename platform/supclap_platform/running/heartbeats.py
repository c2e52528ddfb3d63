"""Attempts that have fallen silent on a machine that lives: nobody renews their leases any more.

A process may be paused, and a machine's storage may hang instead of failing. The node then answers,
and Ray says that the cell runs. Only its lease tells.

A lease is silent by the storage's own clock, and only for as long as this driver's own heartbeats
came through: where they did not, the storage was away, or this machine slept, and nobody is judged
by that time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from supclap_platform.ledger.drivers import own_beat
from supclap_platform.ledger.leases import STALE_AFTER, LeaseName, leases_in
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.running.place import Place

LOOK = 10.0  # seconds between looks
GAP = 3 * LOOK  # seconds between two of the driver's own heartbeats after which all begins anew
READERS = 16  # cells that are looked at at once

Name = TypeVar("Name", bound=Hashable)


class Sign(StrEnum):
    """What shows that an attempt has fallen silent."""

    STALE = "its lease was not renewed"
    GONE = "its lease is gone, and it has not ended"
    NEVER = "it has begun, and taken no lease"
    TAKEN = "another process has the cell"


@dataclass(frozen=True)
class Claim:
    """An attempt by what it has said: where it is; on which cells it may hold a lease."""

    place: Place
    signatures: tuple[str, ...]


@dataclass
class _Seen:
    """What is known of an attempt, on the storage's clock. ``beat``: of its lease, the last one.
    ``absent``: since when no lease was there, of it or of another; ``taken``: since when another's
    was there and not its own."""

    beat: datetime | None = None
    absent: datetime | None = None
    taken: datetime | None = None


class Heartbeats:
    """The leases of a driver's attempts. ``look`` often: it asks the storage every `LOOK` seconds,
    once for itself, and about once a minute for each attempt."""

    def __init__(
        self, ledger: Ledger, experiment: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._experiment = experiment
        self._clock = clock
        self._looked = -LOOK
        self._last: datetime | None = None  # the driver's own heartbeat at the last look
        self._since: datetime | None = None  # as long as they have come through
        self._seen: dict[Hashable, _Seen] = {}
        self._patience: dict[tuple[str, ...], float] = {}  # where code is slow to load

    def look(self, claims: Mapping[Name, Claim]) -> dict[Name, Sign]:
        """Those of the attempts that have been silent for `STALE_AFTER` seconds."""
        if not claims or self._clock() - self._looked < LOOK:
            return {}
        self._looked = self._clock()
        self._seen = {name: seen for name, seen in self._seen.items() if name in claims}
        try:
            now = own_beat(self._ledger, self._experiment)
            if now is None:
                return {}
            if self._last is None or not 0 < _seconds(self._last, now) <= GAP:
                self._since = now
            self._last = now
            due = {name: claim for name, claim in claims.items() if self._due(name, now)}
            with ThreadPoolExecutor(READERS) as readers:
                found = dict(zip(due, readers.map(self._leases, due.values()), strict=True))
        except OSError:
            self._last = None
            return {}
        signs = {
            name: self._sign(name, claims[name], leases, now) for name, leases in found.items()
        }
        return {name: sign for name, sign in signs.items() if sign is not None}

    def _due(self, name: Hashable, now: datetime) -> bool:
        """Whether an attempt may have been silent for so long: not where it was heard since."""
        seen = self._seen.get(name)
        return seen is None or seen.beat is None or _seconds(seen.beat, now) > STALE_AFTER

    def _leases(self, claim: Claim) -> dict[LeaseName, datetime]:
        found: dict[LeaseName, datetime] = {}
        for signature in claim.signatures:
            found |= leases_in(self._ledger.cell(signature))
        return found

    def _sign(
        self, name: Hashable, claim: Claim, leases: Mapping[LeaseName, datetime], now: datetime
    ) -> Sign | None:
        holder = (claim.place.host, claim.place.pid)
        own = [beat for lease, beat in leases.items() if (lease.host, lease.pid) == holder]
        seen = self._seen.setdefault(name, _Seen())
        if own:
            seen.beat, seen.absent, seen.taken = max(own), None, None
            return Sign.STALE if self._silent(seen.beat, now) > STALE_AFTER else None
        if any(_seconds(beat, now) <= STALE_AFTER for beat in leases.values()):
            before, seen.absent, seen.taken = seen.taken, None, seen.taken or now
            return Sign.TAKEN if before is not None else None  # it may be about to say so itself
        seen.absent, seen.taken = seen.absent or now, None
        if seen.beat is not None:
            return Sign.GONE if self._silent(seen.absent, now) > STALE_AFTER else None
        patience = self._patience.get(claim.signatures, STALE_AFTER)
        if self._silent(seen.absent, now) <= patience:
            return None
        self._patience[claim.signatures] = 2 * patience
        return Sign.NEVER

    def _silent(self, since: datetime, now: datetime) -> float:
        assert self._since is not None
        return _seconds(max(since, self._since), now)


def _seconds(since: datetime, until: datetime) -> float:
    return (until - since).total_seconds()
