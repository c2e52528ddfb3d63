"""An S3 server of the tests' own (moto) as a process: it can be stopped and woken, as a store that
does not answer for a while. What it keeps ends with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from mlflow_server import free_port
from s3_server import KEYS, make_bucket, place_at
from waiting import answers, until


class S3Process:
    """A running server with one bucket."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self._process = process

    def place(self, below: str = "bucket/results") -> str:
        """The URI of a folder: its bucket is there."""
        return place_at(self.port, below)

    def freeze(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)


@contextmanager
def s3_process(bucket: str = "bucket") -> Iterator[S3Process]:
    """A server with one empty bucket, for as long as the context is open."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with patch.dict(os.environ, KEYS):
            until(lambda: answers(f"http://127.0.0.1:{port}"), process)
            make_bucket(port, bucket)
            yield S3Process(port, process)
    finally:
        process.kill()
        process.wait()
