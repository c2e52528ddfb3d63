"""What is written past MLflow's calls is what they would have written: every row of every table."""

import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow_content import content_of
from mlflow_place import SMALL, Place
from mlflow_tables import tables_of
from reported_runs import reported
from supclap_platform.ledger.history import Histories
from supclap_platform.mirror import gathered, tables
from supclap_platform.mirror.gathered import Direct, Gathered, gathering
from supclap_platform.mirror.mirror import Mirror
from supclap_platform.mirror.store import Store, choose_store
from supclap_platform.mirror.tracking import open_tracker
from supclap_platform.testing import BEGIN, leave
from waiting import until

from benchmarks.postgres import MISSING, Server, postgres, programs
from supclap.config import ModelConfig
from supclap.model.clap import build_model

pytestmark = pytest.mark.heavy  # each takes a moment

EMPTY = "empty"  # a database with MLflow's tables


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if programs() is None:
        pytest.skip(MISSING)
    with postgres(["fsync=off"]) as running:
        running.make(EMPTY)
        Store(running.uri(EMPTY)).connect()  # makes the tables
        _disconnect(running.uri(EMPTY))
        yield running


def _disconnect(uri: str) -> None:
    """MLflow keeps its connections for as long as the process lives."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    if (engine := SqlAlchemyStore._engine_map.pop(uri, None)) is not None:
        engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(request: pytest.FixtureRequest, tmp_path: Path, empty_store: Path) -> Iterator[Any]:
    """Two empty stores."""
    names = ("calls", "gathered")
    if request.param == "sqlite":
        for name in names:
            shutil.copy(empty_store, tmp_path / f"{name}.db")
        yield [Store(f"sqlite:///{tmp_path}/{name}.db", f"file://{tmp_path}/art") for name in names]
        return
    server = request.getfixturevalue("server")
    made = [f"{name}-{tmp_path.name}" for name in names]
    for name in made:
        server.make(name, EMPTY)
    yield [Store(server.uri(name), f"file://{tmp_path}/art") for name in made]
    for name in made:
        _disconnect(server.uri(name))


def test_mlflows_tables_are_those_that_are_known_here() -> None:
    """Else every run is written by MLflow's own calls, slowly: look at what a new version adds."""
    assert tables.as_known()


def test_every_table_is_as_mlflows_own_calls_leave_it(
    place: Place, stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, whole = stores
    assert isinstance(gathering(whole.connect()), Gathered)
    history = place.begin()
    mirrors = [Mirror(place.ledger, store, history, driving=True) for store in stores]
    mirrors[0]._client = Direct(calls.connect())  # which is left as it is

    def shown(*more: Mirror) -> dict[str, Any]:
        for mirror in (*mirrors, *more):
            assert mirror.wait_and_catch_up()
        one, other = (tables_of(store.uri) for store in stores)
        for name in one:
            assert other[name] == one[name], name
        assert one.keys() == other.keys()
        return one

    ledger, cells = place.ledger, place.cells
    model = ModelConfig.model_validate(
        {"audio": {"width": 8, "layers": 1}, "text": {"width": 32, "layers": 1}, "dim": 8}
    )
    built = build_model(model, ["a dog barks"], seconds=1.0, seed=0).eval()
    built.save(Path(ledger.folder(cells[0].signature).base) / "model")
    leave(ledger, cells[0], reported(cells[0], 1))  # runs
    ledger.record_failure(cells[1].signature, "out of memory")
    shown()
    leave(ledger, cells[0], reported(cells[0], 2, finished=True))  # one that is there goes on
    ledger.clear_failure(cells[1].signature)
    leave(ledger, cells[1], reported(cells[1], 1, 1))
    leave(ledger, cells[2], reported(cells[2], 2, 2, finished=True))  # new, and finished at once
    found = shown()
    assert (len(found["logged_models"]), len(found["datasets"])) == (1, 1)
    assert sum(found["logged_model_metrics"].values()) == 7
    ledger.discard(cells[2].signature)  # trained anew
    leave(ledger, cells[2], reported(cells[2], 1, begin=BEGIN + 1000))
    for mirror in mirrors:
        mirror.driving = False  # the driver has died
    shown()
    place.experiment, place.cells = place.load(SMALL.replace("SVR:", "renamed:"))
    leave(ledger, place.cells[3], reported(place.cells[3], 2, 3, finished=True))
    history = place.begin()
    mirrors[:] = [Mirror(ledger, store, history) for store in stores]
    mirrors[0]._client = Direct(calls.connect())
    names = {row for row in shown()["runs"] if '"deleted"' in row}
    assert len(names) >= 2  # the parent before, and the run that was trained anew


def test_what_cannot_be_written_whole_is_not_written_at_all(
    place: Place, stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, store = stores
    history = place.begin()
    for number, cell in enumerate(place.cells):
        leave(place.ledger, cell, reported(cell, 2, number, finished=True))
    mirror = Mirror(place.ledger, store, history)
    monkeypatch.setattr(gathered, "MOST", 60)  # in several transactions
    true, calls, before = tables.write, [], {}

    def cut(rows: Any, session: Any, dialect: str) -> None:
        calls.append(len(rows))
        if len(calls) == 3:
            before.update(tables_of(store.uri))
        true(rows, session, dialect)
        if len(calls) == 3:
            raise ConnectionError("cut off")

    monkeypatch.setattr(gathered, "write", cut)
    with pytest.raises(Exception, match="cut off"):
        mirror.catch_up()
    assert tables_of(store.uri) == before
    assert sum(before["runs"].values()) > 1
    assert mirror.catch_up()
    place.store = store
    assert place.shows_the_ledger()


def test_a_version_of_mlflow_with_other_tables_is_written_by_its_own_calls(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.as_known.cache_clear()
    monkeypatch.setitem(tables.KNOWN, "runs", "run_uuid")
    try:
        assert isinstance(gathering(place.store.connect()), Direct)
    finally:
        tables.as_known.cache_clear()


def test_drivers_of_several_experiments_write_at_once(
    tmp_path: Path, stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathered, "MOST", 100)  # in many transactions each
    together, apart = stores
    mirrors = {}
    for name in ("one", "two", "three"):  # which share their cells
        place = Place(tmp_path, SMALL.replace("small", name))
        history = place.begin()
        mirrors[name] = [Mirror(place.ledger, store, history) for store in stores]
    for number, cell in enumerate(place.cells):
        leave(place.ledger, cell, reported(cell, 2, number, finished=True))
    with ThreadPoolExecutor(3) as drivers:
        for done in drivers.map(lambda both: until(both[0].catch_up), mirrors.values()):
            assert done is None
    for _, alone in mirrors.values():
        assert alone.catch_up()
    found = [content_of(one.uri, tmp_path / f"c{at}") for at, one in enumerate((together, apart))]
    assert found[0] == found[1]
    assert len(found[0]) == 3 * (1 + 2 + 4)


def test_a_database_that_was_away_ends_with_the_same_content(
    place: Place, server: Server, tmp_path: Path
) -> None:
    """PostgreSQL is ended as by a power cut while a driver mirrors, and comes back."""
    names = [f"away-{tmp_path.name}", f"there-{tmp_path.name}"]
    for name in names:
        server.make(name, EMPTY)
    said: list[str] = []
    tracker = open_tracker(
        place.experiment, place.cells, place.ledger, server.uri(names[0]), said.append
    )
    leave(place.ledger, place.cells[0], reported(place.cells[0], 1))
    tracker.catch_up()
    until(lambda: server.ask("SELECT count(*) FROM metrics", names[0]) != "0")
    server.stop(signal.SIGQUIT)
    for number, cell in enumerate(place.cells[:3]):
        leave(place.ledger, cell, reported(cell, 2, number, finished=True))
    tracker.catch_up()
    until(lambda: bool(said))
    server.start("fsync=off")
    assert tracker.close()
    assert [line.split(" ")[0] for line in said] == ["MLflow", "MLflow"]
    assert "cannot be used now" in said[0]
    assert said[1].endswith("is back, and up to date")
    history = Histories(place.ledger).of("small")[0]
    Mirror(
        place.ledger, choose_store(server.uri(names[1]), place.ledger.storage), history
    ).catch_up()
    found = [content_of(server.uri(name), tmp_path / name) for name in names]
    for name in names:
        _disconnect(server.uri(name))
    assert found[0] == found[1]
    assert len(found[0]) == 1 + 2 + 3
