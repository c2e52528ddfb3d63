"""The ledger: states, leases between processes, and the plan made from them."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.drivers import announce
from supclap_platform.ledger.forecast import forecast
from supclap_platform.ledger.leases import Lease, LeaseName, leases_in, parse_lease
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import Status, make_plan, remember
from supclap_platform.ledger.records import State
from supclap_platform.testing import SECONDS, events_of, finish, interrupt, leave
from waiting import PATIENCE, until

from supclap.errors import InputError
from supclap.storage import Folder

SMALL = """\
experiment: small
variants: {InfoNCE: {}, SVR: {loss.svr: {}}}
seeds: 2
"""
A, B = "a" * 16, "b" * 16


@pytest.fixture(params=["local", "memory", "subtree"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    if request.param == "local":
        return Ledger(Folder.at(tmp_path / "storage"))
    if request.param == "memory":
        files = pafs._MockFileSystem(datetime.now(UTC))
        return Ledger(Folder(files, "bucket/storage", "mock://bucket/storage"))
    files = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    return Ledger(Folder(files, "storage", "tree://storage"))


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return load(tmp_path, SMALL)


def load(tmp_path: Path, text: str) -> Experiment:
    path = tmp_path / "e.yaml"
    path.write_text(text, encoding="utf-8")
    return load_experiment(path)


def test_a_cell_goes_from_to_run_to_done(ledger: Ledger, experiment: Experiment) -> None:
    cell = cells_of(experiment)[0]
    assert ledger.state(cell.signature) is State.TO_RUN
    interrupt(ledger, cell)
    assert ledger.state(cell.signature) is State.RESUMABLE
    lease = ledger.take(cell.signature)
    assert lease is not None
    assert ledger.state(cell.signature) is State.RUNNING
    lease.release()
    assert ledger.state(cell.signature) is State.RESUMABLE
    ledger.record_failure(cell.signature, "out of memory")
    assert ledger.state(cell.signature) is State.FAILED
    finish(ledger, cell, {"test.t2a.R@1": 41.0})
    assert ledger.state(cell.signature) is State.DONE
    assert ledger.take(cell.signature) is None
    ledger.discard(cell.signature)
    assert ledger.state(cell.signature) is State.TO_RUN


def test_many_states_come_from_one_listing(ledger: Ledger, experiment: Experiment) -> None:
    cells = cells_of(experiment)
    finish(ledger, cells[0], {})
    interrupt(ledger, cells[1])
    interrupt(ledger, Cell("x", 0, cells[0].config, A, cells[0].resources))
    overview = ledger.overview(cell.signature for cell in cells)
    assert [overview.of(c.signature) for c in cells] == [
        State.DONE,
        State.RESUMABLE,
        State.TO_RUN,
        State.TO_RUN,
    ]
    assert A not in overview.states
    assert ledger.overview().of(A) is State.RESUMABLE


def test_results_events_and_ranks_are_read_back(
    ledger: Ledger, experiment: Experiment, tmp_path: Path
) -> None:
    cell, other, *_ = cells_of(experiment)
    finish(ledger, cell, {"test.t2a.R@1": 41.5}, code="c", data="d")
    np.savez(tmp_path / "ranks.npz", t2a_ranks=np.array([0, 3, 1]))
    ledger.folder(cell.signature).write("ranks.npz", (tmp_path / "ranks.npz").read_bytes())
    results = ledger.results([cell.signature, other.signature])
    assert list(results) == [cell.signature]
    result = results[cell.signature]
    assert (result.metrics, result.code, result.data) == ({"test.t2a.R@1": 41.5}, "c", "d")
    first, *epochs, last = ledger.events(cell.signature)
    assert (first.kind, last.kind) == ("started", "finished")
    assert [event.epoch for event in epochs] == list(range(1, 11))
    assert ledger.ranks(result)["t2a_ranks"].tolist() == [0, 3, 1]
    assert ledger.events(other.signature) == []
    ledger.folder(cell.signature).delete("ranks.npz")
    assert ledger.ranks(result) == {}
    assert ledger.result(other.signature) is None


def test_a_line_of_events_that_is_being_written_is_left_out(
    ledger: Ledger, experiment: Experiment
) -> None:
    cell = cells_of(experiment)[0]
    leave(ledger, cell, events_of(cell, [{}] * 2))
    folder = ledger.folder(cell.signature)
    folder.write("events.jsonl", folder.read("events.jsonl") + b'{"kind": "epo')
    assert ledger.events(cell.signature) == events_of(cell, [{}] * 2)


def test_failures_keep_the_error_the_log_and_the_attempts(ledger: Ledger) -> None:
    assert ledger.failure(A) is None
    ledger.record_failure(A, "first")
    ledger.record_failure(A, "second", ["line 1", "line 2"], configuration=True)
    failure = ledger.failure(A)
    assert failure is not None
    assert (failure.error, failure.log, failure.attempts) == ("second", ("line 1", "line 2"), 2)
    assert failure.configuration
    ledger.clear_failure(A)
    assert ledger.state(A) is State.TO_RUN


def test_a_damaged_file_is_told_with_its_name(ledger: Ledger) -> None:
    ledger.folder(A).write("result.json", b'{"metrics": ')
    with pytest.raises(InputError, match=r"result\.json: damaged"):
        ledger.result(A)
    ledger.folder(A).write("result.json", b"[]")
    with pytest.raises(InputError, match=r"result\.json: damaged"):
        ledger.result(A)


def test_one_lease_at_a_time(ledger: Ledger) -> None:
    lease = ledger.take(A)
    assert lease is not None
    assert ledger.take(A) is None
    other = ledger.take(B)
    assert other is not None
    other.release()
    lease.release()
    again = ledger.take(A)
    assert again is not None
    again.release()
    assert leases_in(ledger.folder(A)) == {}


def test_the_name_of_a_lease_says_who_holds_it() -> None:
    name = LeaseName.own()
    assert parse_lease(str(name)) == name
    assert name.pid == os.getpid()
    assert not name.dead(silent=3600)  # this very process lives, however long it slept
    assert parse_lease("result.json") is None
    assert LeaseName(name.host, name.pid, name.born - 60_000, "0").dead(0)  # the pid was used again
    # a clock that was set between two looks at the same process does not make it a dead one
    assert not LeaseName(name.host, name.pid, name.born - 1_500, "0").dead(0)
    assert not LeaseName("elsewhere", name.pid, 1, "0").dead(59)
    assert LeaseName("elsewhere", name.pid, 1, "0").dead(61)


def test_a_silent_holder_on_another_host_is_taken_over_after_a_while(tmp_path: Path) -> None:
    ledger = Ledger(Folder.at(tmp_path))
    path = Path(ledger.folder(A).base) / str(LeaseName("elsewhere", 1, 1, "0"))
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert ledger.state(A) is State.RUNNING
    assert ledger.take(A) is None
    old = time.time() - 3600
    os.utime(path, (old, old))
    assert ledger.state(A) is State.TO_RUN
    lease = ledger.take(A)
    assert lease is not None
    assert not path.exists()
    lease.release()


def test_who_is_known_to_be_gone_holds_a_cell_no_longer_and_nobody_else_loses_one(
    tmp_path: Path,
) -> None:
    ledger = Ledger(Folder.at(tmp_path))
    path = Path(ledger.folder(A).base) / str(LeaseName("elsewhere", 7, 1, "0"))
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    for host, pid in (("elsewhere", 8), ("here", 7)):
        ledger.evict(A, host, pid)
        assert ledger.take(A) is None
    ledger.evict(A, "elsewhere", 7)
    lease = ledger.take(A)  # at once
    assert lease is not None
    ledger.evict(A, lease.name.host, lease.name.pid)
    assert ledger.state(A) is State.TO_RUN
    lease.release()
    ledger.evict(B, "elsewhere", 7)  # that nobody holds


def test_a_lease_beats_and_notices_that_it_was_lost(tmp_path: Path) -> None:
    cell = Folder.at(tmp_path)
    name = LeaseName.own()
    cell.write(str(name), b"{}")
    old = time.time() - 3600
    os.utime(tmp_path / str(name), (old, old))
    lease = Lease(cell, name, heartbeat=0.02)
    until(lambda: (tmp_path / str(name)).stat().st_mtime > old + 60, pause=0.01)
    assert not lease.lost
    cell.delete(str(name))
    until(lambda: lease.lost, pause=0.01)
    lease.release()


HOLD = """
import sys, time
from supclap.storage import Folder
from supclap_platform.ledger.ledger import Ledger
lease = Ledger(Folder.at(sys.argv[1])).take(sys.argv[2])
print("held" if lease else "refused", flush=True)
time.sleep(600)
"""


@pytest.mark.heavy
def test_a_killed_holder_is_taken_over_at_once(tmp_path: Path) -> None:
    ledger = Ledger(Folder.at(tmp_path))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), A], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert ledger.take(A) is None
    assert ledger.overview([A]).leases[A].pid == holder.pid
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert ledger.state(A) is State.TO_RUN
    lease = ledger.take(A)
    assert lease is not None
    lease.release()


SHARE = """
import os, random, sys, time
from supclap.storage import Folder
from supclap_platform.ledger.ledger import Ledger
ledger = Ledger(Folder.at(sys.argv[1]))
chance = random.Random(int(sys.argv[2]))
left = [f"{n:016x}" for n in range(12)]
log = os.open(sys.argv[1] + "/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
while left:
    chance.shuffle(left)
    for cell in list(left):
        lease = ledger.take(cell)
        if lease is None:
            if ledger.folder(cell).exists("result.json"):
                left.remove(cell)
            continue
        with lease:
            os.write(log, f"begin {cell} {os.getpid()}\\n".encode())
            time.sleep(0.002)
            os.write(log, f"end {cell} {os.getpid()}\\n".encode())
            ledger.folder(cell).write("result.json", b"{}")
        left.remove(cell)
"""


@pytest.mark.heavy
def test_processes_at_once_share_the_cells_and_never_one_cell(tmp_path: Path) -> None:
    crowd = [
        subprocess.Popen([sys.executable, "-c", SHARE, str(tmp_path), str(seed)])
        for seed in range(3)
    ]
    assert [process.wait(timeout=PATIENCE) for process in crowd] == [0, 0, 0]
    inside: dict[str, str] = {}
    begun: list[str] = []
    for line in (tmp_path / "log").read_text().splitlines():
        what, cell, pid = line.split()
        if what == "begin":
            assert cell not in inside
            inside[cell] = pid
            begun.append(cell)
        else:
            assert inside.pop(cell) == pid
    assert sorted(begun) == [f"{n:016x}" for n in range(12)]


def test_storage_that_cannot_be_used_is_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", "nowhere://bucket", "/proc/nowhere"):
        with pytest.raises(InputError, match="storage"):
            open_ledger(place, writing=True)
    assert not list(tmp_path.joinpath("new").glob("*"))
    open_ledger(tmp_path / "new", writing=True)
    assert list(tmp_path.joinpath("new").glob("*")) == []


def test_a_plan_says_where_each_cell_stands(ledger: Ledger, experiment: Experiment) -> None:
    done, resumable, failed, open_ = cells_of(experiment)
    finish(ledger, done, {}, code="now")
    interrupt(ledger, resumable)
    ledger.record_failure(failed.signature, "out of memory")
    plan = make_plan(experiment, ledger, code_of=lambda _: "now")
    assert [plan.status(cell) for cell in plan.cells] == [
        Status.DONE,
        Status.RESUMABLE,
        Status.FAILED,
        Status.TO_RUN,
    ]
    assert plan.to_run == [resumable, failed, open_]
    later = make_plan(experiment, ledger, code_of=lambda _: "later")
    assert later.status(done) is Status.STALE
    assert later.to_run == plan.to_run


def test_cells_that_share_a_run_are_run_once(tmp_path: Path, ledger: Ledger) -> None:
    text = SMALL + "init: {base: {}}\n"  # the stage is the very run of InfoNCE, seed 0, anew
    text = text.replace("InfoNCE: {}", "InfoNCE: {model.start: null}")
    plan = make_plan(load(tmp_path, text), ledger, code_of=lambda _: "now")
    assert [c.label for c in plan.cells][:2] == ["init, seed 0", "InfoNCE, seed 0"]
    assert plan.cells[0].signature == plan.cells[1].signature
    assert [c.label for c in plan.to_run] == [
        "init, seed 0",
        "InfoNCE, seed 1",
        "SVR, seed 0",
        "SVR, seed 1",
    ]
    assert plan.count(Status.TO_RUN) == 4


def test_a_stage_runs_before_the_rows_above_it_in_the_file(tmp_path: Path, ledger: Ledger) -> None:
    text = "experiment: e\nvariants: {A: {epochs: 1}, B: {epochs: 2}}\ninit: {variant: B}\n"
    plan = make_plan(load(tmp_path, text), ledger, code_of=lambda _: "now")
    assert [c.variant for c in plan.cells] == ["A", "B"]
    assert [c.variant for c in plan.to_run] == ["B", "A"]


def test_cells_that_the_file_no_longer_has_are_shown_as_removed(
    tmp_path: Path, ledger: Ledger
) -> None:
    remember(make_plan(load(tmp_path, SMALL), ledger, code_of=lambda _: "now"), ledger)
    edited = load(tmp_path, SMALL.replace("SVR: {loss.svr: {}}", "Other: {epochs: 2}"))
    remember(make_plan(edited, ledger, code_of=lambda _: "now"), ledger)
    plan = make_plan(edited, ledger, code_of=lambda _: "now")
    assert [(c.variant, c.seed) for c in plan.removed] == [("SVR", 0), ("SVR", 1)]
    back = make_plan(load(tmp_path, SMALL), ledger, code_of=lambda _: "now")
    assert [(c.variant, c.seed) for c in back.removed] == [("Other", 0), ("Other", 1)]
    other = make_plan(
        load_experiment(tmp_path / "e.yaml", changes={"epochs": 1}), ledger, code_of=lambda _: "now"
    )
    assert other.removed == ()


def test_the_forecast_rests_on_finished_cells_of_the_same_shape(
    tmp_path: Path, ledger: Ledger
) -> None:
    text = SMALL.replace("SVR: {loss.svr: {}}", "SVR: {loss.svr: {}}, Long: {epochs: 20}")
    experiment = load(tmp_path, text)
    plan = make_plan(experiment, ledger, code_of=lambda _: "now")
    nothing = forecast(plan, ledger)
    assert (nothing.cells, nothing.unknown, nothing.basis) == (6, 6, 0)
    finish(ledger, plan.cells[0], {}, seconds=8.0, code="now")
    finish(ledger, plan.cells[1], {}, seconds=12.0, code="now")
    interrupt(ledger, plan.cells[2], epochs=4)  # of 10
    expected = forecast(make_plan(experiment, ledger, code_of=lambda _: "now"), ledger, at_once=1)
    assert (expected.cells, expected.unknown, expected.basis) == (4, 2, 2)
    assert expected.wall_seconds == pytest.approx(0.6 * 10 + 10)
    assert expected.worker_hours == pytest.approx(16 / 3600)
    side_by_side = forecast(
        make_plan(experiment, ledger, code_of=lambda _: "now"), ledger, at_once=2
    )
    assert side_by_side.wall_seconds == pytest.approx(10)
    assert side_by_side.worker_hours == expected.worker_hours


def test_finished_cells_of_another_experiment_serve_a_forecast(
    tmp_path: Path, ledger: Ledger
) -> None:
    first = make_plan(load(tmp_path, SMALL), ledger, code_of=lambda _: "now")
    remember(first, ledger)
    finish(ledger, first.cells[0], {}, code="now")
    other = SMALL.replace("small", "other").replace("loss.svr: {}", "loss: siglip")
    other = other.replace("InfoNCE: {}, ", "")
    expected = forecast(make_plan(load(tmp_path, other), ledger, code_of=lambda _: "now"), ledger)
    assert (expected.cells, expected.unknown, expected.basis) == (2, 0, 1)
    assert expected.wall_seconds == pytest.approx(2 * SECONDS)


def test_a_cell_waits_for_its_stage_in_the_forecast(tmp_path: Path, ledger: Ledger) -> None:
    experiment = load(tmp_path, SMALL + "init: {base: {loss: siglip}}\n")
    cells = cells_of(experiment)
    finish(ledger, cells[1], {})
    plan = make_plan(experiment, ledger, code_of=lambda _: "now")
    assert len(plan.to_run) == 4
    assert forecast(plan, ledger, at_once=4).wall_seconds == pytest.approx(2 * SECONDS)


def test_the_command_shows_the_plan_and_starts_nothing(tmp_path: Path) -> None:
    experiment = load(tmp_path, SMALL)
    storage = tmp_path / "storage"
    ledger = Ledger(Folder.at(storage))
    done, _, failed, _ = cells_of(experiment)
    finish(ledger, done, {}, code="old")
    ledger.record_failure(failed.signature, "out of memory")
    before = sorted(storage.rglob("*"))
    shown = CliRunner().invoke(
        main, ["plan", str(tmp_path / "e.yaml"), "--storage", str(storage), "--at-once", "2"]
    )
    assert shown.exit_code == 0
    assert "InfoNCE  0: stale      1: to run" in shown.stdout
    assert "SVR      0: failed     1: to run" in shown.stdout
    assert "failed: SVR, seed 0, 1 attempt: out of memory" in shown.stdout
    assert "1 stale, 1 failed, 2 to run" in shown.stdout
    assert "3 cells take 20 s with 2 at once, 0.01 worker-hours (from 1 finished" in shown.stdout
    assert sorted(storage.rglob("*")) == before


def test_a_lease_that_is_swept_away_while_it_is_written_is_no_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sweep(self: Folder, name: str, content: bytes) -> None:
        raise FileNotFoundError(name)

    monkeypatch.setattr(Folder, "write", sweep)
    assert Ledger(Folder.at(tmp_path)).take(A) is None


def test_a_cell_ends_well_when_the_storage_is_away_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Ledger(Folder.at(tmp_path)).take(A)
    assert lease is not None

    def away(self: Folder, name: str) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(Folder, "delete", away)
    with lease:
        pass
    assert not lease.lost


def test_leases_that_killed_drivers_left_are_removed_by_the_next(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    place = ledger.experiment_folder("x").below("drivers")
    own = LeaseName.own()
    killed = LeaseName(own.host, own.pid, own.born - 60_000, "aa")  # its number is used again
    elsewhere = LeaseName("elsewhere", 7, 1, "bb")
    silent, fresh = LeaseName("elsewhere", 8, 1, "cc"), LeaseName(own.host, 2**40, 1, "dd")
    for name in (killed, elsewhere, silent, fresh):
        place.write(str(name), b"{}")
    for name in (killed, silent):
        old = time.time() - 120
        os.utime(tmp_path / "experiments" / "x" / "drivers" / str(name), (old, old))
    with announce(ledger, "x") as lease:
        assert set(leases_in(place)) == {lease.name, elsewhere, fresh}
