"""A head node of Ray on this machine, as a cluster's users reach it: by its port and a token."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from tiny_grid import SUPCLAP, environment
from waiting import PATIENCE, answers, until


class Head:
    """A head node with a temp folder, a token and ports of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sc-", dir="/tmp"))
        (self.folder / "token").write_text(secrets.token_hex(32))
        numbers = free_ports(7)
        self.port, self.dashboard = numbers[:2]
        names = (
            "port",
            "dashboard-port",
            "dashboard-agent-listen-port",
            "dashboard-agent-grpc-port",
            "metrics-export-port",
            "runtime-env-agent-port",
            "ray-client-server-port",
        )
        ports = [f"--{name}={number}" for name, number in zip(names, numbers, strict=True)]
        self.environment = {
            **environment(),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            # As on a cluster whose head has the environment activated.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
                *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"),
                *("--num-cpus=2", "--object-store-memory=100000000"),
                *(f"--temp-dir={self.folder / 'r'}", *ports),
            ],
            env=self.environment,
            stdout=(self.folder / "head.log").open("w"),
            stderr=subprocess.STDOUT,
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.dashboard}"

    def wait(self) -> None:
        try:
            until(lambda: answers(self.url), self.process)
        except AssertionError:
            raise AssertionError((self.folder / "head.log").read_text()) from None

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, *arguments: str | Path, out: IO[str]) -> subprocess.Popen[str]:
        """`supclap` as a client of this head, as a process with its output in a file."""
        return subprocess.Popen(
            [*SUPCLAP, *map(str, arguments)],
            env=self.environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def supclap(self, *arguments: str | Path, **env: str) -> tuple[int, str]:
        """`supclap` as a client of this head."""
        found = subprocess.run(
            [*SUPCLAP, *map(str, arguments)],
            env={**self.environment, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        return found.returncode, found.stdout


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    numbers = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return numbers
