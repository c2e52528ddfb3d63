"""The version of the code: of syntax trees, of what a run can execute, and of nothing else."""

import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from tiny_features import make_arrays
from tiny_run import make_collection, tiny_config

import supclap
from supclap import registry
from supclap.code import NO_EFFECT, PACKAGE, PARTS, Code, code_version, own_code, version_of
from supclap.config import parse_config
from supclap.parts import (
    Augmentation,
    BatchOrder,
    DataSource,
    Example,
    Item,
    TrainingPairs,
    register,
)
from supclap.storage import Folder
from supclap.syntax import parse
from supclap.training import fit

HERE = Path(supclap.__file__).parent
CONFIGS = {
    "infonce": parse_config({}),
    "siglip": parse_config({"loss": "siglip"}),
    "static": parse_config({"loss": {"svr": {"radius": "static"}}}),
    "dynamic": parse_config({"loss": {"svr": {"radius": "dynamic"}}}),
    "collection": parse_config({"data": {"name": "collection", "folder": "somewhere"}}),
    "patches": parse_config({"model": {"audio": "transformer"}}),
    "noisy": parse_config({"data": {"noise": 0.3}}),
}
ALL = set(CONFIGS)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package's sources, to be edited."""
    folder = tmp_path / PACKAGE
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def versions(folder: Path) -> dict[str, str]:
    code = Code(folder)
    return {name: version_of(code.modules(config)) for name, config in CONFIGS.items()}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, path
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def add_to(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8") + "\nEDITED = 1\n", encoding="utf-8")


def test_a_copy_has_the_version_of_its_original(copy: Path) -> None:
    assert versions(copy) == versions(HERE)


def test_what_is_known_of_a_source_is_of_its_content_alone(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Size and time of a file say nothing: an edit that leaves both is seen."""
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    true = versions(copy)
    (kept,) = (tmp_path / "cache").glob("syntax-*/modules.json")
    with monkeypatch.context() as nothing_parsed:
        nothing_parsed.setattr("supclap.known_syntax.parse", None)
        assert versions(copy) == true
    path = copy / "losses/siglip.py"
    before = path.stat()
    text = path.read_text(encoding="utf-8")
    at = text.index("self")
    path.write_text(f"{text[:at]}elsf{text[at + 4 :]}", encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    edited = versions(copy)
    assert {name for name in CONFIGS if edited[name] != true[name]} == {"siglip"}
    path.write_text(text, encoding="utf-8")
    whole = kept.read_bytes()
    for lie in (b"", b"{", whole[:-9], whole.replace(b'["', b'["0', 1), whole.replace(b"0", b"1")):
        assert lie != whole
        kept.write_bytes(lie)
        assert versions(copy) == true
    shutil.rmtree(kept.parent.parent)
    kept.parent.parent.write_bytes(b"no folder")
    assert versions(copy) == true


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("training.py", "    # The loop.", "    # The loop, in other words.\n"),
        ("losses/infonce.py", '"""InfoNCE over a batch of pairs."""', '"""Other words."""\n\n'),
        ("losses/svr.py", "def extra_repr(self)", "def extra_repr(self, )"),
        ("losses/build.py", "if TYPE_CHECKING:", "if TYPE_CHECKING:\n    import fractions\n"),
    ],
)
def test_comments_docstrings_layout_and_types_change_no_version(
    copy: Path, module: str, old: str, new: str
) -> None:
    edit(copy / module, old, new)
    assert versions(copy) == versions(HERE)


@pytest.mark.parametrize(
    "module",
    [
        "config/run.py",
        "data/prepare_command.py",
        "data/sources/clotho.py",
        "embedding.py",
        "errors.py",
        "train_command.py",
        "usage.py",
        "use_commands.py",
    ],
)
def test_a_module_that_cannot_change_a_result_changes_no_version(copy: Path, module: str) -> None:
    add_to(copy / module)
    assert versions(copy) == versions(HERE)


@pytest.mark.parametrize(
    ("module", "users"),
    [
        ("losses/infonce.py", {"infonce", "static", "dynamic", "collection", "patches", "noisy"}),
        ("losses/siglip.py", {"siglip"}),
        ("losses/svr.py", {"static", "dynamic"}),
        ("losses/static_radius.py", {"static"}),
        ("losses/dynamic_radius.py", {"dynamic"}),
        ("model/cnn.py", ALL - {"patches"}),
        ("model/audio_transformer.py", {"patches"}),
        ("data/soundscenes/captions/jpn.py", ALL - {"collection"}),
        ("data/soundscenes/synthesis/tonal.py", ALL - {"collection"}),
        ("noise.py", {"noisy"}),
        ("training.py", ALL),
        ("step.py", ALL),
        ("optimization.py", ALL),
        ("evaluation/retrieval.py", ALL),
    ],
)
def test_an_edit_makes_those_stale_that_use_it_and_no_other(
    copy: Path, module: str, users: set[str]
) -> None:
    add_to(copy / module)
    before, after = versions(HERE), versions(copy)
    assert {name for name in CONFIGS if before[name] != after[name]} == users


def test_another_number_another_name_and_another_order_are_other_code() -> None:
    source = b"def f(x):\n    '''Doc.'''\n    return x * 2.0\n"
    version = parse(source).version
    assert parse(b"def f( x ):\n  return x*2.0  # twice\n").version == version
    for other in (b"return x * 2", b"return y * 2.0", b"return 2.0 * x", b"return x * 2.0, 'Doc.'"):
        assert parse(source.replace(b"return x * 2.0", other)).version != version
    text = b"def f(x):\n    return 'a'\n    'b'\n"  # a text that is no docstring is code
    assert parse(text).version != parse(text.replace(b"\n    'b'", b"")).version


@pytest.mark.heavy
def test_the_modules_are_those_that_python_itself_loads_for_a_run() -> None:
    """What `import supclap.training` and the encoders that the registry imports by name bring, but
    for parts and what has no effect."""
    code = (
        "import sys, supclap.training, supclap.model.cnn, supclap.model.text\n"
        f"print(*(m for m in sys.modules if m.split('.')[0] == {PACKAGE!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HERE.parent
    )
    loaded = set(done.stdout.split())
    loaded = {module for module in loaded if not _is_package(module)}
    recorded = parse_config(
        {
            "data": {"events": "somewhere"},
            "chunk": 8,
            "loss": {"temperature": {"from": 0.1, "to": 0.07}},
        }
    )
    pretrained = parse_config(
        {
            "model": {
                "audio": {"name": "ced", "folder": "somewhere"},
                "text": {"name": "sonar", "folder": "somewhere"},
            },
            "data": {"hard_negatives": 2, "languages": ["eng", "deu"]},
            "loss": {"multilingual": "cacl"},
        }
    )
    known = {m for c in (*CONFIGS.values(), recorded, pretrained) for m in own_code().modules(c)}
    assert loaded <= known | NO_EFFECT
    core = {m for m in own_code().modules(CONFIGS["collection"]) if not _in_part(m)}
    assert {m for m in core if not _is_package(m)} <= loaded


def test_commands_and_what_only_they_use_are_no_part_of_a_version() -> None:
    """Every configuration that there could be: no run has ever executed these."""
    everything = {module for config in CONFIGS.values() for module in own_code().modules(config)}
    assert not everything & {
        "supclap.commands",
        "supclap.data.prepare",
        "supclap.data.prepare_command",
        "supclap.data.shards",
        "supclap.embedding",
        "supclap.launcher",
        "supclap.data.decode",
        "supclap.train_command",
        "supclap.use_commands",
    }


def test_parts_and_modules_without_effect_exist() -> None:
    for name in (*PARTS, *NO_EFFECT):
        assert importlib.util.find_spec(name) is not None, name


# One run that uses each part which a tiny collection can show.
TRACED: list[dict[str, Any]] = [
    {"loss.svr": None},
    {
        "loss.svr": {"radius": "static", "alpha": {"from": 1, "to": 0, "until": 0.5}},
        "data.noise": 0.2,
        "chunk": 4,
    },
    {"loss.svr.radius": "dynamic", "loss.svr.order": "pooled", "data.hard_negatives": 2},
    {
        "loss": {"name": "siglip"},
        "precision": "bf16",
        "model.audio.freeze": True,
        "metrics": {"geometry": {}},
    },
    {"loss": {"name": "infonce", "multilingual": "kcl"}, "data.languages": ["eng", "deu"]},
    {"model.audio": {"name": "transformer", "width": 32, "layers": 1}, "loss.svr": None},
    {"data": {"name": "soundscenes", "folder": None, "clips": 64, "seconds": 1.0}},
    {
        "data": {
            "name": "features",
            "folder": None,
            "seconds": None,
            "arrays": {
                "audio": "arrays/audio.npy",
                "text": "arrays/text.npy",
                "captions": "arrays/clips.csv",
            },
        },
        "model.audio": {"name": "features"},
        "model.text": {"name": "features"},
    },
    {"data": {"name": "hums", "folder": None, "order": "turn", "augment": {"louder": {}}}},
]


class Hums(DataSource):
    def items(self) -> Iterator[Item]:
        for n in range(32):
            sound = partial(np.sin, np.arange(8000) * 0.01 * (n + 1))
            split = ("train", "train", "val", "test")[n % 4]
            yield Item(sound, [f"hum {n}"], split=split, clip_id=f"{n}")


class Turn(BatchOrder):
    def order(self, pairs: TrainingPairs, epoch: int, generator: np.random.Generator) -> np.ndarray:
        return np.roll(np.arange(len(pairs)), epoch)


class Louder(Augmentation):
    def mix(self, own: Example, other: Example, generator: np.random.Generator) -> Example:
        return replace(own, waveform=own.waveform + other.waveform)

    def features(self, features: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return features + 1


@pytest.fixture
def own_parts() -> Iterator[None]:
    with registry.forgotten():
        for part in (Hums, Turn, Louder):
            register(part.__name__.lower())(part)
        yield


@pytest.mark.heavy
@pytest.mark.parametrize("changes", TRACED, ids=lambda changes: next(iter(changes)))
def test_a_run_executes_no_function_of_a_module_that_its_version_leaves_out(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_parts: None
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    make_collection(tmp_path / "tones")
    make_arrays(tmp_path / "arrays")
    monkeypatch.chdir(tmp_path)
    for module in pkgutil.walk_packages([str(HERE)], f"{PACKAGE}."):
        importlib.import_module(module.name)  # so that what runs below is no module's own body
    config = tiny_config(
        tmp_path / "tones", **{k.replace(".", "__"): v for k, v in changes.items()}
    )
    with _watched() as executed:
        list(fit(config, Folder.at(tmp_path / "run")))
    allowed = own_code().modules(config).keys() | NO_EFFECT
    assert executed - allowed == set()
    assert "supclap.step" in executed  # the watch has seen something


class _watched:
    """Collects the modules of this package whose functions are called, on all threads."""

    def __enter__(self) -> set[str]:
        self.files: set[str] = set()
        self.modules: set[str] = set()
        self._watch: Callable[[FrameType, str, Any], None] = self._note
        threading.setprofile(self._watch)
        sys.setprofile(self._watch)
        return self.modules

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file not in self.files:
            self.files.add(file)
            if file.startswith(str(HERE)):
                parts = Path(file).relative_to(HERE).with_suffix("").parts
                self.modules.add(".".join([PACKAGE, *(p for p in parts if p != "__init__")]))


def test_a_version_is_short_and_the_same_whoever_asks() -> None:
    assert code_version(CONFIGS["infonce"]) == code_version(parse_config({"seed": 3, "epochs": 5}))
    assert len(code_version(CONFIGS["infonce"])) == 12
    assert len({code_version(config) for config in CONFIGS.values()}) == len(CONFIGS)


def _in_part(module: str) -> bool:
    return any(module == part or module.startswith(f"{part}.") for part in PARTS)


def _is_package(module: str) -> bool:
    return HERE.joinpath(*module.split(".")[1:]).is_dir()
