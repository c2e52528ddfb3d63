"""A run with nothing to train opens MLflow only where that may not show what there is."""

import html
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.records import Known
from supclap_platform.ledger.snapshot import Snapshot
from supclap_platform.mirror.mirror import Mirror
from supclap_platform.mirror.runs import Runs
from supclap_platform.mirror.stamps import stamps_of
from supclap_platform.mirror.store import Store, sqlite_uri
from supclap_platform.mirror.whole_mark import database_of, settled_database
from supclap_platform.testing import BEGIN, events_of, fail, finish, interrupt, leave

pytestmark = pytest.mark.heavy
FILE = """\
experiment: small
base: {epochs: 2}
variants: {InfoNCE: {}, SVR: {loss.svr: {}}}
seeds: 2
baseline: InfoNCE
claims: [SVR > InfoNCE on t2a.R@1]
table: {columns: [t2a.R@1]}
"""
METRIC = "test.t2a.R@1"


class Small:
    """Four finished cells, an MLflow store, and runs that find nothing to train."""

    def __init__(self, folder: Path, empty: Path, patch: pytest.MonkeyPatch) -> None:
        self.file, self.storage = folder / "small.yaml", folder / "storage"
        self.database = self.storage / "mlflow.db"
        self.storage.mkdir()
        shutil.copy(empty, self.database)
        self.file.write_text(FILE, encoding="utf-8")
        self.ledger = open_ledger(self.storage)
        for number, cell in enumerate(self.cells):
            finish(self.ledger, cell, {METRIC: 40.0 + number})
        self.opened = 0
        connect = Store.connect

        def counted(store: Store) -> Any:
            self.opened += 1
            return connect(store)

        patch.setattr(Store, "connect", counted)

    @property
    def cells(self) -> list[Cell]:
        return cells_of(load_experiment(self.file))

    def run(self) -> bool:
        """Whether a run has opened MLflow."""
        before = self.opened
        called = ["run", str(self.file), "--storage", str(self.storage)]
        done = CliRunner().invoke(main, called)
        assert done.exit_code == 0, done.output
        assert "cannot be used" not in done.output
        assert "MLflow lacks" not in done.output
        return self.opened > before

    def becomes_quiet(self) -> None:
        """A run that makes MLflow's runs anew may leave a page that leads to those before: the one
        after it shows the page that leads to these."""
        assert not self.run() or not self.run()

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database)) as database, database:
            return database.execute(query, values).fetchall()

    def finals(self) -> dict[str, float]:
        """What the runs of cells that are not deleted end with."""
        return dict(
            self.ask(
                "SELECT r.name, m.value FROM runs r JOIN latest_metrics m USING (run_uuid) "
                "WHERE m.key = 'final/t2a.R_at_1' AND r.lifecycle_stage = 'active'"
            )
        )

    def tag(self, run: str, key: str) -> str | None:
        """A tag of a run that is not deleted, by its name."""
        found = self.ask(
            "SELECT t.value FROM tags t JOIN runs r USING (run_uuid) "
            "WHERE r.name = ? AND t.key = ? AND r.lifecycle_stage = 'active'",
            run,
            key,
        )
        return found[0][0] if found else None


@pytest.fixture
def small(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    return Small(tmp_path, empty_store, monkeypatch)


WHOLE = {
    "seed 0, InfoNCE": 40.0,
    "seed 1, InfoNCE": 41.0,
    "seed 0, SVR": 42.0,
    "seed 1, SVR": 43.0,
}


def test_mlflow_is_opened_again_only_where_something_came_went_or_was_touched(
    small: Small, empty_store: Path
) -> None:
    assert small.run()
    assert small.finals() == WHOLE
    content, page = small.database.read_bytes(), _page(small)
    assert not small.run()
    assert (small.database.read_bytes(), _page(small)) == (content, page)
    parent = small.storage / "experiments/small/parents"
    (mark,) = parent.glob("*/shown.json")
    (kept,) = parent.glob("*/artifacts/report.html")
    assert kept.read_bytes() == page
    times = small.database.stat()

    def edited_behind_its_back() -> None:
        small.ask("UPDATE tags SET value = 'SvR' WHERE key = 'row' AND value = 'SVR'")
        os.utime(small.database, ns=(times.st_atime_ns, times.st_mtime_ns))

    def emptied() -> None:
        shutil.copyfile(empty_store, small.database)

    def lying_mark() -> None:
        values = json.loads(mark.read_text(encoding="utf-8"))
        mark.write_text(json.dumps({**values, "content": "0" * 64}), encoding="utf-8")

    def deleted_run() -> None:
        client = MlflowClient(f"sqlite:///{small.database}")
        ((run,),) = small.ask(
            "SELECT run_uuid FROM runs WHERE name = 'seed 1, SVR' AND lifecycle_stage = 'active'"
        )
        client.delete_run(run)

    touched: list[Callable[[], object]] = [
        emptied,
        edited_behind_its_back,
        deleted_run,
        lying_mark,
        lambda: mark.write_bytes(b"{"),
        mark.unlink,
        lambda: small.database.with_name("mlflow.db-wal").write_bytes(b""),
    ]
    for number, touch in enumerate(touched):
        touch()
        assert small.run(), number
        small.database.with_name("mlflow.db-wal").unlink(missing_ok=True)
        assert small.finals() == WHOLE, number
        assert small.tag("seed 0, SVR", "row") == "SVR", number
        if small.run():  # the page leads to other runs now; there was a file in the way
            assert number in (0, 6)
            assert not small.run(), number


def test_what_came_or_went_in_the_ledger_is_shown(small: Small) -> None:
    assert small.run()
    small.becomes_quiet()
    second = small.cells[1]
    events = events_of(second, [{}, {}], {METRIC: 51.0}, begin=BEGIN + 1000)
    leave(small.ledger, second, events)  # another result
    assert small.run()
    assert small.finals() == {**WHOLE, "seed 1, InfoNCE": 51.0}
    small.becomes_quiet()
    folder = small.ledger.folder(second.signature)
    folder.write("model/model.json", b"{}")  # a model that came
    assert small.run()
    assert small.tag("seed 1, InfoNCE", "model") is not None
    small.becomes_quiet()
    folder.delete("model")  # and one that went
    assert small.run()
    small.becomes_quiet()
    small.file.write_text(FILE.replace("SVR > InfoNCE", "InfoNCE > SVR"), encoding="utf-8")
    assert small.run()  # another claim
    note = html.unescape(str(small.tag("small, laptop", "mlflow.note.content")))
    assert "InfoNCE > SVR" in note.replace("\\", "")
    small.becomes_quiet()
    small.file.write_text(FILE.replace("seeds: 2", "seeds: [0]"), encoding="utf-8")
    assert small.run()  # fewer are asked for
    small.becomes_quiet()
    content = folder.read("result.json")
    folder.delete_file("result.json")  # of a cell that only an earlier run has asked for
    assert small.run()
    assert small.ask(
        "SELECT status FROM runs WHERE name = 'seed 1, InfoNCE' AND lifecycle_stage = 'active'"
    ) == [("KILLED",)]
    assert small.run()  # who is at work on it is known to no mark
    folder.write("result.json", content)
    assert small.run()
    assert small.finals() == {**WHOLE, "seed 1, InfoNCE": 51.0}


def test_what_tells_a_database_from_every_other(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    store = Store(sqlite_uri(path))
    assert database_of(store) is None
    assert database_of(Store("http://localhost:1")) is None
    path.write_bytes(b"one")
    seen = [settled_database(store)]
    times = path.stat()

    def again(change: Callable[[], object]) -> None:
        change()
        seen.append(settled_database(store))

    def same_times() -> None:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def copied() -> None:
        shutil.copy2(path, tmp_path / "copy")
        (tmp_path / "copy").replace(path)

    for change in (lambda: path.write_bytes(b"two"), same_times, copied):
        again(change)
    assert None not in seen
    assert len(set(seen)) == 4
    (tmp_path / "mlflow.db-journal").write_bytes(b"")
    assert database_of(store) is None
    (tmp_path / "mlflow.db-journal").unlink()
    path.write_bytes(b"2")
    ahead = path.stat().st_mtime_ns + 10**12
    os.utime(path, ns=(ahead, ahead))
    assert database_of(store) is not None
    assert settled_database(store) is None  # of a clock that goes before this one
    path.unlink()
    assert database_of(store) is None


def test_what_others_change_beside_a_run_is_seen_by_the_next(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They write after the run has looked and before it notes that all is there, or meanwhile."""
    edit = "UPDATE tags SET value = 'mine' WHERE key = 'row' AND value = 'SVR'"
    whole, as_left = Mirror.mark, Runs.as_left

    def before(mirror: Mirror) -> None:
        small.ask(edit)
        whole(mirror)

    def beside(runs: Runs) -> bool:
        same = as_left(runs)
        small.ask(edit)
        return same

    for number, (place, name, late) in enumerate(
        ((Mirror, "mark", before), (Runs, "as_left", beside))
    ):
        finish(small.ledger, small.cells[0], {METRIC: 50.0 + number})
        with monkeypatch.context() as patch:
            patch.setattr(place, name, late)
            assert small.run()
        assert small.tag("seed 0, SVR", "row") == "mine"
        assert small.run()
        assert small.tag("seed 0, SVR", "row") == "SVR"


def test_a_listing_says_of_files_what_each_says_itself(small: Small) -> None:
    """The marks of runs that trained are made of the one, those of others of the other."""
    first, second, third, _ = small.cells
    lease = small.ledger.take(first.signature)
    assert lease is None  # it is finished: it stays in the cell's own folder
    small.ledger.discard(second.signature)
    held = small.ledger.take(second.signature)
    assert held is not None
    held.folder.write("events.jsonl", b"")
    held.folder.write("result.json", b"{}")
    held.release()
    small.ledger.folder(third.signature).write("model/model.json", b"{}")
    other = load_experiment(small.file)
    failed, killed = (replace(small.cells[0], signature=sign * 16) for sign in "01")
    fail(small.ledger, failed, "it broke")
    interrupt(small.ledger, killed)
    for cell in (failed, killed):
        small.ledger.note_early_stop(cell.signature)
    cells = [Known(c.variant, c.seed, c.signature, "") for c in cells_of(other)]
    cells += [replace(cells[0], signature=f"{number}" * 16) for number in range(3)]
    one_by_one = stamps_of(cells, open_ledger(small.storage))
    assert stamps_of(cells, Snapshot(open_ledger(small.storage))) == one_by_one
    assert one_by_one[second.signature].place.startswith("/0001-")
    assert all(one_by_one["0" * 16].files[:2])
    assert one_by_one[third.signature].model is not None
    assert not any(one_by_one["2" * 16].files)


def _page(small: Small) -> bytes:
    return (small.storage / "experiments/small/report.html").read_bytes()
