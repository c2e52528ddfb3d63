"""`supclap doctor FILE`: what the runs of an experiment need, what they would fetch, and what is
missing."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from s3_server import S3Server, s3_server
from supclap_platform.cli import main
from supclap_platform.commands import doctor
from supclap_platform.experiment.cells import Cell
from tiny_encoders import make_ced
from tiny_hub import Hub, serving
from tiny_run import make_collection
from tiny_transformers import make_text
from waiting import PATIENCE

from supclap import hub as places
from supclap.answers import answers
from supclap.errors import InputError
from supclap.wording import size

FILE = """
experiment: far
base:
  data: {name: collection, folder: "DATA", seconds: 0.5}
  also: {mine: {data: {name: collection, folder: "${MY_SOUNDS}"}, split: test}}
  model:
    audio: {name: ced, folder: "CED"}
    text: {name: huggingface, repo: some/bert@main}
    dim: 16
  batch_size: 8
variants: {InfoNCE: {}}
resources: {cpu: 1}
"""
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has tests of its own, and takes seconds."""
    monkeypatch.setattr(doctor, "_ray", lambda *_: "starts")
    monkeypatch.setattr(doctor, "_mlflow", lambda *_: "answers")


@pytest.fixture
def store() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    places._snapshot.cache_clear()
    with serving(monkeypatch, tmp_path / "hub") as one:
        one.repositories["some/bert"] = make_text(tmp_path / "bert", "bert")
        yield one
    places._snapshot.cache_clear()


def ask(file: Path, *more: str) -> tuple[Result, list[str]]:
    """The answer, and its lines on the experiment."""
    arguments = ["doctor", str(file), "--storage", str(file.parent / "storage"), *more]
    found = CliRunner().invoke(main, arguments, catch_exceptions=False)
    _, _, below = found.stdout.partition(f"{file}, profile laptop\n")
    return found, [" ".join(line.split()) for line in below.splitlines()]


def written(folder: Path, data: str) -> Path:
    file = folder / "far.yaml"
    text = FILE.replace("DATA", data).replace("CED", str(folder / "ced"))
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.heavy
def test_each_thing_is_here_or_would_be_fetched_or_is_missing_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: S3Server, hub: Hub
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("SUPCLAP_CACHE", str(cache))
    monkeypatch.delenv("MY_SOUNDS", raising=False)
    tones, ced = make_collection(tmp_path / "tones"), make_ced(tmp_path / "ced")
    far = store.upload(tones, "bucket/tones")
    file = written(tmp_path, far)
    store.take()
    found, lines = ask(file)
    stored = [path.stat().st_size for path in tones.rglob("*") if path.is_file()]
    bert = tmp_path / "bert"
    weights = [path.stat().st_size for path in bert.glob("*") if path.suffix != ".md"]
    place = lines[0].split()[3]
    assert place.startswith(far.partition("?")[0])
    assert lines[:7] == [
        f"fetch data data.folder: {place} ({len(stored)} files, {size(sum(stored))}), into {cache}",
        "WRONG data MY_SOUNDS is not set (also.mine.data.folder)",
        "supclap prepare NAME --source NAME --out data/name; export MY_SOUNDS=$PWD/data/name",
        f"ok weights model.audio.folder: {ced} is here",
        f"fetch weights model.text.folder: hf://some/bert@main ({len(weights)} files, "
        f"{size(sum(weights))}), into {tmp_path / 'hub'}",
        lines[5],
        lines[6],
    ]
    assert lines[5].startswith(f"ok room {size(sum(stored))} to fetch into {cache}, once; ")
    assert lines[6].startswith(f"ok room {size(sum(weights))} to fetch into {tmp_path / 'hub'}, ")
    assert len(lines) == 7
    assert found.exit_code == 1  # of the one that is missing
    # A plan says the same, with what can be known before anything is fetched.
    arguments = ["plan", str(file), "--storage", str(tmp_path / "storage")]
    planned = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert planned.exit_code == 2
    said = [line.strip() for line in planned.stdout.splitlines()]
    assert said[1] == "data  MY_SOUNDS is not set (also.mine.data.folder)"
    coming = [line.removeprefix("to fetch: ") for line in said if line.startswith("to fetch: ")]
    fetched = [line for line in lines if line.startswith("fetch ")]
    assert [line.partition(", into")[0].split(": ", 1)[1] for line in fetched] == coming
    assert any(line.startswith("runs: 1 run;") for line in said)
    unknown = next(line for line in said if line.startswith("not known: "))
    assert "sizes of the model (model.text.folder: hf://some/bert@main is not fetched" in unknown
    # Nothing was fetched.
    assert not (cache / "copies").exists()
    assert not any("/resolve/" in path for path in hub.asked)

    # With a room that is too small, and once a place is empty.
    monkeypatch.setenv("MY_SOUNDS", str(tones))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(6 * 2**30, 0, 6 * 2**30))
    assert ask(file)[0].exit_code == 0
    few = sum(stored) - 1
    monkeypatch.setattr("supclap_platform.commands.plan_fetches.free_bytes", lambda _: few)
    full, lines = ask(file)
    at = next(n for n, line in enumerate(lines) if line.startswith("WRONG room"))
    assert lines[at].endswith(f"once; only {size(few)} are free here")
    assert lines[at + 1].startswith("supclap clean, or set SUPCLAP_CACHE")
    assert full.exit_code == 1
    gone, lines = ask(written(tmp_path, store.place("bucket/nothing")))
    assert gone.exit_code == 1
    assert lines[0].startswith("WRONG data data.folder: s3://bucket/nothing")
    assert lines[0].endswith("nothing lies there")


@pytest.mark.heavy
def test_the_nodes_of_a_cluster_are_asked_for_data_and_weights_and_each_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supclap_platform.running import cluster, fleet

    monkeypatch.setenv("MY_SOUNDS", str(tmp_path / "mine"))
    asked: list[str] = []

    def examined(ledger: object, cells: list[Cell], experiment: str) -> dict[str, str]:
        assert experiment == "far"
        asked.extend(str(need.place) for c in cells for need in c.method.needs(c.config))
        return {"one (10.0.0.1)": "", "two (10.0.0.2)": "data.folder: no such folder"}

    monkeypatch.setattr(fleet, "examined", examined)
    monkeypatch.setattr(cluster, "connected", lambda address: contextlib.nullcontext())
    found, _ = ask(written(tmp_path, str(tmp_path / "tones")), "--address", "head:6379")
    assert {str(tmp_path / name) for name in ("tones", "mine", "ced")} <= set(asked)
    nodes = [line.split(None, 2) for line in found.stdout.splitlines() if " nodes " in line]
    assert [line[0] for line in nodes] == ["ok", "WRONG"]
    assert nodes[0][2] == (
        "1 of 2 have the storage, this code, what far.yaml needs, and devices that compute: "
        "one (10.0.0.1)"
    )
    assert nodes[1][2] == "two (10.0.0.2): data.folder: no such folder"
    assert found.exit_code == 1


def test_a_file_with_a_mistake_and_options_without_a_file_end_it_before_it_begins(
    tmp_path: Path,
) -> None:
    file = written(tmp_path, "tones")
    file.write_text(file.read_text().replace("batch_size: 8", "batch_size: -8"))
    found, _ = ask(file)
    assert (found.exit_code, found.stdout) == (2, "")
    assert "batch_size" in found.stderr
    alone = CliRunner().invoke(main, ["doctor", "--profile", "paper"])
    assert alone.exit_code == 2
    assert "are of a FILE: supclap doctor FILE" in alone.stderr


def test_what_a_run_here_lacks_is_named_and_a_clusters_nodes_are_not_judged_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr(doctor, "_nodes", lambda *_: [("ok", "2 of 2 have all")])
    file = tmp_path / "made.yaml"
    text = "experiment: made\nbase: {data: {name: soundscenes}}\nvariants: {InfoNCE: {}}\n"
    file.write_text(text)
    found, lines = ask(file)
    assert found.exit_code == 0
    assert lines == ["ok experiment needs no data, weights or devices that are not here"]
    file.write_text(f"{text}resources: {{gpu: 2}}\n")
    found, lines = ask(file)
    assert found.exit_code == 1
    assert lines == [
        "WRONG machine a run asks for 2 GPU, this machine has 0",
        f"supclap run {file} --address auto (on a cluster that has it: docs/cluster/README.md)",
    ]
    assert ask(file, "--address", "auto")[0].exit_code == 0


def test_who_does_not_answer_in_time_is_one_line() -> None:
    def wrong() -> int:
        raise InputError("there is no bucket")

    never = threading.Event()
    one, two, three, four = answers([lambda: 3, wrong, never.wait, lambda: 1 // 0], 0.2)
    never.set()
    assert one == 3
    assert str(two) == "there is no bucket"
    assert str(three).startswith("no answer within 0.2 s")
    assert str(four) == "integer division or modulo by zero"
    assert all(isinstance(each, InputError) for each in (two, three, four))


SILENT = """
import sys
from supclap.config import parse_config
from supclap.needs import needs_of
from supclap_platform.commands.plan_missing import look_for
place = f"s3://b/x?endpoint_override=127.0.0.1:{sys.argv[1]}&scheme=http&region=us-east-1"
data = {"name": "collection", "folder": place}
text = {"name": "huggingface", "repo": "a/b"}
found = look_for(list(needs_of(parse_config({"data": data, "model": {"text": text}}))), 1)
print(*(one.fault for one in found), sep="\\n")
"""


@pytest.mark.heavy
def test_a_store_and_a_hub_that_never_answer_hold_up_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        port = silent.getsockname()[1]
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        run = subprocess.run(
            [sys.executable, "-c", SILENT, str(port)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,  # by itself S3's library tries for a hundred seconds
        )
    assert run.returncode == 0, run.stderr
    first, second = run.stdout.splitlines()
    assert first.startswith("data.folder: s3://b/x: no answer within 1 s")
    assert second.startswith("model.text.folder: ")
    assert "a/b" in second
