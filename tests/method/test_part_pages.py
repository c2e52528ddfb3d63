"""The examples of docs/parts do what the pages say."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_run import make_collection, tiny_config

from supclap.augmenting import augmenter_of
from supclap.batches import batches_of
from supclap.config import RunConfig
from supclap.data.clips import Clips, Collection
from supclap.user_code import forgotten, load_code

PAGES = Path(__file__).parents[2] / "docs" / "parts"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    with forgotten():
        yield


def example(page: str, folder: Path, data: Path) -> tuple[dict[str, RunConfig], Clips]:
    """A page's python, loaded as a file of the user's, and the rows of its yaml."""
    text = (PAGES / page).read_text(encoding="utf-8")
    (python,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (written,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    values = yaml.safe_load(written)
    (name,) = values["code"]
    (folder / name).write_text(python)
    load_code([name], folder)
    rows = {
        row: tiny_config(data, **{key.replace(".", "__"): v for key, v in changes.items()})
        for row, changes in values["variants"].items()
    }
    return rows, Collection(data).split("train")


def test_the_order_takes_short_captions_first(tmp_path: Path, data: Path) -> None:
    rows, train = example("order.md", tmp_path, data)
    config = rows["InfoNCE, short first"].model_copy(update={"epochs": 3})
    batches = batches_of(config, train)
    words = np.array([len(said[0].text.split()) for said in train.captions])
    taken = [np.concatenate([b.rows for b in batches.epoch(e)]) for e in range(3)]
    assert [len(set(rows.tolist())) for rows in taken] == [12, 18, 24]
    for rows_of in taken:
        left = np.setdiff1d(np.arange(24), rows_of)
        assert words[rows_of].max() <= min(words[left], default=99)
    assert batches.repeated == 12


def test_the_augmentations_mask_and_mix(tmp_path: Path, data: Path) -> None:
    rows, train = example("augmentation.md", tmp_path, data)
    config = rows["InfoNCE + both"]
    augmenter = augmenter_of(config, train, batches_of(config, train))

    def hear(row: int) -> np.ndarray:
        return np.full(8000, row, np.float32)

    mixed = [augmenter.example(row, [0], ("x",), ("eng",), 0, hear) for row in range(24)]
    both = [row for row in range(24) if mixed[row].captions != ("x",)]
    assert 4 <= len(both) <= 20
    for row in range(24):
        other = 2 * mixed[row].waveform[0] - row
        if row in both:
            assert mixed[row].captions == (f"x and {train.captions[int(other)][0].text}",)
        assert (other != row) == (row in both)
    noise = np.random.default_rng(0).random((64, 51), dtype=np.float32) + 1
    for row in range(5):
        masked = augmenter.features(row, noise.copy(), 0) == noise.min()
        bands, frames = masked.all(1), masked.all(0)
        assert bands.sum() <= 12
        assert frames.sum() <= 20
        whole = bands[:, None] | frames[None]
        assert whole.any()
        assert np.array_equal(masked, whole | (noise == noise.min()))
