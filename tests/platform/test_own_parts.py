"""A part of each kind in a file beside the experiment: run, edited, searched, killed, submitted.

No file of the two packages is touched, as in a user's folder. One run is shared by what is asked of
it; the search and the cluster are `long`.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from own_loop import write_loop
from ray_head import Head
from tiny_grid import SUPCLAP, attempts, environment
from tiny_run import make_collection

from supclap.errors import STALE

PARTS = """
import numpy as np
import torch
from torch import nn
from supclap.parts import (
    AudioEncoder, Augmentation, BatchOrder, LossTerm, Metric, register
)


@register("near")
class Near(LossTerm):
    margin: float = 0.2

    def setup(self, place):
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, pairs):
        gap = (self.margin + pairs.similarities.mean() - pairs.similarities.diagonal()).relu()
        return self.scale * gap.mean(), {"violated": (gap > 0).float().mean()}


@register("backwards")
class Backwards(BatchOrder):
    def order(self, pairs, epoch, generator):
        return np.argsort(-generator.permutation(len(pairs)))


@register("louder")
class Louder(Augmentation):
    most: float = 2.0

    def waveform(self, waveform, generator):
        return (waveform * generator.uniform(1, self.most)).astype(np.float32)


@register("spectrum")
class Spectrum(AudioEncoder):
    bands: int = 8

    def setup(self, source):
        self.width = 16
        self.layer = nn.Linear(self.bands, 16)

    def features(self, waveforms):
        power = torch.fft.rfft(waveforms).abs()[:, : self.bands * 64]
        return power.reshape(len(power), self.bands, 64).mean(2).log1p()

    def forward(self, features):
        return self.layer(features)


@register("spread")
class Spread(Metric):
    names = ("spread",)
    higher = ("spread",)

    def measure(self, embeddings):
        return {"spread": embeddings.audio.std(0).mean().item()}
"""
LOOP = """
from pydantic import BaseModel
"""
FILE = """
experiment: own
code: [parts.py]
base:
  data: {{name: collection, folder: {collection}, seconds: 0.5}}
  model:
    audio: {{name: cnn, width: 8, layers: 2}}
    text: {{name: transformer, width: 32, layers: 1, vocabulary: 300}}
    dim: 16
  epochs: {epochs}
  batch_size: 8
  metrics: {{spread: {{}}}}
variants:
  plain: {{}}
  term: {{loss.terms.near: {{weight: 0.5}}}}
  order: {{data.order: {{name: backwards}}}}
  augmented: {{data.augment.louder: {{most: 1.5}}}}
  encoder: {{model.audio: {{name: spectrum, bands: 4}}}}
seeds: {seeds}
baseline: plain
table: {{columns: [t2a.R@1, spread, train.near.violated]}}
claims: [term > plain on spread]
"""


class Walk:
    """A user's folder with the file of parts, the experiment and its storage."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.storage = folder, folder / "storage"
        self.parts, self.file = folder / "parts.py", folder / "own.yaml"
        make_collection(folder / "tones")
        self.parts.write_text(PARTS, encoding="utf-8")
        self.write()

    def write(self, epochs: int = 1, seeds: int = 1, more: str = "") -> None:
        collection = json.dumps(str(self.folder / "tones"))
        text = FILE.format(collection=collection, epochs=epochs, seeds=seeds)
        self.file.write_text(text + more, encoding="utf-8")

    def supclap(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        call = [*SUPCLAP, command, str(self.file), "--storage", str(self.storage), *options]
        return subprocess.run(
            call, env=environment(), cwd=self.folder, capture_output=True, text=True
        )


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    return Walk(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def first(walk: Walk) -> subprocess.CompletedProcess[str]:
    return walk.supclap("run")


@pytest.mark.heavy
def test_each_is_a_row_of_the_table(walk: Walk, first: subprocess.CompletedProcess[str]) -> None:
    assert first.returncode == 0, first.stdout + first.stderr
    assert "parts.py" in first.stdout.splitlines()[0] + first.stdout.splitlines()[1]
    assert sorted(attempts(walk.storage).values()) == [1, 1, 1, 1, 1]
    assert "spread" in first.stdout
    assert list((walk.storage / "code").iterdir())


@pytest.mark.heavy
def test_an_edit_of_one_makes_its_row_stale_alone(
    walk: Walk, first: subprocess.CompletedProcess[str]
) -> None:
    assert first.returncode == 0
    walk.parts.write_text(PARTS.replace("self.scale * gap", "2 * self.scale * gap"))
    old = walk.supclap("table")
    assert old.returncode == STALE, old.stdout + old.stderr
    assert "parts.py: near" in old.stdout + old.stderr
    planned = walk.supclap("plan")
    assert "4 done" in planned.stdout
    assert "1 stale" in planned.stdout


@pytest.mark.heavy
def test_without_its_code_nothing_is_run_and_the_table_comes_from_the_storage(
    walk: Walk, first: subprocess.CompletedProcess[str]
) -> None:
    assert first.returncode == 0
    refused = walk.supclap("plan", "--no-code")
    assert refused.returncode == 2
    assert "code" in refused.stderr


@pytest.mark.long
def test_killed_it_goes_on_to_the_same_end(tmp_path: Path) -> None:
    ends = []
    for name, kill in (("calm", False), ("killed", True)):
        walk = Walk(tmp_path / name)
        walk.write(epochs=3)
        if kill:
            call = [*SUPCLAP, "run", str(walk.file), "--storage", str(walk.storage)]
            driver = subprocess.Popen(
                call, env=environment(), cwd=walk.folder, start_new_session=True
            )
            while not list(walk.storage.glob("cells/*/*/checkpoints/*.pt")):
                time.sleep(0.2)
                assert driver.poll() is None
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
        done = walk.supclap("run")
        assert done.returncode == 0, done.stdout + done.stderr
        ends.append((walk.storage / "experiments" / "own" / "table.csv").read_text())
    assert ends[0] == ends[1]


@pytest.mark.long
def test_its_keys_are_searched(tmp_path: Path) -> None:
    walk = Walk(tmp_path)
    walk.write(
        more="""
search:
  space:
    loss.terms.near.weight: {uniform: [0.1, 1.0]}
    loss.terms.near.margin: {choice: [0.1, 0.3]}
  trials: 3
  objective: val.spread
"""
    )
    done = walk.supclap("run")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    started = Head()
    try:
        started.wait()
        yield started
    finally:
        started.stop()


@pytest.mark.long
def test_it_is_submitted_with_its_code(tmp_path: Path, head: Head) -> None:
    walk = Walk(tmp_path)
    code, output = head.supclap(
        "submit", walk.file, "--address", head.url, "--storage", walk.storage
    )
    assert code == 0, output
    assert sorted(attempts(walk.storage).values()) == [1, 1, 1, 1, 1]


@pytest.mark.long
def test_a_loop_of_ones_own_is_submitted_too(tmp_path: Path, head: Head) -> None:
    path, storage = write_loop(tmp_path), tmp_path / "storage"
    code, output = head.supclap("submit", path, "--address", head.url, "--storage", storage)
    assert code == 0, output
    found = (storage / "experiments" / "rings" / "table.csv").read_text(encoding="utf-8")
    assert "narrow" in found
    assert "wide" in found
