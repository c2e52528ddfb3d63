"""A PostgreSQL server of one's own: on loopback, in a temporary folder, gone when it is left.

Debian's (`apt-get install postgresql`), or any whose `initdb` and `postgres` are found.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

MISSING = "PostgreSQL is not installed (apt-get install postgresql)"
USER = "tester"
_PATIENCE = 60.0


def programs() -> Path | None:
    """The folder of PostgreSQL's programs; None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    named = shutil.which("initdb")
    return Path(named).resolve().parent if named else None


class Server:
    """A running server. ``folder``: its data."""

    def __init__(self, folder: Path, user: str | None) -> None:
        self.folder, self._user = folder, user
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    def uri(self, database: str, driver: str = "+psycopg2") -> str:
        """Of a database, as SQLAlchemy names it."""
        return f"postgresql{driver}://{USER}@127.0.0.1:{self.port}/{database}"

    def start(self, *options: str) -> None:
        """Returns when it takes connections. ``options``: settings such as ``fsync=off``."""
        given = [f"-c{one}" for one in (*options, "listen_addresses=127.0.0.1")]
        place = ["-D", str(self.folder), "-p", str(self.port), "-k", str(self.folder)]
        self._process = subprocess.Popen(
            [self._program("postgres"), *place, *given],
            user=self._user,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _PATIENCE
        ready = [self._program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL in {self.folder} does not start")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends it: connections are cut. SIGQUIT: as if the machine had failed."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_PATIENCE)
            self._process = None

    def make(self, database: str, template: str = "template0") -> None:
        """A database, as a copy of another."""
        self.ask(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')

    def ask(self, statement: str, database: str = "postgres") -> str:
        """What `psql` answers."""
        place = ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", database]
        done = subprocess.run(
            [self._program("psql"), "-Atqc", statement, *place],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def _program(self, name: str) -> str:
        place = programs()
        assert place is not None, MISSING
        return str(place / name)


@contextmanager
def postgres(options: Sequence[str] = ()) -> Iterator[Server]:
    """A server that is new. Needs `programs`."""
    place = programs()
    assert place is not None, MISSING
    user = _unprivileged() if os.geteuid() == 0 else None  # root is refused
    folder = Path(tempfile.mkdtemp(prefix="supclap-postgres-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        subprocess.run(
            [
                str(place / "initdb"),
                "-D",
                str(folder),
                "-U",
                USER,
                "-A",
                "trust",
                "-N",
                "-E",
                "UTF8",
            ],
            check=True,
            user=user,
            cwd="/",
            stdout=subprocess.DEVNULL,
        )
        server = Server(folder, user)
        server.start(*options)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
