"""Environment variables for the processes that are started meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Sets variables of this process, which those that it starts inherit; afterwards they are as
    they were before, absent ones absent. Libraries read theirs (``OMP_NUM_THREADS``) when they are
    loaded, before a process that has just started could be given another."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
