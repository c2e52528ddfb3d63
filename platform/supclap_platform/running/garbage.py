"""How often Python looks for cycles among its objects.

What thousands of cells consist of lives as long as the command, and looking through it took a
seventh of a run of 10,000 that had nothing to do. Beside Ray it stays as Python has it: what Ray
Tune leaves in cycles asks Ray's state store when it goes, and waits for a minute where that is dead
by then.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_USUAL = gc.get_threshold()
_RARE = (50_000, 50, 100)


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Looks for cycles rarely, until the block ends or `usual_collections` is called."""
    gc.set_threshold(*_RARE)
    try:
        yield
    finally:
        usual_collections()


def usual_collections() -> None:
    """Looks for cycles as often as Python does by itself."""
    gc.set_threshold(*_USUAL)
