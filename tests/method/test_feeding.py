"""Batches made ahead: the same ones, and how long steps have waited for them."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from supclap.feeding import Feed

CPU = torch.device("cpu")
SLOW = 0.05  # seconds


def slow(count: int) -> Iterator[Any]:
    for number in range(count):
        time.sleep(SLOW)
        yield number


def test_the_same_items_come_and_what_they_take_is_waited_for() -> None:
    feed = Feed(CPU)
    assert list(feed.ahead(slow(4))) == [0, 1, 2, 3]
    assert feed.waited() > 3.5 * SLOW
    assert feed.waited() == 0.0


def test_what_is_made_while_a_step_runs_is_not_waited_for() -> None:
    feed, made = Feed(CPU), threading.Event()

    def items() -> Iterator[Any]:
        yield 0
        time.sleep(SLOW)
        made.set()
        yield 1

    ahead = feed.ahead(items())
    assert next(ahead) == 0
    feed.waited()
    assert made.wait(60)
    time.sleep(SLOW)  # from there to the queue
    assert next(ahead) == 1
    assert feed.waited() < SLOW / 2


def test_what_the_device_has_still_to_do_for_a_batch_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a GPU: batches are handed out once the work on them is queued."""
    feed = Feed(CPU)

    class Ready:
        def synchronize(self) -> None:
            time.sleep(SLOW)

    monkeypatch.setattr(feed, "_made", lambda items: ((item, Ready()) for item in items))
    monkeypatch.setattr(feed, "_take", lambda fed: None)
    items: list[Any] = [(number, None) for number in range(4)]
    assert list(feed.ahead(items)) == items
    assert feed.waited() > 3.5 * SLOW


def test_a_fault_comes_through_and_leaving_ends_the_thread() -> None:
    def items() -> Iterator[Any]:
        yield 0
        raise OSError("disk")

    ahead = Feed(CPU).ahead(items())
    assert next(ahead) == 0
    with pytest.raises(OSError, match="disk"):
        next(ahead)
    for _ in Feed(CPU).ahead(slow(100)):
        break
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]
