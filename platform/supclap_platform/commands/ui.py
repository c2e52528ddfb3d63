"""`supclap ui`: MLflow's own interface on this machine, over the store in the storage folder."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from urllib.request import urlopen

import click

from supclap.errors import InputError
from supclap.secrets import has_secret
from supclap.wording import counted
from supclap_platform.commands.options import command_ledger, histories_of, storage_option
from supclap_platform.mirror.pages import pages
from supclap_platform.mirror.store import Store, choose_store, sqlite_path

HOST = "127.0.0.1"
MOST = 10  # experiments whose pages are named
START = 60.0  # seconds that the server gets to answer, before no page is opened
PATIENCE = 10.0  # seconds that the server gets to end
# One process answers one user well; without these MLflow takes ten of them and 1.4 GB.
_ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore",
}


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@storage_option
@click.option("--tracking-uri", help="Another database; also $MLFLOW_TRACKING_URI.")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.option(
    "--open/--no-open", "show", default=None, help="Show it in the browser; default: on a desktop."
)
def ui(
    file: Path | None, storage: str, tracking_uri: str | None, port: int, show: bool | None
) -> None:
    """Open MLflow's interface on loopback, at the table of FILE or of the latest experiment;
    Ctrl-C ends it."""
    ledger = command_ledger(storage)
    folder = ledger.storage
    store = choose_store(tracking_uri, folder)
    if store is None:
        raise InputError(
            f"storage '{folder.uri}' is not on this machine: give --tracking-uri "
            "sqlite:///FILE, and fill it with `supclap sync`"
        )
    if store.uri.startswith(("http://", "https://")):
        raise InputError(f"{store.shown} is an MLflow server already: open it in a browser")
    path = sqlite_path(store.uri)
    if path is not None and not path.exists():
        raise InputError(
            f"{path}: no MLflow store yet; `supclap run FILE` makes one, and so does `supclap sync`"
        )
    histories = histories_of([file] if file else [], ledger)
    found = pages(store, histories)
    if file is not None and not found:
        raise InputError(f"{file}: MLflow does not show it yet; `supclap sync {file}` brings it")
    if not _free(port):
        raise InputError(f"port {port} on {HOST} is in use: choose another with --port")
    address = f"http://{HOST}:{port}"
    click.echo(f"MLflow: {address} (Ctrl-C ends it)")
    for name, page in list(found.items())[:MOST]:
        click.echo(f"{name}: {address}{page}")
    if len(found) > MOST:
        click.echo(f"and {counted(len(found) - MOST, 'experiment')} more: supclap ui FILE")
    sys.stdout.flush()
    if _desktop() if show is None else show:
        first = next(iter(found.values()), "")
        Thread(target=_open, args=(address, first), name="browser", daemon=True).start()
    os.environ.update({k: v for k, v in _ENVIRONMENT.items() if k not in os.environ})
    os.environ["MLFLOW_BACKEND_STORE_URI"] = store.uri
    code = _serve([sys.executable, "-m", "mlflow", *server_arguments(store, port)])
    if code:
        raise SystemExit(code)


def _serve(command: list[str]) -> int:
    """Runs a server until it ends or is ended; its exit code, 0 where it was ended.

    It has a session of its own, so that Ctrl-C reaches this process alone: MLflow's own answer to
    it is a traceback. What it says while it is being ended is not shown.
    """

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    server = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True
    )
    assert server.stderr is not None
    try:
        for line in server.stderr:
            click.echo(line.decode(errors="replace"), err=True, nl=False)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for kind in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, kind)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.communicate(timeout=PATIENCE)


def server_arguments(store: Store, port: int) -> list[str]:
    """The arguments of ``mlflow`` that serve a store on loopback.

    A store whose URI has a password is named by $MLFLOW_BACKEND_STORE_URI: everyone on the machine
    sees a process's arguments.
    """
    arguments = ["server", "--host", HOST, "--port", str(port), "--workers", "1"]
    arguments += ["--uvicorn-opts", "--log-level warning"]
    if not has_secret(store.uri):
        arguments += ["--backend-store-uri", store.uri]
    if store.artifacts is not None:
        arguments += ["--artifacts-destination", store.artifacts]
    return arguments


def _desktop() -> bool:
    """Whether somebody sits before a screen: a browser within a terminal would take it away."""
    screen = sys.platform in ("darwin", "win32")
    screen = screen or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return screen and sys.stdout.isatty()


def _open(address: str, page: str) -> None:
    """Shows a page once the server answers."""
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        try:
            with urlopen(f"{address}/health", timeout=1):
                break
        except OSError:
            time.sleep(0.2)
    else:
        return
    click.launch(f"{address}{page}")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
