"""What lies in a store, copied to the cache: once, whole, as it is now. By an S3 server (moto)."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.fs as pafs
import pytest
from s3_server import S3Server, s3_server
from waiting import until

from supclap import copies, fetching, objects
from supclap.copies import awaited, copied, local
from supclap.data.cache import cache_folder
from supclap.errors import InputError
from supclap.progress import Doing, listening
from supclap.storage import Folder

pytestmark = pytest.mark.heavy

FILES = {
    "collection.json": b"{}",
    "train data é.arrow": bytes(range(256)) * 2_000,
    "deep/er/g#1.csv": b"a,b\n",
    "empty": b"",
}
KILLED = """
import sys
from supclap import fetching
from supclap.copies import local
fetching.BLOCK, fetching.MARK, fetching.AT_ONCE = 2**14, 2**15, 1
local(sys.argv[1])
"""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def place(server: S3Server, request: pytest.FixtureRequest) -> str:
    """A folder with a blank and an accent in its name, written as a user writes it."""
    place = server.place(f"bucket/{request.node.name.partition('[')[0]}/my data é")
    folder = Folder.at(place)
    for name, content in {**FILES, ".hidden/notes": b"1", "deep/.x": b"2"}.items():
        folder.write(name, content)
    server.take()
    return place


def found(folder: Path) -> dict[str, bytes]:
    names = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in names}


def test_a_folder_is_fetched_once(server: S3Server, place: str, cache: Path) -> None:
    """Hidden files are left out, as in a folder's identity; another look reads and writes
    nothing, so that a cache that cannot be written will do."""
    (coming,) = awaited([place, place])
    assert (coming.files, coming.size) == (4, sum(map(len, FILES.values())))
    assert not copied(place)
    folder = local(place)
    assert folder.name == "my data é"
    assert found(folder) == FILES
    assert copied(place)
    assert awaited([place]) == []
    index = json.loads((folder.parent / copies.INDEX).read_bytes())["files"]
    assert {name: one["sha256"] for name, one in index.items()} == {
        name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()
    }
    server.take()
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    assert local(place) == folder
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before
    assert server.take() == {"LIST": 1, "HEAD": 4}


def test_what_has_changed_is_fetched_and_nothing_else(server: S3Server, place: str) -> None:
    """Also where size and second are the same; the earlier copy stays what it was."""
    first = local(place)
    Folder.at(place).write("deep/er/g#1.csv", b"b,a\n")
    server.take()
    second = local(place)
    assert server.take()["GET"] == 1
    assert found(second) == {**FILES, "deep/er/g#1.csv": b"b,a\n"}
    assert found(first) == FILES
    Folder.at(place).delete_file("empty")
    assert sorted(found(local(place))) == sorted({*FILES} - {"empty"})


@pytest.mark.parametrize("content", [b"", bytes(512_000), None], ids=["cut", "altered", "gone"])
def test_a_damaged_copy_is_fetched_anew(server: S3Server, place: str, content: bytes) -> None:
    folder = local(place)
    damaged = folder / "train data é.arrow"
    damaged.unlink() if content is None else damaged.write_bytes(content)
    server.take()
    assert found(local(place)) == FILES
    assert server.take()["GET"] == 1
    os.utime(damaged, ns=(0, 0))  # touched alone: read, and found to be the same
    assert found(local(place)) == FILES
    assert server.take()["GET"] == 0


def test_of_two_processes_one_fetches_and_what_a_killed_one_has_is_taken_up(
    server: S3Server, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.delay = 0.1
    process = subprocess.Popen([sys.executable, "-c", KILLED, place])
    said: list[str] = []

    def listen(doing: Doing | None) -> None:
        said.append(str(doing))
        if "waiting for the process that fetches s3://" in said[-1]:
            until(lambda: _fetched_by_now() > 100_000)
            process.kill()
            process.wait()
            server.take()
            server.delay = 0.0

    try:
        until(lambda: any(cache_folder().rglob("*.work")))
        monkeypatch.setattr(fetching, "BLOCK", 2**14)
        with listening(listen):
            assert found(local(place)) == FILES
    finally:
        process.kill()
        process.wait()
        server.delay = 0.0
    assert any("waiting for the process that fetches s3://" in one for one in said)
    assert any("fetching s3://" in one and " free)" in one for one in said)
    asked = server.take()["GET"]
    assert 0 < asked < 512_000 / 2**14 - 4  # of 32 blocks not those that were there
    assert not [path for path in cache_folder().rglob(".*") if path.suffix != ".lock"]


def _fetched_by_now() -> int:
    """Bytes that a fetch has noted to be on disk."""
    found = [*cache_folder().rglob(f"*.work/{fetching.JOURNAL}")]
    noted = json.loads(found[0].read_bytes())["files"] if found else {}
    return sum(one["there"] for one in noted.values())


def test_no_room_is_seen_before_anything_is_fetched(
    server: S3Server, place: str, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(fetching, "free_bytes", lambda: 100_000)
        with pytest.raises(
            InputError, match=r"512\.0 kB are to be fetched into .*, where 100\.0 kB are free"
        ):
            local(place)
    assert server.take()["GET"] == 0
    cache.joinpath("copies").rename(cache / "gone")
    cache.joinpath("copies").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot keep made data here.*SUPCLAP_CACHE"):
        local(place)


def test_a_change_while_it_is_fetched_is_noticed(
    server: S3Server, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(fetching, "free_bytes", lambda: _changed(place, "train data é.arrow"))
        with pytest.raises(InputError, match="arrow was changed while it was fetched; run again"):
            local(place)
        patch.setattr(fetching, "free_bytes", lambda: _changed(place, "new"))
        with pytest.raises(InputError, match="was changed while it was fetched; run again"):
            local(place)
    server.take()
    assert found(local(place))["new"] == b"another"
    assert server.take()["GET"] == 1  # what had come before is taken up


def _changed(place: str, name: str) -> int:
    Folder.at(place).write(name, b"another")
    return 10**12


def test_a_file_is_held_against_the_checksum_of_the_store(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain upload's ETag is the content's MD5. An encrypted one's is not: what comes twice is
    then what lies there."""
    read = fetching._Fetch._read_once
    calls: list[str] = []

    def broken(self: Any, file: objects.Object, start: int, wanted: int) -> bytes:
        content = read(self, file, start, wanted)
        if file.name != "collection.json":
            return content
        calls.append(file.name)
        return content if len(calls) > 1 else b"xx"

    with monkeypatch.context() as patch:
        patch.setattr(fetching._Fetch, "_read_once", broken)
        with pytest.raises(InputError, match="did not come as it lies there; run again"):
            local(place)
        assert found(local(place)) == FILES

    described = objects.described

    def encrypted(name: str, opened: Any, changed: int = 0) -> objects.Object:
        one = described(name, opened, changed)
        assert one.md5  # a plain upload has one
        return objects.Object(one.name, one.size, one.changed, "0" * 32, "0" * 32)

    for module in (objects, fetching):
        monkeypatch.setattr(module, "described", encrypted)
    assert found(local(place)) == FILES


def test_a_place_may_be_one_file(place: str) -> None:
    start, _, options = place.partition("?")
    file = local(f"{start}/deep/er/g%231.csv?{options}")
    assert (file.name, file.read_bytes()) == ("g#1.csv", b"a,b\n")
    assert local(f"{start}/deep/er/g%231.csv?{options}") == file


def test_a_public_bucket_is_read_without_keys(
    place: str,
) -> None:
    with pytest.raises(InputError, match=r"ACCESS_DENIED.*AWS_ACCESS_KEY_ID.*\?anonymous=true"):
        local(f"{place}&anonymous=true")
    public = Folder.at(place).below("public")
    with public.filesystem.open_output_stream(
        f"{public.base}/a", metadata={"ACL": "public-read"}
    ) as stream:
        stream.write(b"1")
    assert found(local(f"{public.place}&anonymous=true")) == {"a": b"1"}
    assert "anonymous=true" in Folder.at(f"{place}&anonymous=true").uri
    with pytest.raises(InputError, match="'proxy' has no meaning beside 'anonymous'"):
        Folder.at(f"{place}&proxy=x&anonymous=true")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s3:/bucket/x", "s3:/bucket/x: an address has two slashes: s3://bucket/x$"),
        (Path("gs://bucket/x"), "two slashes: gs://bucket/x, given as a text and not as a Path$"),
        ("s4://bucket/x", "no store is addressed by 's4://'; did you mean 's3'"),
        ("S3://bucket/x", "no store is addressed by 'S3://'; did you mean 's3'"),
        ("http://host/x", "no store is addressed by 'http://'"),
        ("s3:/me:word@bucket/x", "^s3:/me@bucket/x: an address has two slashes: s3://me@bucket/x$"),
        ("s4://me:word@bucket/x?sig=word", "^s4://me@bucket/x: no store"),
        ("s3://", "names no bucket|not a usable place"),
    ],
)
def test_a_mistake_in_an_address_is_one_line(text: str | Path, message: str) -> None:
    with pytest.raises(InputError, match=message):
        local(text)


def test_what_is_not_there_is_said(server: S3Server) -> None:
    with pytest.raises(InputError, match="there is no bucket 'nobucket'"):
        local(server.place("nobucket/x"))
    with pytest.raises(InputError, match=r"s3://bucket/no%20such\?.*: nothing lies there"):
        local(server.place("bucket/no such"))


def test_a_folder_without_what_is_needed_is_not_fetched(server: S3Server, place: str) -> None:
    with pytest.raises(InputError, match=r"has no model\.json: not a model folder"):
        local(place, ["model.json"], "not a model folder")
    assert server.take()["GET"] == 0


def test_a_path_of_this_machine_stays_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local("~/data") == tmp_path / "data"
    assert local("data/x") == Path("data/x")
    assert local(f"file://{tmp_path}/x") == tmp_path / "x"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    assert local("s3:/") == Path("s3:/")  # a folder that is there is called so


class Google:
    """A file system in the place of Google's: folders of this machine, which have no tags."""

    def __init__(self, root: Path) -> None:
        self.asked: list[str] = []
        self._root = root

    def __call__(self, uri: str) -> tuple[pafs.FileSystem, str]:
        self.asked.append(uri)
        files = pafs.SubTreeFileSystem(str(self._root), pafs.LocalFileSystem())
        return files, uri.partition("://")[2].partition("?")[0].rpartition("@")[2]


def test_google_storage_by_a_file_system_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses, and a store without tags: there size and time tell states apart."""
    google = Google(tmp_path / "google")
    monkeypatch.setattr(pafs, "FileSystem", SimpleNamespace(from_uri=google))
    file = tmp_path / "google" / "bucket" / "x" / "collection.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"one")
    os.utime(file, ns=(10**18, 10**18))
    first = local("gs://bucket/x")
    assert google.asked[0] == "gs://bucket/x?retry_limit_seconds=30"
    assert found(first) == {"collection.json": b"one"}
    assert local("gs://bucket/x") == first
    file.write_bytes(b"two")
    assert found(local("gs://bucket/x")) == {"collection.json": b"two"}
    assert found(first) == {"collection.json": b"one"}
    google.asked.clear()
    local("gs://bucket/x?anonymous=true&retry_limit_seconds=5")
    assert google.asked[0] == "gs://anonymous@bucket/x?retry_limit_seconds=5"


def test_a_store_that_gives_no_entry_says_whose_keys_it_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(Google):
        def __call__(self, uri: str) -> tuple[Any, str]:
            def refuse(_: object) -> None:
                raise OSError("AWS Error ACCESS_DENIED during ListObjectsV2: s3://me:word@bucket")

            return SimpleNamespace(get_file_info=refuse, type_name="s3"), "bucket/x"

    monkeypatch.setattr(pafs, "FileSystem", SimpleNamespace(from_uri=Closed(tmp_path)))
    with pytest.raises(InputError, match=r"cannot be read: .*ACCESS_DENIED") as caught:
        local("s3://me:word@bucket/x")
    assert "AWS_ACCESS_KEY_ID" in str(caught.value)
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("name", ["../x", "a//b", "a/../b"])
def test_no_name_in_a_store_leads_out_of_the_copy(name: str) -> None:
    folder = SimpleNamespace(base="bucket/x", uri="s3://bucket/x")
    info = SimpleNamespace(path=f"bucket/x/{name}")
    with pytest.raises(InputError, match="which no file can be called"):
        objects._name(folder, info)
