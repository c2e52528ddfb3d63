"""An S3 server of the tests' own (moto) that counts what it is asked, and may answer late.

    with s3_server() as server:
        storage = server.place("bucket/results")  # for --storage
        ...
        server.take()  # {"PUT": 12, "LIST": 3, ...} since it was asked last

It listens on loopback; the keys that it wants are put into the environment while it is open.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, unquote

from supclap.storage import Folder

KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def place_at(port: int, below: str) -> str:
    """The URI of a folder on a server of this machine."""
    return f"s3://{below}?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"


def make_bucket(port: int, name: str) -> None:
    import pyarrow.fs as pafs

    options = {"scheme": "http", "region": "us-east-1", "allow_bucket_creation": True}
    pafs.S3FileSystem(endpoint_override=f"127.0.0.1:{port}", **options).create_dir(name)


@dataclass
class S3Server:
    """A running server. ``delay``: seconds before each answer; may be changed at any time."""

    port: int
    delay: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)  # kind of request, key

    def place(self, below: str = "bucket/results") -> str:
        """The URI of a folder: its bucket is there."""
        return place_at(self.port, below)

    def upload(self, folder: Path, below: str) -> str:
        """Puts a folder of this machine there; its URI."""
        place = Folder.at(self.place(below))
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                place.write(path.relative_to(folder).as_posix(), path.read_bytes())
        return place.place

    def take(self) -> Counter[str]:
        """How many requests of each kind came since it was asked last."""
        found = Counter(kind for kind, _ in self.asked)
        self.asked.clear()
        return found


@contextmanager
def s3_server(delay: float = 0.0, bucket: str = "bucket") -> Iterator[S3Server]:
    """A server with one empty bucket, for as long as the context is open."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept, as with the true one

        def log(self, *_: Any) -> None: ...

    app = DomainDispatcherApplication(create_backend_app)
    found = S3Server(0, delay)
    served = make_server("127.0.0.1", 0, _counted(app, found), threaded=True, request_handler=Quiet)
    found.port = served.server_port
    thread = threading.Thread(target=served.serve_forever, name="s3", daemon=True)
    thread.start()
    try:
        with patch.dict(os.environ, KEYS):
            make_bucket(found.port, bucket)
            found.asked.clear()
            yield found
    finally:
        served.shutdown()
        thread.join()
        served.server_close()
        s3_backends.reset()  # moto keeps buckets for the whole process: the next server has none


Start = Callable[..., Any]


def _counted(app: Any, server: S3Server) -> Callable[[dict[str, Any], Start], Iterable[bytes]]:
    def answer(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        server.asked.append((_kind(environ), unquote(environ.get("PATH_INFO", ""))))
        time.sleep(server.delay)
        answered: Iterable[bytes] = app(environ, start)
        return answered

    return answer


def _kind(environ: dict[str, Any]) -> str:
    method = environ["REQUEST_METHOD"]
    asked = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    if asked.keys() & {"uploads", "uploadId"}:
        return "MULTIPART"
    if "list-type" in asked or (method == "GET" and "prefix" in asked):
        return "LIST"
    if method == "PUT" and environ.get("PATH_INFO", "").endswith("/"):
        return "MARKER"
    return method
