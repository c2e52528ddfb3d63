"""Kills at random moments, by a seed, and a watch over what must not be touched by them."""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from supclap_platform.ledger.leases import LeaseName
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.records import State

from supclap.errors import InputError
from supclap.storage import Folder

TABLES = ("table.txt", "table.md", "table.csv", "table.tex")
BEGUN = re.compile(r"^--- (\S+ \S+) UTC, ", re.MULTILINE)  # an attempt, in a cell's log


class Chaos:
    """Watches a storage on which runs are killed.

    Attributes:
        finished: by signature what its result was when it was first seen: content and time of
            writing; and when the attempts at the cell began, as its logs say by now. A store of
            objects has a log some seconds later than it is written, or never where the store
            did not answer at its end.
        touched: signatures of finished cells whose result has changed since.
        kills: how often each kind was killed.
    """

    def __init__(self, storage: str | Path, cells: int, seed: int) -> None:
        self.storage = storage
        self.folder = Folder.at(storage)
        self.cells = cells
        self.random = random.Random(seed)
        self.finished: dict[str, tuple[bytes, datetime, list[str]]] = {}
        self.touched: set[str] = set()
        self.kills: Counter[str] = Counter()

    def shuffled(self, counts: dict[str, int]) -> list[str]:
        """So many of each kind, in an order of the seed's."""
        kinds = [kind for kind, count in counts.items() for _ in range(count)]
        self.random.shuffle(kinds)
        return kinds

    @contextmanager
    def watched(self, every: float = 0.1) -> Iterator[None]:
        """What is finished must stay as it is.

        Args:
            every: seconds between two looks.
        """
        over = threading.Event()

        def watch() -> None:
            while not over.wait(every):
                with suppress(OSError, InputError):  # a store that does not answer now
                    self.look()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
        self.look()

    def look(self) -> None:
        listed = {tuple(name.split("/")): file for name, file in self.folder.files("cells")}
        for place, file in listed.items():
            if len(place) != 3 or place[2] != "result.json":
                continue
            content = self.folder.read("/".join(("cells", *place)))
            if not content:  # the end of a term without a result
                continue
            logs = sorted(log for log in listed if log[::2] == (place[0], "log.txt"))
            said = "".join(self.folder.read("/".join(("cells", *log))).decode() for log in logs)
            assert file.time is not None
            result = (content, file.time)
            first = self.finished.setdefault(place[0], (*result, []))[:2]
            self.finished[place[0]] = (*first, BEGUN.findall(said))
            if first != result:
                self.touched.add(place[0])

    def leases(self) -> list[LeaseName]:
        """Who trains a cell now; nobody where the store does not answer."""
        with suppress(OSError, InputError):
            return list(open_ledger(self.storage).overview().leases.values())
        return []

    def all_done(self) -> bool:
        with suppress(OSError, InputError):
            states = open_ledger(self.storage).overview().states
            return len(states) == self.cells and set(states.values()) == {State.DONE}
        return False

    def check(self, calm: Path, experiment: str) -> None:
        """Fails unless all is as in a run that nobody disturbed, and no finished cell ran again."""
        for name in TABLES:
            wanted = (calm / "experiments" / experiment / name).read_bytes()
            assert self.folder.read(f"experiments/{experiment}/{name}") == wanted
        assert len(self.finished) == self.cells
        assert self.touched == set()
        for signature, (_, written, begun) in self.finished.items():
            for moment in begun:  # no attempt after there was a result
                began = datetime.strptime(moment, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
                assert began <= written, f"{signature} was begun again"
