"""What plan, run and report ask of an object store; the index of results judges nothing."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from s3_server import S3Server, s3_server
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import Status, make_plan
from supclap_platform.ledger.records import Known
from supclap_platform.mirror.stamps import stamps_of
from supclap_platform.testing import finish

from supclap.run_files import RANKS, RESULT

pytestmark = pytest.mark.heavy
pytest.importorskip("moto")
SEEDS = 10
FILE = f"""
experiment: stored
variants: {{InfoNCE: {{}}, SVR: {{loss.svr: {{sides: both, radius: static}}}}}}
seeds: {SEEDS}
baseline: InfoNCE
claims: [SVR > InfoNCE on t2a.R@1]
table: {{columns: [t2a.R@1]}}
"""
METRIC = "test.t2a.R@1"
AT = "index/results.gz"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(scope="module")
def grid(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, str]:
    """Twenty finished cells on S3, and where they are; a test leaves them as they were."""
    path = tmp_path_factory.mktemp("grid") / "e.yaml"
    path.write_text(FILE, encoding="utf-8")
    place = server.place()
    experiment, ledger = load_experiment(path), open_ledger(place)
    chance = np.random.default_rng(0)
    for number, cell in enumerate(cells_of(experiment)):
        ranks = {"t2a_ranks": chance.integers(0, 9, 50), "t2a_clips": np.arange(50)}
        finish(ledger, cell, {METRIC: 40.0 + number / 10}, ranks=ranks)
    return experiment, place


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path))


def values(experiment: Experiment, place: str) -> dict[str, float | None]:
    """What the ledger says of every cell, from the beginning."""
    plan = make_plan(experiment, open_ledger(place))
    return {s: result.value(METRIC) for s, result in plan.results.items()}


def command(name: str, experiment: Experiment, place: str) -> str:
    done = CliRunner().invoke(main, [name, str(experiment.path), "--storage", place])
    assert done.exit_code == 0, done.output
    return done.output


def test_requests_of_finished_cells(grid: tuple[Experiment, str], server: S3Server) -> None:
    """Without index and copies each cell would take two or more, at each reading."""
    server.take()
    asked: dict[str, Counter[str]] = {}
    shown = []
    for name in ("plan", "plan", "run", "run", "report"):
        shown.append(command(name, *grid))
        asked[name] = server.take()
    assert shown[0].partition("stored")[2] == shown[1].partition("stored")[2]
    assert sum(asked["plan"].values()) <= 10, asked["plan"]
    assert sum(asked["run"].values()) <= 45, asked["run"]
    assert sum(asked["report"].values()) <= 20, asked["report"]
    assert f"{2 * SEEDS} done" in shown[0]
    # The table and the verdicts of the second run, in which no rank was read from the store.
    first, second = (text.rpartition("stored\n")[2].partition("written:")[0] for text in shown[2:4])
    assert "SVR > InfoNCE" in first
    assert first == second


def test_a_look_at_what_there_is_to_show_takes_one_listing(
    grid: tuple[Experiment, str], server: S3Server
) -> None:
    """Asked for one by one, the files would take four requests for each cell."""
    experiment, place = grid
    ledger = open_ledger(place)
    cells = [Known(c.variant, c.seed, c.signature, "") for c in cells_of(experiment)]
    server.take()
    stamps = stamps_of(cells, ledger)
    asked = server.take()
    assert sum(asked.values()) == 1, asked
    assert len(stamps) == 2 * SEEDS
    for signature, stamp in stamps.items():
        content = ledger.folder(signature).read(RESULT)
        assert stamp.result is not None
        assert stamp.result.tag == hashlib.md5(content).hexdigest()
        assert stamp.events is not None
        assert (stamp.failure, stamp.early) == (None, None)


def _a_line(ledger: Ledger, change: Callable[[list[str]], None]) -> None:
    """Makes the stored index lie on each of its lines."""
    lines = zlib.decompress(ledger.storage.read(AT)).decode().splitlines()
    made = []
    for line in map(json.loads, lines):
        change(line)
        made.append(json.dumps(line))
    ledger.storage.write(AT, zlib.compress("\n".join(made).encode()))


def _other_number(line: list[str]) -> None:
    line[2] = line[2].replace(f'"{METRIC}": 4', f'"{METRIC}": 9')


def _no_seal(line: list[str]) -> None:
    content = json.loads(line[2])
    content["metrics"][METRIC] = 99.0
    del content["seal"]
    line[2] = json.dumps(content)


def _empty(line: list[str]) -> None:
    line[2] = ""


@pytest.mark.parametrize("lie", [_other_number, _no_seal, _empty])
def test_an_index_that_lies_changes_nothing(
    lie: Callable[[list[str]], None], grid: tuple[Experiment, str]
) -> None:
    experiment, place = grid
    true = values(experiment, place)
    assert len(true) == 2 * SEEDS
    ledger = open_ledger(place)
    before = ledger.storage.read(AT)
    _a_line(ledger, lie)
    assert ledger.storage.read(AT) != before
    assert values(experiment, place) == true


def test_what_changed_since_the_index_is_seen(grid: tuple[Experiment, str]) -> None:
    """A result that went, one that came, one altered to the same size, one of other code."""
    experiment, place = grid
    cells = cells_of(experiment)
    ledger = open_ledger(place)
    gone, altered, stale, came = cells[3], cells[5], cells[7], cells[9]

    def content(cell: Cell) -> bytes:
        return ledger.folder(cell.signature).read(RESULT)

    late = content(came)
    ledger.folder(came.signature).delete_file(RESULT)
    first = make_plan(experiment, open_ledger(place))
    assert first.count(Status.DONE) == 2 * SEEDS - 1
    ledger.folder(came.signature).write(RESULT, late)
    ledger.folder(gone.signature).delete_file(RESULT)
    whole = content(altered)
    other = whole.replace(b'"step": 1', b'"step": 2')
    assert len(other) == len(whole)
    assert other != whole
    ledger.folder(altered.signature).write(RESULT, other)
    finish(ledger, stale, {METRIC: 1.0}, code="older")
    again = open_ledger(place)
    plan = make_plan(experiment, again)
    assert {cell.signature: plan.status(cell) for cell in (gone, altered, stale, came)} == {
        gone.signature: Status.TO_RUN,
        altered.signature: Status.DAMAGED,
        stale.signature: Status.STALE,
        came.signature: Status.DONE,
    }
    assert "seal" in str(again.damage_of(altered.signature))
    assert plan.count(Status.DONE) == 2 * SEEDS - 3
    for cell in (gone, altered, stale):
        finish(ledger, cell, {METRIC: 40.0})


@pytest.mark.parametrize("content", [b"", b"not packed", zlib.compress(b'[1, 2]\n{"a": 3}')])
def test_a_damaged_index_is_made_anew(content: bytes, grid: tuple[Experiment, str]) -> None:
    experiment, place = grid
    true = values(experiment, place)
    storage = open_ledger(place).storage
    made = storage.read(AT)
    storage.write(AT, content)
    assert values(experiment, place) == true
    assert zlib.decompress(storage.read(AT)) == zlib.decompress(made)
    storage.delete_file(AT)
    assert values(experiment, place) == true


def test_damaged_ranks_are_seen_whatever_was_copied(grid: tuple[Experiment, str]) -> None:
    experiment, place = grid
    assert "altered since" not in command("table", experiment, place)
    folder = open_ledger(place).folder(cells_of(experiment)[-1].signature)
    whole = folder.read(RANKS)
    content = bytearray(whole)
    content[len(content) // 2] ^= 1
    folder.write(RANKS, bytes(content))
    done = CliRunner().invoke(main, ["table", str(experiment.path), "--storage", place])
    folder.write(RANKS, whole)
    assert "altered since" in done.output
