"""MLflow as a view of the ledger: what it shows, and that it never shows anything twice."""

import json
import logging
import math
import os
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs
import pytest
from click.testing import CliRunner
from mlflow.entities import Run
from mlflow.utils.validation import _validate_metric_name
from mlflow_content import content_of
from mlflow_place import SMALL, Place, name_of
from mlflow_server import Server, wait_for
from reported_runs import reported
from supclap_platform.cli import main
from supclap_platform.experiment.metrics import CATALOGUE
from supclap_platform.ledger.history import Histories
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.mirror import store as stores
from supclap_platform.mirror.content import cursor_of, metric_name, mirrored, params_of
from supclap_platform.mirror.logged_model import save_flavor
from supclap_platform.mirror.mirror import Mirror
from supclap_platform.mirror.store import Store, choose_store, quiet
from supclap_platform.mirror.tracking import Tracker, open_tracker, reason
from supclap_platform.results.table_files import tables_of
from supclap_platform.testing import BEGIN, DATA, finish, leave
from waiting import until

from supclap.code import code_version
from supclap.config import ModelConfig, RunConfig
from supclap.errors import InputError
from supclap.model.clap import CLAP, build_model
from supclap.storage import Folder

pytestmark = pytest.mark.heavy  # each takes a moment


def test_metric_names_are_legal_in_mlflow_and_no_two_are_shown_alike() -> None:
    for name in CATALOGUE:
        _validate_metric_name(metric_name(name))
    assert len({metric_name(name) for name in CATALOGUE}) == len(set(CATALOGUE))
    assert metric_name("val.t2a.R@1") == "val/t2a.R_at_1"
    assert metric_name("temperature") == "temperature"


def test_params_are_the_flattened_configuration() -> None:
    params = params_of(RunConfig(seed=3).model_dump(mode="json"))
    assert params["seed"] == "3"
    assert params["loss.name"] == "infonce"
    assert params["loss.svr"] == "null"
    assert params["data.languages"] == '["eng"]'
    long = params_of({"data": {"folder": "x" * 7000}})["data.folder"]
    assert len(long) == 6000
    assert long.endswith("x…")


def test_a_mark_covers_only_the_events_that_it_was_made_of() -> None:
    times = [1000, 2000, 3000]
    assert mirrored(None, times) == 0
    assert mirrored(cursor_of(times[:2]), times) == 2
    assert mirrored(cursor_of(times), times[:2]) is None  # the cell fell back
    assert mirrored(cursor_of(times[:2]), [1001, 2001, 3001]) is None


@pytest.mark.heavy
def test_a_run_is_shown_epoch_by_epoch_whoever_looks_and_however_often(place: Place) -> None:
    parent = place.begin()
    cell = place.cells[0]
    mirror = Mirror(place.ledger, place.store, parent, driving=True)
    for epochs in range(3):
        leave(place.ledger, cell, reported(cell, epochs))
        assert mirror.catch_up()
        assert mirror.catch_up()
        assert Mirror(place.ledger, place.store, parent, driving=True).catch_up()
        assert place.shows_the_ledger()
        assert place.runs()[name_of(cell)].info.status == "RUNNING"
    leave(place.ledger, cell, reported(cell, 2, finished=True))
    assert mirror.catch_up()
    assert place.shows_the_ledger()
    run = place.runs()[name_of(cell)]
    assert run.info.status == "FINISHED"
    assert (run.info.start_time, run.info.end_time) == (BEGIN * 1000, (BEGIN + 25) * 1000)
    assert run.data.metrics["final/t2a.R_at_1"] == 30.0
    assert run.data.metrics["val/t2a.R_at_1"] == 20.0
    assert math.isnan(client_first(place, run, "radius/text.mean"))
    tags = run.data.tags
    assert (tags["variant"], tags["seed"], tags["signature"]) == ("InfoNCE", "0", cell.signature)
    assert (tags["code_version"], tags["data_hash"]) == (code_version(cell.config), DATA)
    row, whole = place.rows()["InfoNCE"], place.runs()["small, laptop"]
    assert tags["mlflow.parentRunId"] == row.info.run_id
    assert row.data.tags["mlflow.parentRunId"] == whole.info.run_id
    assert (tags["kind"], tags["row"], row.info.status) == ("cell", "InfoNCE", "RUNNING")
    assert run.data.params["epochs"] == "2"
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("soundscenes", DATA)


def client_first(place: Place, run: Run, name: str) -> float:
    return place.store.connect().get_metric_history(run.info.run_id, name)[0].value


class Unreliable:
    """A client whose call number ``at`` is cut off: before it takes effect, or after."""

    def __init__(self, client: Any, at: int, after: bool) -> None:
        self._client, self._at, self._after, self.calls = client, at, after, 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls != self._at:
                return method(*args, **kwargs)
            if self._after and name == "log_batch":  # killed between its metrics and its tags
                method(args[0], args[1], args[2], [])
            elif self._after:
                method(*args, **kwargs)
            raise ConnectionError("cut off")

        return call


@pytest.mark.heavy
@pytest.mark.parametrize("after", [False, True])
def test_cut_off_at_any_call_and_begun_again_the_store_is_the_same(
    place: Place, empty_store: Path, tmp_path: Path, after: bool
) -> None:
    parent = place.begin()
    for number, cell in enumerate(place.cells[:2]):
        leave(place.ledger, cell, reported(cell, 2, number, finished=number == 0))
    place.ledger.record_failure(place.cells[1].signature, "it broke")
    parent = Histories(place.ledger).end(parent, "FAILED")
    client = Unreliable(place.store.connect(), at=0, after=after)
    calls = mirror_with(place, parent, client)
    wanted = content_of(place.store.uri, tmp_path / "wanted")
    assert place.shows_the_ledger()
    for at in chosen(calls):
        shutil.copy(empty_store, place.folder / "storage/mlflow.db")
        broken = Unreliable(place.store.connect(), at, after)
        with pytest.raises(ConnectionError):
            mirror_with(place, parent, broken)
        Mirror(place.ledger, place.store, parent).catch_up()
        assert content_of(place.store.uri, tmp_path / str(at)) == wanted, f"call {at}"


def chosen(calls: int) -> list[int]:
    """Some of the calls by a fixed draw; SUPCLAP_KILL_ROUNDS asks for more."""
    rounds = min(int(os.environ.get("SUPCLAP_KILL_ROUNDS", "10")), calls)
    return random.Random(4).sample(range(1, calls + 1), rounds)


def mirror_with(place: Place, parent: Any, client: Any) -> int:
    mirror = Mirror(place.ledger, place.store, parent)
    mirror._client = client
    mirror.catch_up()
    return client.calls


def test_no_point_is_stored_twice_even_where_the_client_would_not_show_it(place: Place) -> None:
    parent = place.begin()
    for number, cell in enumerate(place.cells):
        leave(place.ledger, cell, reported(cell, 2, number, finished=True))
    for _ in range(3):
        Mirror(place.ledger, place.store, parent).catch_up()
    with closing(sqlite3.connect(place.folder / "storage/mlflow.db")) as database:
        query = "select count(*), count(distinct run_uuid || key || step) from metrics"
        rows, points = database.execute(query).fetchone()
        cells = database.execute(
            f"{query} where run_uuid in (select run_uuid from tags where key = 'signature')"
        ).fetchone()
    assert rows == points
    assert cells == (4 * (2 * 9 + 7),) * 2


@pytest.mark.heavy
def test_statuses_are_those_of_the_ledger(place: Place) -> None:
    first, second, third, fourth = place.cells
    parent = place.begin()
    leave(place.ledger, first, reported(first, 2, 0, finished=True))
    leave(place.ledger, second, reported(second, 1, 1))
    leave(place.ledger, third, reported(third, 1, 2))
    place.ledger.record_failure(third.signature, "CUDA out of memory")
    mirror = Mirror(place.ledger, place.store, parent, driving=True)
    mirror.catch_up()
    assert statuses(place) == {
        "small, laptop": "RUNNING",
        name_of(first): "FINISHED",
        name_of(second): "RUNNING",  # this driver is about to go on with it
        name_of(third): "FAILED",
    }
    assert place.runs()[name_of(third)].data.tags["error"] == "CUDA out of memory"
    mirror.driving = False  # as it would be found after the driver's death
    mirror.catch_up()
    assert statuses(place) == {
        "small, laptop": "KILLED",
        name_of(first): "FINISHED",
        name_of(second): "KILLED",
        name_of(third): "FAILED",
    }
    assert place.runs()[name_of(second)].info.end_time == (BEGIN + 70) * 1000
    with place.ledger.take(second.signature):  # another experiment's driver has gone on with it
        Mirror(place.ledger, place.store, parent).catch_up()
        assert statuses(place)[name_of(second)] == "RUNNING"
    place.ledger.clear_failure(third.signature)
    leave(place.ledger, third, reported(third, 2, 2, finished=True))
    Mirror(place.ledger, place.store, parent).catch_up()
    assert statuses(place)[name_of(third)] == "FINISHED"
    assert "error" not in place.runs()[name_of(third)].data.tags
    assert name_of(fourth) not in place.runs()


def statuses(place: Place) -> dict[str, str]:
    return {name: run.info.status for name, run in place.runs().items()}


def test_a_trial_that_its_search_has_stopped_is_marked_until_it_goes_on(place: Place) -> None:
    cell = place.cells[0]
    leave(place.ledger, cell, reported(cell, 1))
    place.ledger.folder(cell.signature).write("checkpoints/latest.json", b"{}")
    place.ledger.note_early_stop(cell.signature)
    tracker = Mirror(place.ledger, place.store, place.begin())
    assert tracker.catch_up()
    run = place.runs()[name_of(cell)]
    assert (run.info.status, run.data.tags["stopped_early"]) == ("KILLED", "true")
    lease = place.ledger.take(cell.signature)
    assert lease is not None
    assert tracker.catch_up()
    run = place.runs()[name_of(cell)]
    assert run.info.status == "RUNNING"
    assert "stopped_early" not in run.data.tags
    lease.release()


def test_a_cell_that_fails_before_it_reports_anything_is_shown(place: Place) -> None:
    cell = place.cells[0]
    place.ledger.record_failure(cell.signature, "no such encoder", configuration=True)
    Mirror(place.ledger, place.store, place.begin()).catch_up()
    run = place.runs()[name_of(cell)]
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", "no such encoder")
    assert run.info.end_time == run.info.start_time


def test_a_result_that_is_not_recorded_is_not_shown(place: Place) -> None:
    cell = place.cells[0]
    leave(place.ledger, cell, reported(cell, 2, finished=True))
    place.ledger.folder(cell.signature).delete("result.json")
    Mirror(place.ledger, place.store, place.begin()).catch_up()
    run = place.runs()[name_of(cell)]
    assert run.info.status == "KILLED"
    assert not [name for name in run.data.metrics if name.startswith("final/")]


def test_a_cell_that_is_trained_anew_replaces_its_run(place: Place) -> None:
    parent, cell = place.begin(), place.cells[0]
    leave(place.ledger, cell, reported(cell, 2, finished=True))
    mirror = Mirror(place.ledger, place.store, parent, driving=True)
    mirror.catch_up()
    before = place.runs()[name_of(cell)].info.run_id
    place.ledger.discard(cell.signature)
    leave(place.ledger, cell, reported(cell, 1, begin=BEGIN + 1000))
    mirror.catch_up()
    assert place.shows_the_ledger()
    assert place.runs()[name_of(cell)].info.run_id != before


def test_a_run_that_a_user_deletes_comes_back(place: Place) -> None:
    parent, cell = place.begin(), place.cells[0]
    leave(place.ledger, cell, reported(cell, 2, finished=True))
    Mirror(place.ledger, place.store, parent).catch_up()
    client = place.store.connect()
    client.delete_run(place.runs()[name_of(cell)].info.run_id)
    client.delete_experiment(client.get_experiment_by_name("small").experiment_id)
    Mirror(place.ledger, place.store, parent).catch_up()
    assert place.shows_the_ledger()


def test_a_finished_cell_that_is_shown_whole_is_not_read_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever changes on either side makes it read, and shown as the ledger has it."""
    read: list[str] = []
    whole = Ledger.events

    def events(ledger: Ledger, signature: str, *more: Any) -> Any:
        read.append(signature)
        return whole(ledger, signature, *more)

    monkeypatch.setattr(Ledger, "events", events)
    parent, cells = place.begin(), place.cells
    for number, cell in enumerate(cells[:3]):
        leave(place.ledger, cell, reported(cell, 2, number, finished=number < 2))
    client = place.store.connect()

    def look(thorough: bool = False) -> list[str]:
        """Which cells a process that begins now reads."""
        read.clear()
        ledger = Ledger(place.ledger.storage)
        assert Mirror(ledger, place.store, parent, thorough=thorough).catch_up()
        return [cell.signature for cell in cells if cell.signature in read]

    first, second, open_ = (cell.signature for cell in cells[:3])
    assert look() == [first, second, open_]
    content = content_of(place.store.uri, place.folder / "whole")
    assert look() == [open_]
    assert look(thorough=True) == [first, second, open_]
    run = place.runs()[name_of(cells[1])].info.run_id
    changes: list[Callable[[], object]] = [
        lambda: client.set_tag(run, "code_version", "another"),
        lambda: client.delete_tag(run, "mirrored"),
        lambda: client.update_run(run, name="mine"),
        lambda: client.update_run(run, status="RUNNING"),
        lambda: client.set_terminated(run, "FINISHED", 1),
        lambda: client.delete_run(run),
    ]
    for number, change in enumerate(changes):
        change()
        assert look() == [second, open_], number
        assert look() == [open_], number
    assert content_of(place.store.uri, place.folder / "mended") == content
    # The same numbers, and another end: a result of the same size.
    leave(place.ledger, cells[0], reported(cells[0], 2, 0, begin=BEGIN + 1000, finished=True))
    assert look() == [first, open_]
    assert place.runs()[name_of(cells[0])].info.start_time == round((BEGIN + 1000) * 1000)
    assert look() == [open_]
    place.ledger.folder(second).delete("result.json")
    assert look() == [second, open_]
    assert place.runs()[name_of(cells[1])].info.status == "KILLED"  # it is not done any more


def test_an_edited_experiment_keeps_what_it_no_longer_asks_for(place: Place) -> None:
    leave(place.ledger, place.cells[0], reported(place.cells[0], 2, finished=True))
    Mirror(place.ledger, place.store, place.begin()).catch_up()
    text = SMALL.replace("InfoNCE: {}, ", "").replace("baseline: InfoNCE\n", "")
    place.experiment, cells = place.load(text)
    leave(place.ledger, cells[0], reported(cells[0], 2, finished=True))
    place.cells = cells
    Mirror(place.ledger, place.store, place.begin()).catch_up()
    assert set(place.runs()) == {"small, laptop", "seed 0, InfoNCE", "seed 0, SVR"}


def test_a_renamed_variant_is_the_same_run_under_its_new_name(place: Place) -> None:
    leave(place.ledger, place.cells[0], reported(place.cells[0], 2, finished=True))
    Mirror(place.ledger, place.store, place.begin()).catch_up()
    run_id = place.runs()["seed 0, InfoNCE"].info.run_id
    place.experiment, place.cells = place.load(SMALL.replace("InfoNCE", "baseline"))
    Mirror(place.ledger, place.store, place.begin()).catch_up()
    run = place.runs()["seed 0, baseline"]
    assert (run.info.run_id, run.data.tags["variant"]) == (run_id, "baseline")
    assert place.shows_the_ledger()


def test_a_cell_of_two_experiments_is_shown_in_each(place: Place) -> None:
    cell = place.cells[0]
    leave(place.ledger, cell, reported(cell, 2, finished=True))
    Mirror(place.ledger, place.store, place.begin()).catch_up()
    first = place.runs()
    place.experiment, place.cells = place.load(
        SMALL.replace("experiment: small", "experiment: two")
    )
    assert place.cells[0].signature == cell.signature
    Mirror(place.ledger, place.store, place.begin()).catch_up()
    second = place.runs()
    assert first[name_of(cell)].data.metrics.keys() == second[name_of(cell)].data.metrics.keys()
    assert first[name_of(cell)].info.run_id != second[name_of(cell)].info.run_id


def test_two_processes_that_mirror_at_once_make_each_run_once(place: Place) -> None:
    parent = place.begin()
    for number, cell in enumerate(place.cells):
        leave(place.ledger, cell, reported(cell, 2, number, finished=True))
    mirrors = [Mirror(place.ledger, place.store, parent) for _ in range(3)]
    threads = [threading.Thread(target=mirror.wait_and_catch_up) for mirror in mirrors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(place.runs()) == 5
    assert place.shows_the_ledger()


@pytest.mark.heavy
def test_duplicates_that_a_late_answer_left_are_removed(place: Place) -> None:
    parent, cell = place.begin(), place.cells[0]
    leave(place.ledger, cell, reported(cell, 2, finished=True))
    Mirror(place.ledger, place.store, parent).catch_up()
    client, run = place.store.connect(), place.runs()[name_of(cell)]
    tags = {key: run.data.tags[key] for key in ("signature", "kind", "supclap.below")}
    client.create_run(run.info.experiment_id, tags=tags, run_name="late")
    Mirror(place.ledger, place.store, parent).catch_up()
    assert place.shows_the_ledger()


def test_the_tracker_shows_a_run_and_its_table(place: Place, tmp_path: Path) -> None:
    lines: list[str] = []
    tracker = open_tracker(place.experiment, place.cells, place.ledger, say=lines.append)
    for number, cell in enumerate(place.cells):
        for epochs in (0, 1, 2):
            leave(place.ledger, cell, reported(cell, epochs, number))
            tracker.catch_up()
        leave(place.ledger, cell, reported(cell, 2, number, finished=True))
    files = tables_of(place.experiment, place.ledger) | {"figures/drift.svg": b"<svg/>"}
    assert tracker.close("FINISHED", files)
    assert lines == []
    assert place.shows_the_ledger()
    assert set(statuses(place).values()) == {"FINISHED"}
    parent = place.runs()["small, laptop"]
    found = Path(place.store.connect().download_artifacts(parent.info.run_id, "", str(tmp_path)))
    assert (found / "small.yaml").read_text(encoding="utf-8") == SMALL
    assert (found / "figures/drift.svg").read_bytes() == b"<svg/>"
    assert "| InfoNCE | 30.50 ± 0.71 |" in (found / "table.md").read_text(encoding="utf-8")
    assert {"table.txt", "table.csv", "table.tex"} <= {path.name for path in found.iterdir()}
    table = json.loads((found / "table.json").read_text(encoding="utf-8"))
    assert table["columns"] == ["variant", "t2a.R@1"]
    assert table["data"][0] == ["InfoNCE", "30.50 ± 0.71"]
    assert parent.data.tags["mlflow.note.content"] == "Which is better?"


def test_an_interrupted_run_is_left_killed_and_the_next_one_mends_it(place: Place) -> None:
    cell = place.cells[0]
    tracker = open_tracker(place.experiment, place.cells, place.ledger)
    leave(place.ledger, cell, reported(cell, 1))
    assert tracker.close("KILLED")
    assert statuses(place) == {"small, laptop": "KILLED", name_of(cell): "KILLED"}
    tracker = open_tracker(place.experiment, place.cells, place.ledger)
    leave(place.ledger, cell, reported(cell, 2, finished=True))
    assert tracker.close("FINISHED")
    assert statuses(place) == {"small, laptop": "FINISHED", name_of(cell): "FINISHED"}
    assert place.shows_the_ledger()


class Away(Store):
    """A store that is away until ``back`` is set."""

    back: threading.Event
    tries: list[int]

    def __init__(self, store: Store) -> None:
        super().__init__(store.uri, store.artifacts)
        object.__setattr__(self, "back", threading.Event())
        object.__setattr__(self, "tries", [])

    def connect(self) -> Any:
        self.tries.append(1)
        if not self.back.is_set():
            raise ConnectionError("HTTPConnectionPool: [Errno 111] Connection refused")
        return super().connect()


def test_a_store_that_is_away_is_told_once_and_caught_up(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supclap_platform.mirror.tracking.RETRY", (0.01, 0.05))
    lines: list[str] = []
    store = Away(place.store)
    tracker = Tracker(place.experiment, place.cells, place.ledger, store, lines.append)
    for number, cell in enumerate(place.cells):
        leave(place.ledger, cell, reported(cell, 2, number, finished=True))
        tracker.catch_up()
    until(lambda: len(store.tries) > 3)
    assert len(lines) == 1
    assert "connection refused" in lines[0]
    store.back.set()
    until(lambda: len(lines) == 2)
    assert "is back" in lines[1]
    assert tracker.close()
    assert place.shows_the_ledger()


def test_a_store_that_stays_away_is_left_to_sync(place: Place) -> None:
    lines: list[str] = []
    store = Away(place.store)
    tracker = Tracker(place.experiment, place.cells, place.ledger, store, lines.append)
    leave(place.ledger, place.cells[0], reported(place.cells[0], 2, finished=True))
    assert not tracker.close()
    assert "`supclap sync` adds it" in lines[-1]
    assert len(lines) == 2


def test_a_store_that_hangs_holds_nobody_up(place: Place) -> None:
    class Hanging(Away):
        def connect(self) -> Any:
            self.back.wait()
            raise ConnectionError("gone")

    lines: list[str] = []
    store = Hanging(place.store)
    tracker = Tracker(place.experiment, place.cells, place.ledger, store, lines.append)
    for _ in range(100):
        tracker.catch_up()
    assert not tracker.close(patience=0.1)
    assert "`supclap sync` adds it" in lines[-1]
    store.back.set()


@pytest.mark.parametrize("uri", ["mlruns", "/tmp/mlruns", "file:///tmp/mlruns", "ftp://host"])
def test_a_uri_that_mlflow_cannot_use_is_refused(place: Place, uri: str) -> None:
    with pytest.raises(InputError, match="expected http"):
        open_tracker(place.experiment, place.cells, place.ledger, uri)


def test_where_the_store_lies(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = place.ledger.storage
    assert choose_store(None, storage) == place.store
    assert place.store.uri == f"sqlite:///{storage.base}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert choose_store(None, storage) == Store("http://127.0.0.1:5000")


@pytest.mark.parametrize(
    ("uri", "installed", "expected"),
    [
        ("postgresql://u:p@host/db", {"psycopg2", "psycopg"}, "postgresql+psycopg2://u:p@host/db"),
        ("postgresql://u:p@host/db", {"psycopg"}, "postgresql+psycopg://u:p@host/db"),
        ("postgresql+psycopg://host/db", {"psycopg2", "psycopg"}, "postgresql+psycopg://host/db"),
        ("mysql://host/db", {"MySQLdb"}, "mysql+mysqldb://host/db"),
        ("mssql+pyodbc://host/db", set(), "mssql+pyodbc://host/db"),  # SQLAlchemy's to say
        ("postgresql://u:p@host/db", set(), "host/db': no driver .* pip install 'psycopg2-binary'"),
        ("postgresql+psycopg://host/db", {"psycopg2"}, r"pip install 'psycopg\[binary\]'"),
    ],
)
def test_a_database_is_spoken_to_by_the_driver_that_is_installed(
    place: Place, monkeypatch: pytest.MonkeyPatch, uri: str, installed: set[str], expected: str
) -> None:
    monkeypatch.setattr(stores, "_can_import", installed.__contains__)
    storage = place.ledger.storage
    if "://" not in expected:
        with pytest.raises(InputError, match=expected) as refused:
            choose_store(uri, storage)
        assert "u:p@" not in str(refused.value)
        return
    assert choose_store(uri, storage) == Store(expected, f"file://{storage.base}/mlartifacts")
    files = pafs.SubTreeFileSystem(storage.base, storage.filesystem)
    elsewhere = Folder(files, "bucket/a", "s3://key:secret@bucket/a?region=eu")
    assert choose_store(uri, elsewhere) == Store(expected, "s3://bucket/a/mlartifacts")


def test_run_refuses_such_a_uri_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(__file__).parents[2] / "experiments/quickstart.yaml"
    storage = tmp_path / "storage"
    with pytest.raises(SystemExit) as end:
        main(["run", str(file), "--storage", str(storage), "--tracking-uri", "ftp://x"])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("supclap: tracking URI 'ftp://x'")
    assert not (storage / "experiments").exists()


def test_a_remote_storage_without_a_uri_runs_untracked_and_says_so(place: Place) -> None:
    files = pafs.SubTreeFileSystem(str(place.folder), pafs.LocalFileSystem())
    lines, ledger = [], Ledger(Folder(files, "elsewhere", "s3://bucket/elsewhere"))
    tracker = open_tracker(place.experiment, place.cells, ledger, say=lines.append)
    tracker.catch_up()
    assert not tracker.close()
    assert "no tracking URI" in lines[0]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[CLAP, Path]:
    config = ModelConfig.model_validate(
        {"audio": {"width": 8, "layers": 1}, "text": {"width": 32, "layers": 1}, "dim": 8}
    )
    folder = tmp_path_factory.mktemp("model") / "model"
    built = build_model(config, ["a dog barks", "rain falls"], seconds=1.0, seed=0).eval()
    built.save(folder)
    return built, folder


@pytest.fixture
def sounds(tmp_path: Path) -> list[str]:
    import soundfile

    draw = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.wav" for number in range(3)]
    for path in paths:
        soundfile.write(path, draw.uniform(-0.5, 0.5, 16000), 16000)
    return [str(path) for path in paths]


@pytest.mark.heavy
def test_a_logged_model_embeds_and_retrieves(
    place: Place,
    model: tuple[CLAP, Path],
    sounds: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mlflow
    import pandas as pd

    built, folder = model
    cell = place.cells[0]
    shutil.copytree(folder, Path(place.ledger.folder(cell.signature).base) / "model")
    leave(place.ledger, cell, reported(cell, 2, finished=True))
    parent = place.begin()
    for _ in range(2):
        Mirror(place.ledger, place.store, parent).catch_up()
        run = place.runs()[name_of(cell)]
        assert len(run.outputs.model_outputs) == 1
        # As where a driver was killed between the model's link and the tag that tells of it.
        client = place.store.connect()
        client.delete_tag(run.info.run_id, "model")
    ranked = client.search_logged_models(
        [run.info.experiment_id],
        order_by=[{"field_name": "metrics.Table/t2a.R_at_1", "ascending": False}],
    )
    (logged,) = ranked
    assert (logged.name, logged.params) == ("InfoNCE, seed 0", {"loss.svr": "null", "seed": "0"})
    linked = {m.key: (m.value, m.dataset_name, m.dataset_digest) for m in logged.metrics}
    assert linked["Table/t2a.R_at_1"] == linked["final/t2a.R_at_1"] == (30.0, "soundscenes", DATA)
    assert len(linked) == 7
    # set_tracking_uri would outlive this test, in the environment of all others.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place.store.uri)
    loaded = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/InfoNCE, seed 0")
    texts = ["a dog barks", "rain falls"]
    rows = [{"text": text} for text in texts] + [{"audio": path} for path in sounds]
    frame = pd.DataFrame(rows, columns=["text", "audio"])
    found = np.array(loaded.predict(frame)["embedding"].tolist())
    text, audio = built.encode_text(texts), built.encode_audio(sounds)
    np.testing.assert_allclose(found, np.concatenate([text, audio]), atol=1e-6)
    only_text = loaded.predict(pd.DataFrame({"text": texts}))
    np.testing.assert_allclose(np.array(only_text["embedding"].tolist()), text, atol=1e-6)

    hits = loaded.predict(frame, params={"task": "text_to_audio", "k": 2})
    for query, embedding in zip(texts, text, strict=True):
        best = sorted(zip(-(audio @ embedding), sounds, strict=True))[:2]
        mine = hits[hits["query"] == query]
        assert list(mine["found"]) == [path for _, path in best]
        assert list(mine["rank"]) == [1, 2]
        np.testing.assert_allclose(mine["score"], [-value for value, _ in best], atol=1e-6)
    back = loaded.predict(frame, params={"task": "audio_to_text", "k": 1})
    assert list(back["found"]) == [texts[at] for at in (audio @ text.T).argmax(1)]


def registered_once(place: Place, model: tuple[CLAP, Path], tracking: str) -> None:
    """The winner is registered in the MLflow at ``tracking``, once, and opens by its name."""
    import mlflow
    import pandas as pd

    for cell in place.cells:  # SVR is the best on validation, its first seed the best of it
        value = (40.0 if cell.variant == "SVR" else 30.0) - cell.seed
        finish(place.ledger, cell, {"val.t2a.R@1": value, "test.t2a.R@1": 70.0 - value})
    best = next(cell for cell in place.cells if (cell.variant, cell.seed) == ("SVR", 0))
    call = ["promote", str(place.experiment.path), "--storage", place.ledger.storage.base]
    call += ["--register", "clap", "--tracking-uri", tracking]
    Mirror(place.ledger, place.store, place.begin()).catch_up()
    refused = CliRunner().invoke(main, call)
    assert (refused.exit_code, "`supclap sync` first" in refused.output) == (2, True)
    shutil.copytree(model[1], Path(place.ledger.folder(best.signature).base) / "model")
    Mirror(place.ledger, place.store, place.begin()).catch_up()
    for _ in range(2):
        done = CliRunner().invoke(main, call)
        assert done.exit_code == 0, done.output
        assert done.output.splitlines()[0] == (
            "registered clap, version 1: SVR, seed 0 (val.t2a.R@1 40; its row 39.5 over 2)"
        )
        assert done.output.splitlines()[1:] == [
            f'load it: import mlflow; mlflow.set_tracking_uri("{tracking}"); '
            'mlflow.pyfunc.load_model("models:/clap@winner")'
        ]
    (version,) = place.store.connect().search_model_versions("name = 'clap'")
    assert version.tags == {"experiment": "small", "row": "SVR", "seed": "0"}
    loaded = mlflow.pyfunc.load_model("models:/clap@winner")
    found = loaded.predict(pd.DataFrame({"text": ["a dog barks"]}))["embedding"][0]
    np.testing.assert_allclose(found, model[0].encode_text(["a dog barks"])[0], atol=1e-6)


def test_the_winner_is_registered_once_and_opens_by_its_name(
    place: Place, model: tuple[CLAP, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place.store.uri)
    registered_once(place, model, place.store.uri)


@pytest.mark.heavy
def test_so_it_is_through_a_server(
    place: Place, model: tuple[CLAP, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server has database and artifacts elsewhere, and takes other sources of a model."""
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server")
    call = ["promote", str(place.experiment.path), "--storage", place.ledger.storage.base]
    call += ["--register", "clap", "--tracking-uri", server.uri]
    try:
        server.start()
        wait_for(server.uri)
        place.store = Store(server.uri)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        registered_once(place, model, server.uri)
        again = CliRunner().invoke(
            main,
            [*call, "--row", "InfoNCE"],
        )
        assert again.exit_code == 2  # its model was never there
        assert "`supclap sync` first" in again.output
    finally:
        server.kill()
    away = CliRunner().invoke(
        main,
        call,
    )
    assert away.exit_code == 2
    (line,) = away.output.splitlines()
    assert line.startswith(f"supclap: MLflow at {server.uri} cannot be used: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --as FILE"),
        (["--as", "x.yaml", "--row", "SVR"], "--row: belongs to --register NAME and --to DIR"),
        (["--to", "."], "--to .: exists already"),
        (["--to", "absent"], "no row is finished with all its seeds"),
        (["--register", "a/b"], "--register 'a/b': expected letters"),
        (["--register", "a"], "no row is finished with all its seeds"),
        (["--register", "a", "--row", "SVRR"], "--row 'SVRR': no such row; did you mean 'SVR'?"),
    ],
)
def test_what_cannot_be_registered_is_one_line(
    place: Place, options: list[str], message: str
) -> None:
    call = ["promote", str(place.experiment.path), "--storage", place.ledger.storage.base]
    done = CliRunner().invoke(main, [*call, *options])
    assert done.exit_code == 2
    assert message in done.output
    assert len(done.output.splitlines()) == 1


def test_a_logged_model_holds_nothing_that_unpickles(
    model: tuple[CLAP, Path], tmp_path: Path
) -> None:
    save_flavor(model[1], tmp_path / "logged")
    names = {p.relative_to(tmp_path / "logged").as_posix() for p in tmp_path.rglob("*.*")}
    assert "pyfunc_model.py" in names
    assert "artifacts/model/weights.safetensors" in names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".bin"))]


@pytest.mark.parametrize(
    ("rows", "params", "message"),
    [
        ([{"text": "a", "audio": "b.wav"}], {}, "row 0: expected either"),
        ([{"text": "a"}, {"text": ""}], {}, "row 1: expected either"),
        ([{"text": "a"}], {"task": "rank"}, "task: expected one of"),
        ([{"text": "a"}], {"task": "text_to_audio"}, "rows of both kinds"),
        ([{"audio": "missing.wav"}], {}, "missing.wav: no such file"),
    ],
)
def test_a_logged_model_says_what_it_cannot_use(
    model: tuple[CLAP, Path],
    tmp_path: Path,
    rows: list[dict[str, str]],
    params: dict[str, Any],
    message: str,
) -> None:
    import mlflow
    import pandas as pd

    save_flavor(model[1], tmp_path / "logged")
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "logged"))
    with pytest.raises(ValueError, match=message):
        loaded.predict(pd.DataFrame(rows), params=params)


def test_a_full_database_is_a_few_words_and_no_traceback_of_mlflows() -> None:
    quiet()
    assert not logging.getLogger("mlflow.store.db.utils").isEnabledFor(logging.ERROR)
    full = sqlite3.OperationalError("(raised as a result of autoflush) database or disk is full")
    assert reason(full) == "disk is full"
