"""What is read cannot lead out of its folder, nor run code that no experiment file names.

What a file *names* is tried elsewhere too (tests of each loader); here every place of a storage and
of a model folder that becomes a path is tried with the same names, and each loader with a pickle.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from own_loop import write_loop
from supclap_platform.cli import main
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.testing import finish, interrupt

from supclap import user_code
from supclap.checkpoint import Checkpoints
from supclap.data.features.table import open_array
from supclap.errors import InputError
from supclap.model.folder import read_model
from supclap.model.pretrained import read_checkpoint, read_weights
from supclap.run_files import parse_ranks
from supclap.storage import Folder
from supclap.stored import Damaged, sealed
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
    with pytest.raises(InputError, match="names no checkpoint"):
        Checkpoints(Folder.at(pointer.parents[1])).load_latest()
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


@pytest.mark.parametrize("name", NAMES[:5])
def test_a_models_files_stay_in_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a/b/model"
    folder.mkdir(parents=True)
    (tmp_path / "evil").write_bytes(b"secret")
    files = {name: hashlib.sha256(b"secret").hexdigest(), "weights.safetensors": "0"}
    index = {"format": 1, "seconds": 1.0, "config": {}, "files": files}
    (folder / "model.json").write_bytes(sealed(index, indent=1))
    with pytest.raises(InputError, match="does not stay inside the folder"):
        read_model(folder)


def saved(sprung: Path) -> bytes:
    """What `torch.save` makes of a trap."""
    packed = io.BytesIO()
    torch.save({"model": Trap(sprung)}, packed)
    return packed.getvalue()


def array(sprung: Path) -> bytes:
    """A .npy file of an object."""
    packed = io.BytesIO()
    np.save(packed, np.array([Trap(sprung)], dtype=object), allow_pickle=True)
    return packed.getvalue()


def test_no_loader_runs_a_pickle(tmp_path: Path) -> None:
    """A checkpoint, the original's weights, arrays of features and of ranks, a model's weights."""
    sprung = tmp_path / "sprung"
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()  # it does spring
    sprung.unlink()
    run = Folder.at(tmp_path / "run")
    run.write("checkpoints/00000001.pt", saved(sprung))
    run.write("checkpoints/latest.json", sealed({"file": "00000001.pt"}))
    with pytest.raises(InputError, match="not a readable checkpoint"):
        Checkpoints(run).load_latest()
    (tmp_path / "original.pt").write_bytes(saved(sprung))
    with pytest.raises(InputError, match="code in it is never run"):
        read_checkpoint(tmp_path / "original.pt")
    (tmp_path / "model.safetensors").write_bytes(saved(sprung))
    with pytest.raises(InputError, match="cannot be read"):
        read_weights(tmp_path / "model.safetensors")
    for content in (array(sprung), pickle.dumps(Trap(sprung))):
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(InputError, match=r"not a readable \.npy array"):
            open_array(str(tmp_path / "a.npy"))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("test.t2a.npy", content)
        with pytest.raises(Damaged):
            parse_ranks(packed.getvalue(), "ranks.npz")
    assert not sprung.exists()


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:pathlib.Path.touch [{place}]",
        "!!python/object/apply:os.system ['touch {place}']",
        "!!python/name:os.system",
        "!!python/module:os",
    ],
)
def test_a_yaml_tag_runs_nothing(tmp_path: Path, value: str) -> None:
    place = tmp_path / "sprung"
    path = tmp_path / "e.yaml"
    path.write_text(FILE + f"about: {value.format(place=place)}\n")
    assert f"{path}:" in supclap("plan", path, "--storage", tmp_path / "storage")
    changed = f"data.folder={value.format(place=place)}"
    path.write_text(FILE)
    assert "--set data.folder" in supclap("plan", path, "--set", changed)
    assert not place.exists()


@pytest.mark.parametrize(
    "key", ["include: [link.yaml]", "code: [link.py]", "profiles_from: link.yaml"]
)
def test_a_link_does_not_lead_out_of_an_experiments_folder(tmp_path: Path, key: str) -> None:
    """The file beside it is a link to one elsewhere, which nobody has looked at."""
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    (other / "out.yaml").write_text(FILE.replace("walls", "others"))
    (other / "out.py").write_text("raise SystemExit('run')\n")
    (own / "link.yaml").symlink_to(other / "out.yaml")
    (own / "link.py").symlink_to(other / "out.py")
    path = own / "e.yaml"
    rest = "" if key.startswith("include") else "variants: {A: {}}\nseeds: 1\n"
    path.write_text(f"experiment: e\n{key}\n{rest}")
    done = CliRunner().invoke(main, ["plan", str(path), "--storage", str(tmp_path / "storage")])
    assert done.exit_code == 2, done.output
    assert f"{path}:2: " in done.output
    assert "is a link that leads out of" in done.output
    assert "run" not in done.output.split()
