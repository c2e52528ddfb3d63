"""Experiment files damaged at random: either still valid or one line that says what is wrong."""

import random
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.reader import load_experiment

from supclap.document import read_document
from supclap.errors import InputError
from supclap.losses import build_loss
from supclap.model.clap import build_model

FOLDER = Path(__file__).parents[2] / "experiments"
# Without those that are nothing without a folder of the user's: no mutant of them is valid here.
OTHERS = ("features", "pretrained_text")
SHIPPED = [path for path in sorted(FOLDER.glob("*.yaml")) if path.stem not in OTHERS]
MUTANTS = 750
ODD: list[Any] = [
    None, True, False, 0, -1, 3, 10**30, 1e400, float("nan"), 0.5, "", " ", "x", "InfoNCE", "both",
    "loss", "a.b", "..", "${NOWHERE}", "t2a.R@1", "A > B on x", "é\u2028\u0007", "x" * 3000, [], {},
    [[]], [1, "a", None], {"": {}}, {"name": None}, {"x": {"y": {"z": 1}}}, {"resources": 3},
]  # fmt: skip


def paths_in(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            found += paths_in(value[key], (*at, key))
    return found


def holder(values: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        values = values[key]
    return values


def odd_value(values: Any, path: tuple[Any, ...], chance: random.Random) -> None:
    holder(values, path)[path[-1]] = deepcopy(chance.choice(ODD))


def odd_key(values: Any, path: tuple[Any, ...], chance: random.Random) -> None:
    above = holder(values, path)
    if isinstance(above, dict):
        key = str(path[-1])
        cut = chance.randrange(len(key) + 1)
        other = chance.choice([key[:cut] + key[cut + 1 :], f"{key[:cut]}.{key[cut:]}", 7, None, ""])
        above[other] = above.pop(path[-1])


# Settings whose values must fit each other, the data or the parts that are there.
SIZES: list[tuple[str, list[Any]]] = [
    ("model.text.width", [16, 32, 48, 64]), ("model.audio.width", [4, 8, 33]),
    ("model.audio.layers", [1, 4, 5]), ("model.text.vocabulary", [200, 257, 258]),
    ("model.audio", ["cnn", "transformer", "cmm", {"name": ["x"]}]), ("batch_size", [2, 24, 10**6]),
    ("data.train", ["train", "val", "events", "trian"]), ("data.limit", [3, 600]),
    ("data.noise", [0.001, 0.2]), ("data.seconds", [0.5, 1, 3]),
    ("loss.temperature", ["1e-3", 0.005, 0.07]), ("loss.learn_temperature", [True, "yes"]),
    ("resources.workers", [1, 40]), ("seed", [1]), ("seeds", [3]),
]  # fmt: skip


def unfit(values: Any, path: tuple[Any, ...], chance: random.Random) -> None:
    """Lays one of these settings over the base, where mostly it is well formed and may not fit."""
    key, options = chance.choice(SIZES)
    base = values.setdefault("base", {}) if isinstance(values, dict) else None
    if isinstance(base, dict):
        base[key] = deepcopy(chance.choice(options))


def drop(values: Any, path: tuple[Any, ...], chance: random.Random) -> None:
    above = holder(values, path)
    del above[path[-1]]


def swap(values: Any, path: tuple[Any, ...], chance: random.Random) -> None:
    other = chance.choice(paths_in(values))
    inside = other[: len(path)] == path or path[: len(other)] == other
    if not inside:
        one, two = holder(values, path), holder(values, other)
        one[path[-1]], two[other[-1]] = two[other[-1]], one[path[-1]]


def add(values: Any, path: tuple[Any, ...], chance: random.Random) -> None:
    above = holder(values, path)
    names = ["loss.svr", "grid", "ablate", "init", "seed", "seeds", "data", "resources", "x"]
    names += ["groups", "include", "table", "claims", "also"]
    if isinstance(above, dict):
        above[chance.choice(names)] = deepcopy(chance.choice(ODD))


STRUCTURAL: list[Callable[[Any, tuple[Any, ...], random.Random], None]] = [
    odd_value, odd_key, drop, swap, add, unfit,
]  # fmt: skip


def mutant(text: str, chance: random.Random) -> bytes:
    """A file with one to three changes, of its structure or of its characters."""
    if chance.random() < 0.6:
        values = yaml.safe_load(text)
        for _ in range(chance.randint(1, 3)):
            places = paths_in(values)
            if places:
                chance.choice(STRUCTURAL)(values, chance.choice(places), chance)
        return yaml.safe_dump(values, allow_unicode=True, sort_keys=False).encode()
    content = bytearray(text.encode())
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(content))
        what = chance.randrange(5)
        if what == 0:
            content[at] = chance.randrange(256 if chance.random() < 0.1 else 128)
        elif what == 1:
            del content[at : at + chance.randint(1, 30)]
        elif what == 4:  # another way to write a number, or two
            digits = [place for place, sign in enumerate(content) if chr(sign).isdecimal()]
            place = chance.choice(digits or [at])
            content[place:place] = chance.choice([b"0", b"0x", b"0o", b"1_", b"1:", b"1e-"])
        elif what == 2:
            content[at:at] = chance.choice([b":", b"{", b"]", b"\n", b"&a ", b"*a", b"!!", b"\t"])
        else:
            start = chance.randrange(len(content))
            content[at:at] = content[start : start + chance.randint(1, 60)]
    return bytes(content)


@pytest.mark.heavy
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_mutant_is_valid_or_gets_one_line(path: Path, tmp_path: Path) -> None:
    chance = random.Random(path.name)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith("#"))
    shutil.copytree(FOLDER, tmp_path / "experiments")  # what a file includes lies beside it
    damaged = tmp_path / "experiments/mutant.yaml"
    valid = refused = 0
    for _ in range(MUTANTS // len(SHIPPED)):
        damaged.write_bytes(mutant(text, chance))
        try:
            cells_of(load_experiment(damaged))
            valid += 1
        except InputError as error:
            refused += 1
            line = str(error)
            assert line.isprintable(), line
            assert "mutant.yaml" in line or "data." in line or "model." in line, line
            assert "Error" not in line, line
            assert len(line.replace(str(tmp_path), "")) < 700, line
    # The changes are neither all harmless nor all fatal; of a list of names most are fatal.
    assert refused > valid
    assert valid > 0 or "include:" in text


@pytest.mark.heavy
def test_the_command_line_says_it_in_one_line_and_exits_with_2(tmp_path: Path) -> None:
    chance = random.Random(1)
    shutil.copytree(FOLDER, tmp_path / "experiments")
    text = SHIPPED[0].read_text(encoding="utf-8")
    damaged = tmp_path / "experiments/mutant.yaml"
    codes = []
    for _ in range(20):
        damaged.write_bytes(mutant(text, chance))
        done = CliRunner().invoke(main, ["plan", str(damaged), "--storage", str(tmp_path / "s")])
        codes.append(done.exit_code)
        assert done.exit_code in (0, 2), done.output
        if done.exit_code == 2:
            assert done.stderr.startswith("supclap: ")
            assert done.stderr.count("\n") == 1
    assert 2 in codes
    assert not (tmp_path / "s").exists()


@pytest.mark.heavy
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_mutant_that_is_valid_can_be_built(path: Path, tmp_path: Path) -> None:
    """Whatever passes is built: each distinct model, and the loss of each configuration."""
    chance = random.Random(f"{path.name} built")
    values = read_document(path).values
    shutil.copytree(FOLDER, tmp_path / "experiments")
    damaged = tmp_path / "experiments/mutant.yaml"
    built = refused = 0
    if "include" in values:
        return  # its parts are mutated by themselves
    for _ in range(40):
        if built >= 3 and refused:
            break
        changed = deepcopy(values)
        for _ in range(chance.randint(1, 2)):
            unfit(changed, (), chance)
        damaged.write_bytes(yaml.safe_dump(changed, sort_keys=False).encode())
        try:
            experiment = load_experiment(damaged)
        except InputError:
            refused += 1
            continue
        models = {}
        for config in (variant.config for variant in experiment.variants):
            models[config.model.model_dump_json()] = config
            build_loss(config.loss, config.batch_size)
        for config in models.values():
            build_model(config.model, ["a dog barks"], config.data.seconds or 2.0, seed=0)
        built += 1
    assert refused > 0
    assert built > 0
