"""Outputs of a frozen encoder: computed once, kept, and never stale."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from supclap.config import ModelConfig
from supclap.errors import InputError
from supclap.model.clap import CLAP, build_model
from supclap.model.frozen import first_alike_kept, frozen_outputs

CAPTIONS = ["a dog barks", "rain falls softly", "a bell rings"]
VALUES = {
    "audio": {"name": "cnn", "width": 8, "layers": 2, "freeze": True},
    "text": {"width": 32, "layers": 1, "vocabulary": 300, "freeze": True},
    "dim": 16,
    "dropout": 0.3,
}


def model_of(seed: int = 0, **changes: object) -> CLAP:
    return build_model(ModelConfig.model_validate(VALUES | changes), CAPTIONS, 0.5, seed)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path))
    return tmp_path


class Counted:
    """Waveforms that count how often they are asked for."""

    def __init__(self, count: int = 7) -> None:
        self.waves = torch.from_numpy(
            np.random.default_rng(0).normal(0, 0.1, (count, 8000)).astype(np.float32)
        )
        self.asked: list[range] = []

    def __call__(self, rows: range) -> torch.Tensor:
        self.asked.append(rows)
        return self.waves[rows.start : rows.stop]


def test_they_are_the_encoders_outputs_computed_once_and_read_from_disk(cache: Path) -> None:
    model, items = model_of().train(), Counted()
    outputs = frozen_outputs(model.audio, "data", 7, items, rows_per_batch=3)
    assert [(r.start, r.stop) for r in items.asked] == [(0, 3), (3, 6), (6, 7)]
    direct = model.audio.outputs(items.waves).detach().numpy()
    assert outputs == pytest.approx(direct, abs=1e-6)
    assert model.audio.training  # as it was
    again = frozen_outputs(model_of().audio, "data", 7, items)
    assert (again == outputs).all()
    assert len(items.asked) == 3
    assert not again.flags.owndata  # a view of the file, not a copy in memory
    assert not again.flags.writeable
    files = [path.name for path in cache.rglob("*") if path.is_file() and path.suffix]
    assert [name for name in files if not name.startswith(".")] == ["outputs.arrow"]


def test_a_head_trains_on_kept_outputs_as_on_waveforms() -> None:
    model, items = model_of(), Counted()
    outputs = frozen_outputs(model.audio, "data", 7, items)
    rows = np.array([5, 0, 2])
    tokens = model.text.tokenize(CAPTIONS)
    text = frozen_outputs(model.text, "text", 3, lambda r: tokens[slice(r.start, r.stop)])
    kept = model(torch.from_numpy(outputs[rows]), torch.from_numpy(text.copy()), level="outputs")
    fresh = model(items.waves[torch.from_numpy(rows)], tokens)
    for one, other in zip(kept, fresh, strict=True):
        assert one.detach().numpy() == pytest.approx(other.detach().numpy(), abs=1e-6)
        assert one.requires_grad


def test_other_weights_other_data_and_another_side_are_computed_anew() -> None:
    items = Counted()
    frozen_outputs(model_of().audio, "data", 7, items)
    first = len(items.asked)
    frozen_outputs(model_of(seed=1).audio, "data", 7, items)
    frozen_outputs(model_of().audio, "other data", 7, items)
    frozen_outputs(model_of().audio, "data", 6, items)
    assert len(items.asked) == 4 * first
    # The head is not the encoder: another embedding size does not compute again.
    frozen_outputs(model_of(dim=32).audio, "data", 7, items)
    assert len(items.asked) == 4 * first


def test_an_encoder_that_learns_is_refused() -> None:
    with pytest.raises(ValueError, match="frozen"):
        frozen_outputs(model_of(audio="cnn").audio, "data", 7, Counted())


def test_outputs_that_are_not_finite_are_refused_and_not_kept(cache: Path) -> None:
    items = Counted()
    items.waves[4] = torch.nan
    with pytest.raises(InputError, match="item 4 is not finite"):
        frozen_outputs(model_of().audio, "data", 7, items, rows_per_batch=2)
    items.waves[4] = 0
    assert np.isfinite(frozen_outputs(model_of().audio, "data", 7, items)).all()


def test_a_damaged_file_is_named(cache: Path) -> None:
    frozen_outputs(model_of().audio, "data", 7, Counted())
    (path,) = cache.rglob("outputs.arrow")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"outputs\.arrow.*delete"):
        frozen_outputs(model_of().audio, "data", 7, Counted())


def test_what_is_alike_is_found_once_for_an_encoder_and_a_damaged_file_is_named(
    cache: Path,
) -> None:
    asked: list[str] = []

    def find() -> np.ndarray:
        asked.append("find")
        return np.array([0, 0, 2], dtype=np.int64)

    for _ in range(2):
        assert first_alike_kept(model_of().text, "said", 3, find).tolist() == [0, 0, 2]
    assert asked == ["find"]
    first_alike_kept(model_of(seed=1).text, "said", 3, find)  # other words, maybe, are alike to it
    first_alike_kept(model_of().text, "other", 3, find)
    assert len(asked) == 3
    for path in cache.rglob("alike.npy"):
        np.save(path, np.array([0, 0, 3]))  # a later one cannot be the first
    with pytest.raises(InputError, match=r"alike.npy: .*delete the folder of this file"):
        first_alike_kept(model_of().text, "said", 3, find)


def test_no_items() -> None:
    assert frozen_outputs(model_of().audio, "data", 0, Counted()).shape == (0, 16)


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from test_frozen import Counted, frozen_outputs, model_of
class Deadly(Counted):
    def __call__(self, rows):
        if rows.start == 4:
            os.kill(os.getpid(), 9)
        return super().__call__(rows)
frozen_outputs(model_of().audio, "data", 7, Deadly(), rows_per_batch=2)
"""


@pytest.mark.heavy
def test_a_killed_computation_leaves_nothing_that_looks_whole(cache: Path) -> None:
    folder = __file__.rsplit("/", 1)[0]
    killed = subprocess.run([sys.executable, "-c", KILLED, folder])
    assert killed.returncode == -9
    assert not [path for path in cache.rglob("outputs.arrow") if "building" not in str(path)]
    items = Counted()
    outputs = frozen_outputs(model_of().audio, "data", 7, items)
    assert items.asked
    assert outputs == pytest.approx(
        model_of().audio.outputs(items.waves).detach().numpy(), abs=1e-6
    )
    assert not list(cache.rglob("*building*"))
