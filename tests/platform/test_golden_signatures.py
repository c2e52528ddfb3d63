"""Signatures of earlier versions: what names a user's results must not change under them."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.identity import Contents, signature
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.shared_profiles import with_profiles

from supclap.config import DataConfig, RunConfig, parse_config
from supclap.config.pretrained import PRETRAINED
from supclap.document import read_document
from supclap.overrides import override

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("golden")
SHIPPED = [*sorted((ROOT / "experiments").glob("*.yaml")), *sorted(GOLDEN.glob("*.yaml"))]
FOLDERS = (
    "AUDIOCAPS",
    "CED",
    "SONAR",
    "ESC50",
    "US8K",
    "VGGSOUND",
    "CLOTHO",
    "TEST_DATA",
    "MINILM",
)


class Named(Contents):
    """Takes the name of a folder for its content: the real one is on no test's machine."""

    def collection(self, folder: str, splits: Mapping[str, str | None]) -> str:
        return f"content:{Path(folder).name}"

    def features(self, data: DataConfig, splits: Mapping[str, str | None]) -> str:
        place = data.folder if data.arrays is None else data.arrays.captions
        return f"content:{Path(str(place)).name}"

    def folder(self, path: str, key: str) -> str:
        return f"content:{Path(path).name}"


def profiles(path: Path) -> list[str]:
    document, _ = with_profiles(read_document(path))
    own = document.values.get("profiles", {})  # null: the file has no part in it
    return sorted({"laptop", *(name for name in own if own[name] is not None)})


SHIPPED_PROFILES = [(path, profile) for path in SHIPPED for profile in profiles(path)]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders that the profiles name by environment variables, empty but for their names."""
    for name in FOLDERS:
        folder = tmp_path / name.lower()
        folder.mkdir()
        kind = "sentence_transformers" if name == "MINILM" else name.lower()
        for file in PRETRAINED.get(kind, ()):
            (folder / file).touch()
        monkeypatch.setenv(f"SUPCLAP_{name}", str(folder))
    return tmp_path


def signatures_of(path: Path, profile: str) -> dict[str, str]:
    cells = cells_of(load_experiment(path, profile), Named())
    return {f"{cell.variant}, seed {cell.seed}": cell.signature for cell in cells}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("path", "profile"), SHIPPED_PROFILES, ids=lambda part: getattr(part, "stem", part)
)
def test_a_shipped_file_has_the_signatures_that_it_had(
    path: Path, profile: str, folders: Path
) -> None:
    golden = json.loads((GOLDEN / "experiments.json").read_text(encoding="utf-8"))
    assert signatures_of(path, profile) == golden[f"{path.stem} {profile}"]
    assert golden.keys() <= {f"{path.stem} {profile}" for path, profile in SHIPPED_PROFILES}


def test_configurations_have_the_signatures_that_they_had() -> None:
    """One setting at a time, so that each key's default and meaning is held by itself."""
    golden = json.loads((GOLDEN / "configurations.json").read_text(encoding="utf-8"))
    assert len(golden) >= 20
    for one in golden:
        config = parse_config(override({}, one["changes"]))
        assert signature(config, one["workers"], Named()) == one["signature"], one["changes"]


def test_every_key_of_a_configuration_is_in_its_signature_or_excused() -> None:
    """All that the golden configurations do not change stands at its default in each of them."""
    golden = json.loads((GOLDEN / "configurations.json").read_text(encoding="utf-8"))
    touched = {key.split(".")[0] for one in golden for key in one["changes"]}
    later = {"metrics", "compile", "on_oom"}  # came after these, and is no part of theirs
    assert set(RunConfig.model_fields) - later <= touched
