"""What is read cannot lead out of its folder, nor run code that no experiment file names.

What a file *names* is tried elsewhere too (tests of each loader); here every place of a storage and
of a model folder that becomes a path is tried with the same names, and each loader with a pickle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from own_loop import write_loop
from supclap_platform.cli import main
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.testing import finish, interrupt

from supclap import user_code
from supclap.errors import InputError
from supclap.storage import Folder
from supclap.stored import sealed
from supclap.user_code import read_code, stored

NAMES = ["../../evil", "/evil", "a/../../../evil", "..", "a\0b", "link/evil"]
FILE = """
experiment: walls
base: {epochs: 1}
variants: {A: {}, "../../evil": {loss.name: siglip}, "/evil": {loss.temperature: 0.1}}
seeds: 2
baseline: A
table: {columns: [t2a.R@1]}
claims: ["../../evil > A on t2a.R@1"]
figures: [convergence]
"""


class Trap:
    """Runs where it is unpickled: makes a file."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.sprung,)


def outside(folder: Path, kept: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path != kept]


def supclap(*words: str | Path) -> str:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), words
    return done.output


@pytest.mark.heavy
def test_a_row_of_any_name_writes_nothing_outside_of_its_folder(tmp_path: Path) -> None:
    """Table, figures, report and exports, whose files and images are named after rows."""
    own = tmp_path / "a/b/c/d"
    own.mkdir(parents=True)
    path = own / "e.yaml"
    path.write_text(FILE)
    ledger = open_ledger(own / "storage")
    for number, cell in enumerate(cells_of(load_experiment(path))):
        finish(ledger, cell, {"test.t2a.R@1": 40.0 + number}, [{"val.t2a.R@1": 40.0}])
    before = {place for place in tmp_path.rglob("*") if own not in place.parents}
    for words in (["table"], ["figures"], ["report"], ["export", "--to", own / "exported"]):
        supclap(words[0], path, "--storage", own / "storage", *words[1:])
    assert {place for place in tmp_path.rglob("*") if own not in place.parents} == before
    assert not Path("/evil").exists()
    assert (own / "exported").is_dir()


@pytest.mark.parametrize("name", NAMES)
def test_a_ledger_that_names_other_places_reaches_none(tmp_path: Path, name: str) -> None:
    """Its lists of cells and a checkpoint's pointer, altered by who can write there."""
    storage = tmp_path / "storage"
    path = tmp_path / "e.yaml"
    path.write_text(FILE)
    ledger = open_ledger(storage)
    remember(make_plan(load_experiment(path), ledger), ledger)
    victim = tmp_path / "evil"
    victim.mkdir()
    (victim / "kept.txt").write_text("kept")
    (storage / "link").symlink_to(tmp_path)
    (listed,) = (storage / "experiments/walls").glob("cells-*.json")
    content = json.loads(listed.read_text())
    content["cells"][0]["signature"] = name
    listed.write_text(json.dumps(content))
    for command in ("plan", "status"):
        output = supclap(command, path, "--storage", storage)
        assert f"{listed}: damaged" in output, output
    cell = cells_of(load_experiment(path))[0]
    interrupt(ledger, cell)
    pointer = storage / "cells" / cell.signature / "checkpoints/latest.json"
    assert pointer.exists()
    pointer.write_text(json.dumps({"file": name}))
    from supclap.checkpoint import Checkpoints

    with pytest.raises(InputError, match="names no checkpoint"):
        Checkpoints(Folder.at(pointer.parent)).load_latest()
    assert (victim / "kept.txt").read_text() == "kept"


@pytest.mark.parametrize("name", NAMES)
def test_code_that_is_kept_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    """`code/<hash>/code.json` altered with its seal and its hash, as its writer could."""
    (tmp_path / "evil.py").write_text("raise SystemExit('run')\n")
    write_loop(tmp_path)
    with user_code.forgotten():
        code = read_code(["my_loop.py"], tmp_path)
    storage = Folder.at(tmp_path / "storage")
    code.write(storage)
    folder = tmp_path / "storage/code" / code.hash
    (folder / "link").symlink_to(tmp_path)
    index = json.loads((folder / "code.json").read_text())
    entry = index["entries"][0]["modules"][0]
    entry["place"] = f"{name}.py"
    entry["sha256"] = hashlib.sha256((tmp_path / "evil.py").read_bytes()).hexdigest()
    index.pop("seal", None)
    (folder / "code.json").write_bytes(sealed({"entries": index["entries"]}, indent=1))
    with pytest.raises(InputError):
        stored(storage, code.hash)
