"""A file that only one can be the first to write, and one that a new time never brings back."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyarrow.fs as pafs
import pytest
from s3_server import S3Server, s3_server

from supclap import conditional
from supclap.errors import TakenOver
from supclap.run_files import publish
from supclap.storage import Folder

WRITERS = 16


def contest(folder: Folder) -> None:
    """Many at once: each is given the content of the one that was first."""
    start = threading.Barrier(WRITERS)

    def write(number: int) -> bytes:
        start.wait()
        return folder.first("a/result.json", f"of {number}".encode())

    with ThreadPoolExecutor(WRITERS) as writers:
        held = set(writers.map(write, range(WRITERS)))
    assert held == {folder.read("a/result.json")}
    assert folder.names("a") == ["result.json"]  # nothing unfinished is left


def test_of_many_writers_one_is_first(tmp_path: Path) -> None:
    for number in range(5):
        contest(Folder.at(tmp_path / str(number)))


def test_so_it_is_where_files_have_no_second_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    folder = Folder.at(tmp_path)
    assert folder.first("a", b"one") == b"one"
    assert folder.first("a", b"other") == b"one"
    folder.copy("a", "b/c")
    assert folder.read("b/c") == b"one"


def test_a_new_time_brings_back_no_file(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    assert not folder.renew("beat", b"{}")
    assert folder.names() == []
    folder.write("beat", b"{}")
    os.utime(tmp_path / "beat", (1, 1))
    assert folder.renew("beat", b"{}")
    assert (tmp_path / "beat").stat().st_mtime > 1


def test_a_result_is_published_once(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    publish(folder, b"{}")
    publish(folder, b"{}")  # the answer to the first request may have been lost
    with pytest.raises(TakenOver, match="another process has taken this run over, or finished"):
        publish(folder, b'{"other": 1}')


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.mark.heavy
def test_on_s3_each_is_one_request(server: S3Server) -> None:
    folder = Folder.at(server.place("bucket/first"))
    server.take()
    assert folder.first("a/result.json", b"one") == b"one"
    assert server.take() == {"PUT": 1}
    assert folder.first("a/result.json", b"other") == b"one"
    assert folder.read("a/result.json") == b"one"
    folder.write("a/empty", b"")
    assert folder.first("a/empty", b"late") == b""
    folder.write("beat", b"{}")
    server.take()
    assert folder.renew("beat", b"{}")
    assert server.take() == {"PUT": 1}
    folder.delete_file("beat")
    assert not folder.renew("beat", b"{}")
    assert not folder.exists("beat")


@pytest.mark.heavy
def test_on_s3_what_is_wrong_is_one_line_without_the_keys(server: S3Server) -> None:
    place = server.place("bucket/x").replace("s3://", "s3://KEY:S3CRET@")
    assert Folder.at(place).first("a", b"1") == b"1"  # with the keys of the address
    place = server.place("nobucket/x").replace("s3://", "s3://KEY:S3CRET@")
    with pytest.raises(OSError, match="bucket") as found:
        Folder.at(place).first("a", b"1")
    assert "S3CRET" not in str(found.value)


def test_googles_store_is_asked_with_its_own_conditions() -> None:
    """By a stand-in that keeps objects as its pages say: `ifGenerationMatch=0` writes only where
    there is none, `ifGenerationNotMatch=0` only where there is one."""
    pytest.importorskip("google.auth")
    objects: dict[str, bytes] = {}

    class Store(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            address = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(address.query).items()}
            assert address.path == "/upload/storage/v1/b/bucket/o"
            assert asked.pop("uploadType") == "media"
            name = asked.pop("name")
            ((condition, generation),) = asked.items()
            assert generation == "0"
            wanted = {"ifGenerationMatch": False, "ifGenerationNotMatch": True}[condition]
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if (name in objects) is wanted:
                objects[name] = content
            self.send_response(200 if (name in objects and objects[name] == content) else 412)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        end = f"127.0.0.1:{served.server_port}"
        place = f"gs://anonymous@bucket/results?scheme=http&endpoint_override={end}"
        files = pafs.GcsFileSystem(anonymous=True, scheme="http", endpoint_override=end)

        def put(name: str, content: bytes, there: bool) -> bool:
            return conditional.put(files, place, f"bucket/results/{name}", content, there)

        assert put("a b/result.json", b"one", there=False)
        assert not put("a b/result.json", b"other", there=False)
        assert objects == {"results/a b/result.json": b"one"}
        assert not put("beat", b"{}", there=True)
        assert put("beat", b"{}", there=False)
        assert put("beat", b"{}", there=True)
        served.shutdown()
