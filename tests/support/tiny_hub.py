"""A hub of one's own on loopback: what huggingface_hub asks of the real one, and no more."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest
from huggingface_hub import constants

COMMIT = "1234567890abcdef1234567890abcdef12345678"


class Hub:
    """Serves folders as repositories, each with one commit and the branch "main"."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.repositories: dict[str, Path] = {}
        self.gated: set[str] = set()
        self.asked: list[str] = []


def _handler(hub: list[Hub]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub[0].asked.append(path)
            name = next((n for n in hub[0].repositories if f"/{n}/" in f"{path}/"), None)
            if name is None:
                return self.error(404, "RepoNotFound")
            if name in hub[0].gated:
                return self.error(403, "GatedRepo")
            folder, rest = hub[0].repositories[name], path.partition(f"/{name}/")[2]
            files = sorted(f for f in folder.rglob("*") if f.is_file())
            kind, _, more = rest.partition("/")
            if kind in ("", "revision"):
                if more not in ("", "main", COMMIT):
                    return self.error(404, "RevisionNotFound")
                listed = [
                    {"rfilename": file.relative_to(folder).as_posix(), "size": file.stat().st_size}
                    for file in files
                ]
                told = {"id": name, "sha": COMMIT, "siblings": listed}
                return self.send(json.dumps(told).encode(), with_body)
            if kind == "tree":
                listed = [
                    {
                        "type": "file",
                        "path": file.relative_to(folder).as_posix(),
                        "size": file.stat().st_size,
                        "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
                    }
                    for file in files
                ]
                return self.send(json.dumps(listed).encode(), with_body)
            file = folder / more.partition("/")[2]
            return self.send(file.read_bytes(), with_body)

        def send(self, content: bytes, with_body: bool) -> None:
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_body:
                self.wfile.write(content)

        def error(self, status: int, kind: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", kind)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Hub]:
    """A hub that huggingface_hub asks in the place of the real one, with a cache of its own."""
    made: list[Hub] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    made.append(Hub(f"http://127.0.0.1:{server.server_address[1]}"))
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    asks = partial(huggingface_hub.snapshot_download, endpoint=made[0].url, cache_dir=cache)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", asks)
    api = partial(huggingface_hub.HfApi, endpoint=made[0].url)
    monkeypatch.setattr(huggingface_hub, "HfApi", api)
    try:
        yield made[0]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
