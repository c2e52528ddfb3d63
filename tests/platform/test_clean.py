"""`supclap clean` on real trees: what it removes, what it leaves, and what may happen meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from s3_server import s3_server
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.supclap_method import SUPCLAP
from supclap_platform.ledger import leftovers as module
from supclap_platform.ledger.device_memory import Taken, note
from supclap_platform.ledger.drivers import announce
from supclap_platform.ledger.leases import acquire
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.leftovers import leftovers, remove
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.ledger.records import State
from supclap_platform.running import caches
from supclap_platform.testing import finish, interrupt

from supclap.storage import Folder
from supclap.stored import sealed

FILE = """
experiment: e
base: {epochs: 2}
init: {base: {epochs: 1}}
variants: {A: {}, B: {loss.name: siglip}}
seeds: 2
table: {columns: [t2a.R@1]}
"""
OTHER = FILE.replace("experiment: e", "experiment: gone").replace("siglip", "siglip, epochs: 3")
MODEL = b"m" * 1000


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """e: its stage and A 0 finished, A 1 interrupted; gone: a finished cell, an interrupted one."""
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(caches, "users", list)
    return filled(open_ledger(tmp_path / "s", writing=True), tmp_path)


def cells(folder: Path, text: str) -> list[Cell]:
    path = folder / "e.yaml"
    path.write_text(text, encoding="utf-8")
    return list(make_plan(load_experiment(path), Ledger(Folder.at(folder / "empty"))).cells)


def filled(ledger: Ledger, folder: Path) -> Ledger:
    for text in (FILE, OTHER):
        found = cells(folder, text)
        remember(make_plan(load_experiment(folder / "e.yaml"), ledger), ledger)
        stage = next(cell for cell in found if cell.variant == "init")
        first, second = [cell for cell in found if cell.variant == "B"]
        for done in (stage, first):
            finish(ledger, done, {"test.t2a.R@1": 40.0})
            ledger.folder(done.signature).write("model/weights.bin", MODEL)
        interrupt(ledger, second)
    return ledger


def of(folder: Path, text: str, variant: str, seed: int) -> str:
    (found,) = [c.signature for c in cells(folder, text) if (c.variant, c.seed) == (variant, seed)]
    return found


def clean(folder: Path, *words: str) -> str:
    done = CliRunner().invoke(main, ["clean", "--storage", str(folder / "s"), *words])
    assert done.exit_code == 0, done.output
    return done.output


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def weight(folder: Path) -> int:
    return sum(map(len, tree(folder).values()))


def test_it_shows_first_and_removes_what_nothing_needs(ledger: Ledger, tmp_path: Path) -> None:
    storage = tmp_path / "s"
    needed = tree(storage)
    done = of(tmp_path, FILE, "B", 0)
    ledger.folder(done).write("checkpoints/0010.pt", b"c" * 5000)  # of a driver that was killed
    ledger.folder(done).write("ranks.npz.77.part", b"r" * 300)
    ledger.storage.write(f"earlier/{done}/aaaa/result.json", b"{}" * 50)
    ledger.storage.delete("experiments/gone")
    gone = {of(tmp_path, OTHER, "B", seed) for seed in (0, 1)}
    needed = {
        name: content
        for name, content in needed.items()
        if name.split("/")[1] not in gone and not name.startswith("experiments/gone/")
    }
    before = tree(storage)
    output = clean(tmp_path)
    assert tree(storage) == before  # nothing was touched
    orphans = sum(weight(storage / "cells" / one) for one in gone)
    lines = {line.split()[0]: line for line in output.splitlines()}
    assert "2 places     5.3 kB" in lines["checkpoints"]
    assert "2 cells" in lines["orphans"]
    assert f"{orphans / 1000:.1f} kB" in lines["orphans"]
    assert "1 result      100 B" in lines["earlier"]
    assert "0 folders" in lines["caches"]
    assert lines["in"].endswith("nothing was removed: --yes removes what is listed")
    each = clean(tmp_path, "--only", "orphans", "--each")
    assert {line.split("/")[-1] for line in each.splitlines() if "/cells/" in line} == gone
    output = clean(tmp_path, "--only", "checkpoints", "--yes")
    assert "removed 2 places, 5.3 kB" in output
    output = clean(tmp_path, "--yes")
    assert "removed 3 places" in output
    assert tree(storage) == needed  # the stage, the finished cell, the one that can go on, lists
    assert "nothing to remove" in clean(tmp_path)


def test_checkpoints_of_trials_that_a_search_has_stopped_go_when_it_is_over(
    ledger: Ledger, tmp_path: Path
) -> None:
    """The trial that can go on by itself keeps its own; one that has begun again, too."""
    kept, stopped = (of(tmp_path, text, "B", 1) for text in (FILE, OTHER))
    ledger.note_early_stop(stopped)
    pointer = "checkpoints/latest.json"
    size = weight(tmp_path / "s" / "cells" / stopped / "checkpoints")
    with announce(ledger, "e"):
        assert "left as they are: stopped: e: being run" in clean(tmp_path, "--yes")
    before = tree(tmp_path / "s")
    (line,) = [line for line in clean(tmp_path).splitlines() if line.startswith("stopped")]
    assert line.split()[:5] == ["stopped", "1", "place", str(size), "B"]
    assert tree(tmp_path / "s") == before
    found, _ = leftovers(ledger)
    held = ledger.take(stopped)  # a wider search goes on with it
    assert held is not None
    held.release()
    removed: list[module.Leftover] = []
    remove(ledger, found, removed.append)
    assert not removed
    assert ledger.folder(stopped).exists(pointer)
    ledger.note_early_stop(stopped)
    assert f"removed 1 place, {size} B" in clean(tmp_path, "--only", "stopped", "--yes")
    assert not ledger.folder(stopped).exists("checkpoints")
    assert ledger.state(stopped) is State.TO_RUN
    assert ledger.events(stopped)  # what it has reported is kept
    assert ledger.folder(kept).exists(pointer)


def test_what_a_process_works_on_is_left(ledger: Ledger, tmp_path: Path) -> None:
    ledger.storage.delete("experiments/gone")
    first, second = (of(tmp_path, OTHER, "B", seed) for seed in (0, 1))
    ledger.folder(first).write("checkpoints/0010.pt", b"c" * 5000)
    held = acquire(ledger.folder(second))
    assert held is not None
    with held:
        output = clean(tmp_path, "--yes")
        assert "left as they are: cells: 1 on which a process works" in output
        assert not ledger.folder(first).names()
        assert ledger.folder(second).exists("checkpoints/latest.json")
    assert "removed 1 place" in clean(tmp_path, "--yes")


def test_what_is_begun_between_the_two_looks_is_left(ledger: Ledger, tmp_path: Path) -> None:
    ledger.storage.delete("experiments/gone")
    done = of(tmp_path, FILE, "B", 0)
    ledger.folder(done).write("checkpoints/0010.pt", b"c")
    found, _ = leftovers(ledger)
    assert {one.kind for one in found} == {"checkpoints", "orphans"}
    # A run asks for the orphans after all, and trains the finished cell anew.
    cells(tmp_path, OTHER)
    remember(make_plan(load_experiment(tmp_path / "e.yaml"), ledger), ledger)
    ledger.folder(done).delete("result.json")
    removed: list[module.Leftover] = []
    remove(ledger, found, removed.append)
    assert removed == []
    assert ledger.folder(done).exists("checkpoints/0010.pt")
    assert all(ledger.folder(of(tmp_path, OTHER, "B", seed)).names() for seed in (0, 1))


def test_earlier_results_are_left_while_an_experiment_is_driven(
    ledger: Ledger, tmp_path: Path
) -> None:
    ledger.storage.write("earlier/x/aaaa/result.json", b"{}")
    with announce(ledger, "e"):
        output = clean(tmp_path, "--only", "earlier", "--yes")
        assert "left as they are: earlier: e: being run, which may add to them" in output
        assert (tmp_path / "s" / "earlier" / "x" / "aaaa").is_dir()
    assert "removed 1 place" in clean(tmp_path, "--only", "earlier", "--yes")


def test_notes_on_memory_go_after_their_cells(ledger: Ledger, tmp_path: Path) -> None:
    """One on cells of two experiments stays while one of them is there; one of an earlier version
    does not say whose it is."""
    here, gone = (of(tmp_path, text, "B", 0) for text in (FILE, OTHER))
    note(ledger, "both", Taken(1000.0, of=(here, gone)))
    note(ledger, "one", Taken(0.0, 2000.0, of=(gone,)))
    ledger.storage.write("memory/old.json", sealed({"reserved": 1.0, "short": 0.0, "cells": 1}))
    notes = tmp_path / "s" / "memory"
    output = clean(tmp_path)
    assert "left as they are: memory: 1 note of an earlier version, or damaged" in output
    assert "memory            0 notes" in output
    ledger.storage.delete("experiments/gone")
    clean(tmp_path, "--only", "orphans", "--yes")
    (line,) = [line for line in clean(tmp_path).splitlines() if line.startswith("memory")]
    assert line.split()[:5] == [
        "memory",
        "1",
        "note",
        str((notes / "one.json").stat().st_size),
        "B",
    ]
    found, _ = leftovers(ledger)
    with announce(ledger, "e"):
        assert "left as they are: memory: e: being run" in clean(tmp_path, "--yes")
    note(ledger, "one", Taken(of=(here,)))  # another cell of the form finishes meanwhile
    removed: list[module.Leftover] = []
    remove(ledger, found, removed.append)
    assert not removed
    ledger.storage.delete("memory/one.json")
    note(ledger, "one", Taken(0.0, 2000.0, of=(gone,)))
    assert "removed 1 place" in clean(tmp_path, "--only", "memory", "--yes")
    assert sorted(one.name for one in notes.iterdir()) == ["both.json", "old.json"]


def test_the_places_of_a_cell_are_found_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    places = module._places

    def noted(signature: str, files: Sequence[module._File]) -> list[str]:
        found.append(signature)
        return places(signature, files)

    monkeypatch.setattr(module, "_places", noted)
    leftovers(ledger)
    assert sorted(found) == sorted(ledger.storage.names("cells"))


def test_where_what_is_asked_for_is_not_known_no_cell_is_an_orphan(
    ledger: Ledger, tmp_path: Path
) -> None:
    (listed,) = (tmp_path / "s" / "experiments" / "e").glob("cells-*.json")
    listed.write_bytes(listed.read_bytes()[:-20])
    before = tree(tmp_path / "s" / "cells")
    output = clean(tmp_path, "--yes")
    assert f"left as they are: orphans: {listed}: damaged" in output
    assert tree(tmp_path / "s" / "cells") == before


def test_of_the_cache_only_what_is_ours_and_only_while_nobody_uses_it(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    ours = ["soundscenes-47af376c083b6041", "code-182d1d8d6d61c0c3", "mlflow-3.17.2"]
    ours += ["frozen/0e8a32415c8516d02e35bdac", "sources/719b3494ba7423d1b5de7fdb"]
    ours += [".soundscenes-47af376c083b6041.building-0a1b2c3d", f"stage-{'a' * 16}"]
    theirs = ["soundscenes", "my-data", "frozen/thesis", "code-182d1d8d6d61c0c3.txt/.git"]
    for name in (*ours, *theirs):
        (cache / name).mkdir(parents=True)
        (cache / name / "x").write_bytes(b"x" * 10)
    (cache / ".code-182d1d8d6d61c0c3.lock").touch()
    (cache / "code-link").symlink_to(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(caches, "users", lambda: ["process 7 (supclap run)"])
        output = clean(tmp_path, "--only", "caches", "--yes")
        assert "left as they are: caches: used by process 7 (supclap run)" in output
    output = clean(tmp_path, "--only", "caches")
    assert "7 folders       70 B" in output
    assert "removed 7 places, 70 B" in clean(tmp_path, "--only", "caches", "--yes")
    left = {path.parent.relative_to(cache).as_posix() for path in cache.rglob("x")}
    assert left == set(theirs)


@pytest.mark.heavy
def test_a_world_goes_when_all_its_cells_are_finished(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that a cell goes on with, or is yet to begin with, stays; so does what is no world."""
    path = tmp_path / "w.yaml"
    seeds = "{until: decided, looks: [3], vary: [world]}"
    text = (
        "experiment: w\nbase: {epochs: 1}\nvariants: {C: {}, D: {loss.name: siglip}}\n"
        f"seeds: {seeds}\nclaims: [D > C on t2a.R@1]\n"
    )

    def asked(text: str) -> dict[tuple[str, int], Cell]:
        path.write_text(text, encoding="utf-8")
        plan = make_plan(load_experiment(path), ledger)
        remember(plan, ledger)
        return {(cell.variant, cell.seed): cell for cell in plan.cells}

    def listed() -> set[str]:
        output = clean(tmp_path, "--only", "worlds", "--each")
        return {line.split("/")[-1] for line in output.splitlines() if "/cache/" in line}

    ledger.storage.delete("experiments")
    ledger.storage.delete("cells")
    found = asked(text)
    worlds = [next(iter(SUPCLAP.made(found["C", seed].config))) for seed in range(3)]
    other = tmp_path / "cache" / "code-182d1d8d6d61c0c3"
    for folder in (*worlds, other):
        folder.mkdir(parents=True)
        (folder / "x").write_bytes(b"x" * 10)
    for name, seed in (("C", 0), ("D", 0), ("C", 1), ("D", 2)):
        finish(ledger, found[name, seed], {"test.t2a.R@1": 40.0})
    interrupt(ledger, found["C", 2])
    assert listed() == {worlds[0].name}  # D 1 is to begin, C 2 to go on
    finish(ledger, found["D", 1], {"test.t2a.R@1": 40.0})
    assert listed() == {worlds[0].name, worlds[1].name}
    # Without worlds of their own, a seed that is to come needs the one of all.
    shared = text.replace("experiment: w", "experiment: v").replace(", vary: [world]", "")
    more = asked(shared)
    assert listed() == {worlds[1].name}
    with monkeypatch.context() as patched:
        patched.setattr(caches, "users", lambda: ["process 7 (supclap run)"])
        assert "left as they are: caches: used by process 7" in clean(tmp_path)
    for cell in more.values():
        finish(ledger, cell, {"test.t2a.R@1": 40.0})
    lines = {line.split()[0]: line.split()[1:5] for line in clean(tmp_path).splitlines()}
    assert lines["worlds"] == lines["caches"] == ["2", "folders", "20", "B"]  # the third, the code
    assert "removed 2 places, 20 B" in clean(tmp_path, "--only", "worlds", "--yes")
    assert not worlds[0].exists()
    assert worlds[2].exists()
    assert other.exists()


@pytest.mark.heavy
def test_who_uses_a_cache_is_found_by_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path))
    program = [sys.executable, "-c", "print('supclap', flush=True); input()"]

    def using(cache: Path) -> bool:
        process = subprocess.Popen(
            program,
            env={**os.environ, "SUPCLAP_CACHE": str(cache)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            process.stdout.readline()
            return any(f"process {process.pid} " in one for one in caches.users())
        finally:
            process.kill()
            process.communicate()

    assert using(tmp_path)
    assert not using(tmp_path / "another")


@pytest.mark.heavy
def test_a_storage_on_s3_is_cleaned_alike(tmp_path: Path) -> None:
    pytest.importorskip("moto", reason="needs moto[server]")
    boto3 = pytest.importorskip("boto3")
    with s3_server() as server:
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server.port}")
        ledger = filled(open_ledger(server.place("bucket/r"), writing=True), tmp_path)
        done = of(tmp_path, FILE, "B", 0)
        ledger.folder(done).write("checkpoints/0010.pt", b"c" * 5000)
        ledger.storage.delete("experiments/gone")
        found, kept = leftovers(ledger)
        assert kept == []
        orphans = {of(tmp_path, OTHER, "B", seed) for seed in (0, 1)}
        assert {one.signature for one in found if one.kind == "orphans"} == orphans
        assert [one.size for one in found if one.kind == "checkpoints"] == [5000]
        gone: list[module.Leftover] = []
        remove(ledger, found, gone.append)
        assert len(gone) == 3
        listed = client.list_objects_v2(Bucket="bucket")["Contents"]
        signatures = {one["Key"].split("/")[2] for one in listed if "/cells/" in one["Key"]} - {""}
        assert signatures == {of(tmp_path, FILE, "B", seed) for seed in (0, 1)} | {
            of(tmp_path, FILE, "init", 0)
        }
        assert not [one for one in listed if "checkpoints/0010" in one["Key"]]
