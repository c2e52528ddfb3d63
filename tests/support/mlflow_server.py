"""An MLflow server as a process that can be killed, over a store that stays."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

from supclap_platform.commands.ui import server_arguments
from supclap_platform.mirror.store import default_store
from waiting import PATIENCE, answers, until


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(uri: str) -> None:
    """Until the server at ``uri`` answers."""
    until(lambda: answers(uri))
    with urllib.request.urlopen(f"{uri}/health", timeout=PATIENCE) as answer:
        assert answer.read() == b"OK"


class Server:
    """A server with all its processes, over a store of its own."""

    def __init__(self, folder: Path) -> None:
        self.store = default_store(folder)
        self.store.connect()
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; `wait_for` its ``uri`` before relying on it."""
        command = [sys.executable, "-m", "mlflow", *server_arguments(self.store, self.port)]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def ensure(self) -> None:
        """Starts it anew where it has ended by itself: somebody may have had its port just then."""
        if self._process is not None and self._process.poll() is not None:
            self.start()

    def kill(self) -> None:
        """Kills all its processes; its store stays."""
        if self._process is not None:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
