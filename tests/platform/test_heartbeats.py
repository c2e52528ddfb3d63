"""Who has fallen silent, by the times of leases and by a driver's heartbeats that are set here."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from supclap_platform.ledger.drivers import FOLDER
from supclap_platform.ledger.leases import LeaseName
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.running.heartbeats import LOOK, Claim, Heartbeats, Sign
from supclap_platform.running.place import Place

from supclap.storage import Folder

CELL = "a" * 16
CLAIM = Claim(Place("n", "p", "elsewhere", 7), (CELL,))
OWN = LeaseName("elsewhere", 7, 1, "0001-00000000")
OTHER = LeaseName("third", 8, 1, "0002-00000000")


class World:
    """A storage on whose clock time passes; the driver's heart beats every two seconds."""

    def __init__(self, ledger: Ledger) -> None:
        self.now = time.time() - 10_000
        self.ledger = ledger
        self.heartbeats = Heartbeats(ledger, "e", clock=lambda: self.now)
        self.drivers = ledger.experiment_folder("e").below(FOLDER)
        self.driver = LeaseName.own()
        self.beat(self.drivers, self.driver)

    def beat(self, folder: Folder, name: LeaseName) -> None:
        folder.write(str(name), b"{}")
        os.utime(Path(folder.base, str(name)), (self.now, self.now))

    def cell(self, *beating: LeaseName, signature: str = CELL) -> None:
        for name in beating:
            self.beat(self.ledger.cell(signature), name)

    def drop(self, name: LeaseName) -> None:
        self.ledger.cell(CELL).delete_file(str(name))

    def passes(
        self,
        seconds: float,
        *beating: LeaseName,
        driver: bool = True,
        claim: Claim = CLAIM,
        attempt: str = "1",
    ) -> tuple[float, Sign] | None:
        """The first sign of the attempt, and when it came; who is ``beating`` does so each second,
        and each second is looked at."""
        for second in range(1, int(seconds) + 1):
            self.now += 1
            if driver:
                self.beat(self.drivers, self.driver)
            self.cell(*beating)
            found = self.heartbeats.look({attempt: claim})
            if found:
                return second, found[attempt]
        return None


@pytest.fixture
def world(ledger: Ledger) -> World:
    return World(ledger)


def test_a_lease_that_is_renewed_is_never_silent_and_one_that_is_not_is_after_a_minute(
    world: World,
) -> None:
    assert world.passes(300, OWN) is None
    found = world.passes(90)
    assert found is not None
    seconds, sign = found
    assert sign is Sign.STALE
    assert 60 < seconds <= 60 + LOOK


def test_a_storage_that_was_away_and_a_machine_that_slept_silence_nobody(world: World) -> None:
    """All were silent for the same time, and not all of them are back at once."""
    world.passes(120, OWN)
    world.now += 3600  # this machine and the other slept
    assert world.passes(9) is None
    assert world.passes(60, OWN) is None
    assert world.passes(100, driver=False) is None  # nothing can be written
    assert world.passes(9) is None
    assert world.passes(60, OWN) is None
    found = world.passes(90)  # the storage is there, and so is everybody but the attempt
    assert found is not None
    assert found[1] is Sign.STALE


def test_a_driver_without_a_heartbeat_judges_nobody(world: World) -> None:
    world.passes(120, OWN)
    world.drivers.delete_file(str(world.driver))
    assert world.passes(300, driver=False) is None


def test_one_that_never_takes_a_lease_is_silent_and_is_given_longer_the_next_time(
    world: World,
) -> None:
    """As on a node whose storage hangs."""
    first = world.passes(200)
    assert first is not None
    assert first[1] is Sign.NEVER
    assert 60 < first[0] <= 60 + 2 * LOOK
    second = world.passes(200, attempt="2")
    assert second is not None
    assert 120 < second[0] <= 120 + 2 * LOOK
    assert world.passes(200, attempt="3") is None  # slow to begin
    assert world.passes(300, OWN, attempt="3") is None


def test_one_whose_lease_is_gone_may_be_at_its_end_for_a_minute(world: World) -> None:
    world.passes(120, OWN)
    world.drop(OWN)
    found = world.passes(200)
    assert found is not None
    assert found[1] is Sign.GONE
    assert 60 < found[0] <= 60 + 7 * LOOK  # of a lease that was just renewed nobody asks


def test_one_whose_cell_another_has_taken_is_told_in_two_looks(world: World) -> None:
    world.passes(120, OWN)
    world.passes(58)  # paused: somebody else finds it silent first
    world.drop(OWN)
    found = world.passes(90, OTHER)
    assert found is not None
    assert found[1] is Sign.TAKEN
    assert found[0] <= 3 * LOOK


def test_of_several_cells_one_lease_is_enough(world: World) -> None:
    """A trial goes from cell to cell."""
    both = Claim(CLAIM.place, ("b" * 16, CELL))
    assert world.passes(300, OWN, claim=both) is None
    found = world.passes(90, claim=both)
    assert found is not None
    assert found[1] is Sign.STALE
