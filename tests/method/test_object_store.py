"""A folder on S3: what its operations ask of the store, by a server that counts (moto)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from s3_server import S3Server, s3_server

from supclap.storage import Folder

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def folder(server: S3Server, request: pytest.FixtureRequest) -> Folder:
    return Folder.at(server.place(f"bucket/{request.node.name.partition('[')[0]}"))


def asked(server: S3Server, call: Callable[[], object]) -> dict[str, int]:
    server.take()
    call()
    return dict(server.take())


def test_a_small_file_is_one_request(server: S3Server, folder: Folder) -> None:
    """No markers of the folders above it, no upload in parts."""
    assert asked(server, lambda: folder.write("cells/a/result.json", b"x" * 5_000)) == {"PUT": 1}
    assert asked(server, lambda: folder.write("cells/a/result.json", b"later")) == {"PUT": 1}
    assert folder.read("cells/a/result.json") == b"later"
    assert folder.names("cells") == ["a"]
    assert folder.exists("cells/a")


def test_a_file_that_is_large_is_whole(server: S3Server, folder: Folder) -> None:
    content = bytes(range(256)) * 2**16  # 16 MB: in parts
    folder.write("checkpoints/1.pt", content)
    assert folder.read("checkpoints/1.pt") == content


def test_a_write_to_a_bucket_that_is_not_there_is_refused(server: S3Server) -> None:
    nowhere = Folder.at(server.place("nobucket/results"))
    with pytest.raises(OSError, match="bucket"):
        nowhere.write("a", b"1")


def test_removing(server: S3Server, folder: Folder) -> None:
    for name in ("cells/a/1", "cells/a/b/2", "cells/a2/3"):
        folder.write(name, b"1")
    assert sum(asked(server, lambda: folder.delete_file("cells/a/1")).values()) <= 3
    assert sum(asked(server, lambda: folder.delete_file("cells/a/1")).values()) == 1
    assert not folder.exists("cells/a/1")
    assert sum(asked(server, lambda: folder.delete_folder("cells/a")).values()) <= 5
    assert not folder.exists("cells/a/b/2")
    folder.delete_folder("cells/a")  # which is no longer there
    assert folder.read("cells/a2/3") == b"1"
