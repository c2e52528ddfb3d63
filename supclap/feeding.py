"""Batches made ahead of the steps that take them, and the time that steps have waited for one."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, nullcontext
from typing import Any

import torch
from torch import Tensor

from supclap.batches import Batch
from supclap.data.reading import prefetch
from supclap.inputs import Fed

Item = tuple[Batch, Fed]


class Feed:
    """Makes batches by a thread, and on a GPU on a stream of its own: copies and log-mels of the
    next batch run beside the step of this one, and wait for nothing that the step does."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._waited = 0.0
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def ahead(self, items: Iterable[Item]) -> Generator[Item, None, None]:
        """The same items; leaving a loop over them ends the thread."""
        if self._stream is not None:  # what they are made from was put on the device before
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with closing(prefetch(self._made(items))) as made:
            while True:
                began = time.monotonic()
                found = next(made, None)
                if found is not None and found[1] is not None:
                    found[1].synchronize()  # handed out once its work is queued: a step would wait
                self._waited += time.monotonic() - began
                if found is None:
                    return
                item, ready = found
                if ready is not None:
                    self._take(item[1])
                yield item

    def waited(self) -> float:
        """Seconds that steps have waited for a batch since the last call: until it lay on the
        device, even where that was still busy with the step before. So a GPU waited no longer."""
        found, self._waited = self._waited, 0.0
        return found

    def _made(self, items: Iterable[Item]) -> Iterator[tuple[Item, Any]]:
        """Runs in the thread: each item with the event at which it lies on the device."""
        with nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            for item in items:
                ready = None
                if self._stream is not None:
                    ready = torch.cuda.Event()
                    ready.record(self._stream)
                yield item, ready

    def _take(self, fed: Fed) -> None:
        """An item's memory is not given away before the step has used it."""
        mine = torch.cuda.current_stream(self._device)
        for side in fed:
            for tensor in (side,) if isinstance(side, Tensor) else (side.ids, side.mask):
                tensor.record_stream(mine)
