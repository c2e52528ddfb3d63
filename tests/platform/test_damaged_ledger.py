"""Every file of the ledger, damaged in every way, under every command that reads it: what is shown
is what was shown before, or the file is named with what to do; never a traceback."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from damages import DAMAGES, in_time
from ranks_of import t2a_ranks
from supclap_platform.cli import main
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.history import Histories
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.results.search_figures import INDEX, index_file
from supclap_platform.search.winner import Findings, Ranked, search_digest, write_findings
from supclap_platform.testing import finish, interrupt

FILE = """
experiment: shown
base: {epochs: 3, data: {clips: 200}}
variants:
  A: {}
  B: {loss.svr: {sides: both, radius: static}}
  C: {loss.svr: {sides: text, radius: static}}
seeds: 2
table: {columns: [t2a.R@1]}
claims: ["B > A on t2a.R@1", "val.t2a.R@1 of A rises over epochs", "winner > A on t2a.R@1"]
figures: [convergence]
search:
  space: {optimizer.lr: {log_uniform: [1.0e-4, 1.0e-2]}}
  trials: 3
"""
COMMANDS = ("plan", "table", "status", "report", "figures", "promote")
PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg"><text>by trial</text></svg>'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file and its storage: A finished, B failed for seed 1, C begun; a search that has ended."""
    folder = tmp_path_factory.mktemp("place")
    path = folder / "e.yaml"
    path.write_text(FILE)
    ledger = open_ledger(folder / "storage")
    experiment = load_experiment(path)
    findings = Findings(
        search=search_digest(experiment),
        objectives=["val.t2a.R@1"],
        best=[Ranked(1, {"optimizer.lr": 0.002}, [31.5])],
        trials=3,
        left=0,
    )  # fmt: skip
    write_findings(experiment, findings, ledger)
    own = ledger.experiment_folder("shown")
    own.write("figures/search-history.svg", PICTURE)
    own.write(INDEX, index_file([{
        "name": "history", "title": "History", "caption": "By trial.",
        "file": "figures/search-history.svg"}]))  # fmt: skip
    cells = cells_of(experiment)
    for cell in cells:
        if cell.variant == "A" or (cell.variant, cell.seed) == ("B", 0):
            done(ledger, cell)
        elif cell.variant == "B":
            ledger.record_failure(cell.signature, "out of memory", ["line 1"])
        else:
            interrupt(ledger, cell)
    remember(make_plan(experiment, ledger), ledger)
    parents = Histories(ledger)
    parents.end(parents.begin(experiment, cells), "FAILED")
    return folder


def done(ledger: Ledger, cell: Cell) -> None:
    hits = [[query > cell.seed + 2 * (cell.variant == "A")] for query in range(10)]
    epochs = [{"val.t2a.R@1": 10.0 * e + cell.seed} for e in (1, 2, 3)]
    share = 100.0 * float(np.mean(hits))
    finish(ledger, cell, {"test.t2a.R@1": share}, epochs, t2a_ranks(hits))


def a_cell(place: Path, variant: str, seed: int) -> str:
    cells = cells_of(load_experiment(place / "e.yaml"))
    (found,) = (c.signature for c in cells if (c.variant, c.seed) == (variant, seed))
    return f"cells/{found}"


def called(command: str, place: Path) -> Result:
    target = place / "promoted.yaml"
    target.unlink(missing_ok=True)
    more = ["--as", str(target)] if command == "promote" else []
    if command in ("table", "report"):
        more += ["--mixed"]
    with in_time(120):
        return CliRunner().invoke(
            main, [command, str(place / "e.yaml"), "--storage", str(place / "storage"), *more]
        )


def shown(command: str, place: Path) -> tuple[int, str, str]:
    """Exit code, what is printed, what is said of damage."""
    result = called(command, place)
    assert result.exception is None or isinstance(result.exception, SystemExit), (
        command,
        result.exception,
    )
    damage = [line for line in result.stderr.splitlines() if "damaged" in line]
    # What the rest takes is estimated from a step that is timed anew in each call.
    text = re.sub(r"( cells? takes? ).*", r"\1a while", result.stdout)
    text = re.sub(r"(memory|disk): .*", r"\1: some", text)
    return result.exit_code, text, "\n".join(damage)


# Of a cell's files: whose, and the commands that read it.
FILES = {
    "result.json": ("A", 0, COMMANDS[:5]),
    "ranks.npz": ("A", 0, ("table",)),
    "events.jsonl": ("A", 0, ("table", "figures")),
    "failure.json": ("B", 1, ("plan", "status", "report")),
    "events.jsonl of one begun": ("C", 0, ("plan", "status")),
    "checkpoints/latest.json": ("C", 0, ("plan",)),
    "config.json": ("A", 0, ("table",)),
}
# Of the experiment's own.
OWN = {
    "cells-*.json": ("plan",),
    "parents/*/parent.json": ("status", "report"),
    "search-*[0-9a-f].json": ("plan", "table", "status"),
    "search-*-so-far.json": ("plan", "status", "promote"),
    INDEX: ("report",),
    "figures/search-history.svg": ("report",),
}
# As if it were not there: what is unfinished has no end to compare with, and is written anew.
ABSENT = [
    *(("events.jsonl", damage) for damage in ("empty", "truncated")),
    *(("latest.json", damage) for damage in ("a folder", "a link to itself")),
    ("result.json", "a link to itself"),
]
QUICK = ("truncated", "bit 3 flipped", "NaN", "a device")
EACH = [d if d in QUICK else pytest.param(d, marks=pytest.mark.heavy) for d in DAMAGES]


@pytest.fixture(scope="module")
def before(place: Path) -> dict[str, tuple[int, str, str]]:
    found = {command: shown(command, place) for command in COMMANDS}
    assert [code for code, _, _ in found.values()] == [0] * len(COMMANDS), found
    assert {damage for _, _, damage in found.values()} == {""}
    return found


def paths(place: Path) -> Iterator[Path]:
    storage = place / "storage"
    for name, (variant, seed, _) in FILES.items():
        yield storage / a_cell(place, variant, seed) / name.partition(" ")[0]
    for pattern in OWN:
        yield next((storage / "experiments" / "shown").glob(pattern))


def row_of(variant: str, text: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.startswith(f"{variant} "))


@pytest.mark.heavy
@pytest.mark.parametrize("damage", EACH)
@pytest.mark.parametrize("number", range(len(FILES) + len(OWN)), ids=[*FILES, *OWN])
def test_the_file_is_named_and_the_rest_is_shown(
    number: int, damage: str, place: Path, before: dict[str, tuple[int, str, str]], tmp_path: Path
) -> None:
    copy = tmp_path / "place"
    shutil.copytree(place, copy)
    path = list(paths(copy))[number]
    DAMAGES[damage](path)
    commands = [*(asked for _, _, asked in FILES.values()), *OWN.values()][number]
    for command in commands:
        code, text, said = shown(command, copy)
        whole = before[command][1].replace(str(place), str(copy))
        if said == "" and path.name != "failure.json" and (path.name, damage) not in ABSENT:
            assert text == whole, command  # what the damage hit carries no meaning, or is not read
        elif said:
            assert path.name in said, (command, said)
            assert len(said.splitlines()) == 1
            assert "; remove" in said
        assert code == (2 if command == "promote" and said else 0), command
        if command == "table":
            assert row_of("B", text) == row_of("B", whole)
            if path.name == "result.json" and said:
                assert f"A: damaged for seed 0: {path.relative_to(copy / 'storage')}" in text
                assert "(1/2)" in row_of("A", text)
        if command == "plan" and path.name == "result.json" and said:
            assert "1 damaged" in text
