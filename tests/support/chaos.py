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

from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.records import State

TABLES = ("table.txt", "table.md", "table.csv", "table.tex")
BEGUN = re.compile(r"^--- (\S+ \S+) UTC, ", re.MULTILINE)  # an attempt, in a cell's log


class Chaos:
    """Watches a storage on which runs are killed.

    Attributes:
        finished: by signature what its result was when it was first seen: content, time of
            writing, and when the attempts at the cell began, as its log says.
        touched: signatures of finished cells of which any of that has changed since.
        kills: how often each kind was killed.
    """

    def __init__(self, storage: Path, cells: int, seed: int) -> None:
        self.storage = storage
        self.cells = cells
        self.random = random.Random(seed)
        self.finished: dict[str, tuple[bytes, int, list[str]]] = {}
        self.touched: set[str] = set()
        self.kills: Counter[str] = Counter()

    def shuffled(self, counts: dict[str, int]) -> list[str]:
        """So many of each kind, in an order of the seed's."""
        kinds = [kind for kind, count in counts.items() for _ in range(count)]
        self.random.shuffle(kinds)
        return kinds

    @contextmanager
    def watched(self) -> Iterator[None]:
        """What is finished must stay as it is: its result, and the attempts in its log."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.1):
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
        for result in (self.storage / "cells").glob("*/*/result.json"):
            cell = result.parents[1]
            content = result.read_bytes()
            if not content:  # the end of a term without a result
                continue
            logs = "".join(log.read_text() for log in sorted(cell.glob("*/log.txt")))
            now = (content, result.stat().st_mtime_ns, BEGUN.findall(logs))
            if self.finished.setdefault(cell.name, now) != now:
                self.touched.add(cell.name)

    def all_done(self) -> bool:
        with suppress(OSError):
            states = open_ledger(self.storage).overview().states
            return len(states) == self.cells and set(states.values()) == {State.DONE}
        return False

    def check(self, calm: Path, experiment: str) -> None:
        """Fails unless all is as in a run that nobody disturbed, and no finished cell ran again."""
        for name in TABLES:
            wanted = (calm / "experiments" / experiment / name).read_bytes()
            assert (self.storage / "experiments" / experiment / name).read_bytes() == wanted
        assert len(self.finished) == self.cells
        assert self.touched == set()
        for _, written, begun in self.finished.values():  # no attempt after there was a result
            assert datetime.strptime(max(begun), "%Y-%m-%d %H:%M:%S").replace(
                tzinfo=UTC
            ) <= datetime.fromtimestamp(written / 1e9, UTC)
