"""A first forecast: how much data a run uses, and how long its steps take, against the run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import make_collection, tiny_config

from supclap import registry, timing
from supclap.config import DataConfig, parse_config
from supclap.data.soundscenes import soundscenes_collection
from supclap.data.soundscenes.build import seconds_to_make
from supclap.errors import InputError
from supclap.footprint import footprint
from supclap.model.clap import CLAP, build_model
from supclap.parts import Augmentation, register
from supclap.timing import Sizes, estimate, sizes_of
from supclap.usage import resident


def test_the_sizes_are_those_of_the_collection(tmp_path: Path) -> None:
    data = str(make_collection(tmp_path / "data", captions=2))
    # 24, 12, 12 and 12 clips with two captions in each of two languages; English alone by default.
    assert sizes_of(tiny_config(Path(data))) == Sizes(24, 24, (12, 24), (24, 48))
    every = tiny_config(Path(data), data__pairs="all", data__languages=["eng", "deu"])
    assert sizes_of(every) == Sizes(24, 96, (12, 48), (24, 96))
    fewer = tiny_config(Path(data), data__pairs="all", data__limit=6, select__split="test")
    assert sizes_of(fewer) == Sizes(6, 12, (24, 48), (24, 48))


@pytest.mark.heavy
def test_soundscenes_are_counted_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path))
    config = parse_config({"data": {"clips": 30}})
    sizes = sizes_of(config)
    assert seconds_to_make(config.data) > 0
    assert list(tmp_path.iterdir()) == []  # nothing was made
    made = soundscenes_collection(DataConfig(clips=30), workers=1)
    counts = {split: len(made.split(split)) for split in made.splits}
    captions = {
        split: sum(c.language == "eng" for row in made.split(split).captions for c in row)
        for split in made.splits
    }
    assert sizes == Sizes(
        counts["train"],
        counts["train"],
        (counts["val"], captions["val"]),
        (counts["test"] + counts["shifted"], captions["test"] + captions["shifted"]),
    )
    assert seconds_to_make(config.data) == 0.0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__audio__freeze": True, "model__text__freeze": True},
        {"loss__multilingual": "kcl", "data__languages": ["eng", "deu"]},
        {"optimizer__name": "adamw", "precision": "bf16"},
    ],
)
def test_every_kind_of_run_can_be_timed(tmp_path: Path, changes: dict[str, object]) -> None:
    config = tiny_config(make_collection(tmp_path / "data"), **changes)
    threads = torch.get_num_threads()
    found = estimate(config)
    assert torch.get_num_threads() == threads
    assert found.seconds > 0
    assert 1 <= found.steps <= 3
    assert (found.once > 0) is ("model__audio__freeze" in changes)


class Room:
    """Lets a model take so many clips at once in training, and no more; notes how many it took."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
        self.took: list[int] = []
        plain = CLAP.forward

        def forward(model: CLAP, audio: torch.Tensor, *given: Any) -> Any:
            if model.training:
                if len(audio) > most:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
                self.took.append(len(audio))
            return plain(model, audio, *given)

        monkeypatch.setattr(CLAP, "forward", forward)


@pytest.mark.parametrize(("most", "fits"), [(23, 12), (5, 4), (2, 2)])
def test_a_batch_that_does_not_fit_is_taken_from_fewer_clips_and_says_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, fits: int
) -> None:
    config = tiny_config(make_collection(tmp_path / "data"), batch_size=24)
    monkeypatch.setattr(timing, "BUDGET", 60.0)  # so that time ends nothing
    assert estimate(config).short == ""
    room = Room(monkeypatch, most)
    found = estimate(config)
    assert max(room.took) == fits
    assert (found.steps, found.footprint.memory > 0) == (1, True)
    assert found.short == (
        "a step of 24 clips does not fit into memory here (2.00 GiB could not be had): its time "
        f"and memory are taken from one of {fits} clips; set chunk: {fits} (exact), or on_oom: "
        "chunk, which finds one or set model.text.recompute: true (exact) or set precision: bf16 "
        "or lower batch_size (now 24)"
    )
    chunked = estimate(config.model_copy(update={"chunk": 2}))  # as a run with it would
    assert chunked.short == ""


def test_time_and_memory_of_it_are_linear_in_its_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "BUDGET", 60.0)
    monkeypatch.setattr(timing._Timer, "_trained", lambda _, rows: _with_room(rows, 13))
    config = tiny_config(make_collection(tmp_path / "data"), batch_size=24)
    timer = timing._Timer(config, sizes_of(config), 1, torch.device("cpu"))
    assert timer._step() == (pytest.approx(2.4), 1)  # a tenth of a second a clip
    assert timer.peak[0] == 12


def _with_room(rows: int, most: int) -> float:
    if rows > most:
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`")
    return 0.1 * rows


def test_what_does_not_fit_at_all_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(make_collection(tmp_path / "data"))
    with monkeypatch.context() as patch:
        Room(patch, 0)
        with pytest.raises(InputError, match=r"^a step of one clip does not .*2\.00 GiB.*; set"):
            estimate(config)

    def full(*_: Any, **__: Any) -> None:
        raise torch.AcceleratorError("CUDA error: out of memory")

    for place, said in (("build", "model"), ("build_loss", "loss"), ("own_device", "run")):
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: True)
            patch.setattr(timing, "own_device", lambda _: torch.device("cpu"))
            patch.setattr(timing, place, full)
            with pytest.raises(InputError, match=f"^{said}: does not fit into memory; "):
                estimate(config, gpu=True)


def test_it_computes_as_training_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind of products, the algorithms and the chunks; then all is as before."""
    seen: list[tuple[bool, bool, bool]] = []
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn

    def device(_: int) -> torch.device:  # as on a GPU
        torch.use_deterministic_algorithms(True, warn_only=True)
        return torch.device("cpu")

    def forward(model: CLAP, *given: Any) -> Any:
        asked = torch.are_deterministic_algorithms_enabled()
        seen.append((matmul.allow_tf32, cudnn.allow_tf32, asked))
        return plain(model, *given)

    plain = CLAP.forward
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(timing, "own_device", device)
    monkeypatch.setattr(CLAP, "forward", forward)
    before = matmul.allow_tf32, cudnn.allow_tf32, torch.are_deterministic_algorithms_enabled()
    data = make_collection(tmp_path / "data")
    for precision, fast in (("tf32", True), ("float32", False)):
        seen.clear()
        found = estimate(tiny_config(data, precision=precision), gpu=True)
        assert set(seen) == {(fast, fast, True)}
        assert found.assumed == ()
    after = matmul.allow_tf32, cudnn.allow_tf32, torch.are_deterministic_algorithms_enabled()
    assert after == before
    found = estimate(tiny_config(data, compile=True))
    assert found.assumed == ("encoders that are not compiled (compile: true)",)
    monkeypatch.setattr(CLAP, "forward", plain)
    room = Room(monkeypatch, 24)
    estimate(tiny_config(data, chunk=3, batch_size=8))
    assert set(room.took) <= {1, 2, 3}
    assert room.took[-6:] == [3, 3, 2] * 2  # once without a graph, once with


def test_what_a_run_takes_of_memory_and_disk(tmp_path: Path) -> None:
    config = tiny_config(make_collection(tmp_path / "data"), optimizer__name="adamw")
    found = estimate(config).footprint
    model = build_model(config.model, ["a sound"], 0.5, 0)
    model.save(tmp_path / "model")
    assert found.model == pytest.approx(
        (tmp_path / "model/weights.safetensors").stat().st_size / 1e6, rel=0.1
    )
    learned = sum(4 * p.numel() for p in model.parameters())
    assert found.checkpoint == pytest.approx(3 * learned / 1e6, rel=0.05)  # AdamW's two moments
    held = resident()
    assert held is not None
    assert held / 3 < found.memory < 3 * held
    frozen = {"model__audio__freeze": True, "model__text__freeze": True}
    still = estimate(tiny_config(tmp_path / "data", **frozen)).footprint
    rows = {"audio": 24 + 12 + 24, "text": 24 + 12 * 1 + 24 * 1}  # train, val, test and shifted
    widths = {"audio": model.audio.encoder.width, "text": model.text.encoder.width}
    assert still.kept == pytest.approx(sum(4 * rows[s] * widths[s] for s in rows) / 1e6)
    assert found.kept == 0
    assert still.checkpoint < found.checkpoint
    assert still.model == found.model


def test_memory_is_that_of_the_rows_that_are_held_at_once() -> None:
    model = torch.nn.Linear(1000, 250)  # 1.001 MB, and as much of gradients
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for peak, times, memory in ((110.0, 1, 110.0), (110.0, 3, 126.0), (90.0, 3, 102.0)):
        found = footprint(model, torch.nn.Identity(), optimizer, 100.0, peak, times)
        assert found.memory == pytest.approx(memory, abs=0.1)
    none = footprint(model, torch.nn.Identity(), optimizer, 100.0, None, 1)
    assert (none.memory, none.model) == (0.0, pytest.approx(1.001))


def test_what_cannot_be_timed_here_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="asks for a GPU, and this machine has none"):
        estimate(tiny_config(tmp_path), gpu=True)
    with pytest.raises(InputError, match="absent"):
        estimate(tiny_config(tmp_path / "absent"))
    other = tiny_config(make_collection(tmp_path / "data"), data__test="testing")
    with pytest.raises(InputError, match="no split 'testing'"):
        estimate(other)


def test_what_augmentations_take_in_every_epoch_is_a_part_of_it(tmp_path: Path) -> None:
    class Slow(Augmentation):
        def waveform(self, waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
            time.sleep(0.05)
            return waveform

        def caption(self, text: str, language: str, generator: np.random.Generator) -> str:
            time.sleep(0.05)
            return text

    data = make_collection(tmp_path / "data")
    with registry.forgotten():
        register("slow")(Slow)
        found = estimate(tiny_config(data, data__augment={"slow": {}}))
    assert found.seconds > 2 * 24 * (0.05 + 0.05)  # two epochs of 24 clips
