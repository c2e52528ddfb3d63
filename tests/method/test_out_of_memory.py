"""A step that does not fit into memory: said with what to change, or taken in halves."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from supclap_platform.experiment.identity import signature
from tiny_run import everything, make_collection, tiny_config

from supclap.batches import Batch
from supclap.config import RunConfig, parse_config
from supclap.errors import InputError, SettingError
from supclap.events import EpochEnded, Finished
from supclap.feasibility import check_run
from supclap.inputs import Inputs, SplitInputs
from supclap.memory import asked_for, was_short
from supclap.model.cnn import AudioCNN
from supclap.out_of_memory import OutOfMemory, smaller_chunk
from supclap.step import Step
from supclap.storage import Folder
from supclap.training import fit

CUDA = "CUDA out of memory. Tried to allocate 2.30 GiB. GPU 0 has a total capacity of 79.10 GiB"


def test_it_is_recognised_by_what_pytorch_and_numpy_really_say() -> None:
    found = []
    for ask in (lambda: torch.empty(10**15), lambda: np.empty(10**15)):
        with pytest.raises((RuntimeError, MemoryError)) as error:
            ask()
        found.append(asked_for(error.value))
    assert found == ["4000000000000000 bytes", "7.11 PiB"]
    assert asked_for(torch.OutOfMemoryError(CUDA)) == "2.30 GiB"
    assert asked_for(torch.OutOfMemoryError("cuDNN: out of memory")) == "some memory"
    assert asked_for(MemoryError()) == "some memory"
    assert asked_for(RuntimeError("shapes do not match")) is None
    assert asked_for(ValueError(CUDA)) is None


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be reported later",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "cuFFT error: CUFFT_ALLOC_FAILED",
        "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
        "CUDA driver error: out of memory",
        "Triton Error [CUDA]: out of memory",
        "NCCL error in: /pytorch/NCCLUtils.cpp:77, unhandled cuda error (run with NCCL_DEBUG=INFO "
        "for details), NCCL version 2.27.5\nLast error:\nCuda failure 2 'out of memory'",
        "std::bad_alloc",
    ],
)
def test_it_is_recognised_where_no_size_is_said(said: str) -> None:
    """As PyTorch 2.13's sources, and those of the libraries that it calls, put it."""
    kinds = [RuntimeError, torch.AcceleratorError]
    if said.startswith("NCCL"):
        kinds = [torch.distributed.DistBackendError]
    assert [asked_for(kind(said)) for kind in kinds] == ["some memory"] * len(kinds)


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle)`",
        "CUDA error: device-side assert triggered",
        "NCCL error in: x, remote process exited\nLast error:\nCuda failure 999 'unknown error'",
        "DataLoader worker is killed. It is possible that its workers are out of shared memory",
    ],
)
def test_what_is_something_else_is_not_taken_for_it(said: str) -> None:
    assert asked_for(RuntimeError(said)) is None


def test_halves_go_down_to_one_clip() -> None:
    halves: list[int | None] = [24]
    while halves[-1] is not None:
        halves.append(smaller_chunk(24, halves[-1]))
    assert halves == [24, 12, 6, 3, 2, 1, None]
    assert smaller_chunk(8, None) == smaller_chunk(8, 100) == 4


class Room:
    """Lets an encoder hear so many clips at once with a graph, and no more from some step on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int, since: int = 0) -> None:
        self.heard: list[int] = []
        plain = AudioCNN.forward

        def forward(encoder: AudioCNN, features: torch.Tensor) -> torch.Tensor:
            if encoder.training:
                self.heard.append(len(features))
                if len(features) > most and len(self.heard) > since:
                    raise torch.OutOfMemoryError(CUDA)
            return plain(encoder, features)

        monkeypatch.setattr(AudioCNN, "forward", forward)


def numbers(run: Folder) -> dict[str, Any]:
    found = json.loads(run.read("result.json"))
    return {"metrics": found["metrics"], "chunk": found["made_with"].get("chunk")}


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    # No dropout: its masks belong to the rows of a forward pass.
    return tiny_config(make_collection(tmp_path / "data"), on_oom="chunk", model__dropout=0.0)


@pytest.mark.heavy
def test_a_run_goes_on_in_chunks_and_ends_as_one_that_had_them_from_the_start(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config.model_copy(update={"chunk": 2, "on_oom": "end"})
    list(fit(asked, Folder.at(tmp_path / "asked")))
    with monkeypatch.context() as patch:
        room = Room(patch, most=3)
        list(fit(config, Folder.at(tmp_path / "run")))
    assert room.heard[:3] == [8, 4, 2]  # 24 clips, 8 a batch
    assert set(room.heard[3:]) == {2}
    found, expected = (numbers(Folder.at(tmp_path / name)) for name in ("run", "asked"))
    assert found["chunk"] == "2 from step 1"
    assert expected["chunk"] is None
    assert found["metrics"] == expected["metrics"]  # to the bit
    weights = [
        Folder.at(tmp_path / name).read("model/weights.safetensors") for name in ("run", "asked")
    ]
    assert weights[0] == weights[1]


@pytest.mark.heavy
def test_where_memory_ends_later_a_resumed_run_keeps_the_chunk(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, pause in (("whole", False), ("resumed", True)):
        with monkeypatch.context() as patch:
            Room(patch, most=5, since=1)
            stream = fit(config, Folder.at(tmp_path / name))
            for event in stream:
                if pause and isinstance(event, EpochEnded):
                    break
            stream.close()
        if pause:  # memory is there again, and the run stays as it was noted
            list(fit(config, Folder.at(tmp_path / name)))
    whole, resumed = (everything(Folder.at(tmp_path / name)) for name in ("whole", "resumed"))
    assert whole["result.json"]["made_with"]["chunk"] == "4 from step 2"
    assert resumed == whole


class Input:
    """Has no memory for the batch of a step, once, as the thread makes it that is ahead; notes the
    batches that steps are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int, times: int = 1) -> None:
        self.left, self.trained = times, list[list[int]]()
        feed, gradients = SplitInputs.feed, Step._gradients

        def short(inputs: SplitInputs, batches: Iterable[Batch], *workers: int) -> Iterator[Any]:
            for item in feed(inputs, batches, *workers):
                if item[0].step == step and self.left:
                    assert threading.current_thread().name == "prefetch"
                    self.left -= 1
                    raise torch.OutOfMemoryError(CUDA)
                yield item

        def noted(at: Step, batch: Batch, *given: Any) -> dict[str, float]:
            self.trained.append([batch.step, *batch.rows.tolist(), *batch.captions.tolist()])
            return gradients(at, batch, *given)

        monkeypatch.setattr(SplitInputs, "feed", short)
        monkeypatch.setattr(Step, "_gradients", noted)


@pytest.mark.heavy
@pytest.mark.parametrize("step", [0, 4])
def test_a_run_goes_on_where_there_is_no_memory_for_its_input(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The same batches follow: it ends as a run whose step did not fit there."""
    with monkeypatch.context() as patch:
        expected = Input(patch, step, times=0)
        Room(patch, most=5, since=step)
        list(fit(config, Folder.at(tmp_path / "step")))
    with monkeypatch.context() as patch:
        found = Input(patch, step)
        list(fit(config, Folder.at(tmp_path / "input")))
    del expected.trained[step]  # the try that did not fit
    assert found.trained == expected.trained
    assert [row[0] for row in found.trained] == list(range(6))
    runs = [everything(Folder.at(tmp_path / name)) for name in ("step", "input")]
    assert runs[0]["result.json"]["made_with"]["chunk"] == f"4 from step {step + 1}"
    assert runs[0] == runs[1]  # to the bit


@pytest.mark.heavy
def test_input_without_memory_ends_as_a_step_does(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Input(monkeypatch, 1, times=9)
    with pytest.raises(OutOfMemory, match=r"in step 2: 2\.30 GiB .*8 clips, 1 at once"):
        list(fit(config, Folder.at(tmp_path / "chunk")))
    config = config.model_copy(update={"on_oom": "end"})
    Input(monkeypatch, 1)
    with pytest.raises(OutOfMemory, match=r"in step 2: .*set chunk: 4") as error:
        list(fit(config, Folder.at(tmp_path / "end")))
    assert was_short(error.value)  # so that a share of a device is made larger


@pytest.mark.heavy
def test_input_without_memory_before_the_first_step_is_a_line(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def features(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA error: out of memory")

    monkeypatch.setattr(Inputs, "_features", features)
    with pytest.raises(InputError, match=r"^input: does not fit into memory; a smaller model") as e:
        list(fit(config, Folder.at(tmp_path / "run")))
    assert was_short(e.value)


@pytest.mark.heavy
def test_without_a_word_it_ends_with_what_to_change(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Room(monkeypatch, most=3)
    config = config.model_copy(update={"on_oom": "end"})
    with pytest.raises(OutOfMemory) as error:
        list(fit(config, Folder.at(tmp_path / "run")))
    said = str(error.value)
    assert re.fullmatch(
        r"out of memory in step 1: 2\.30 GiB could not be had, with 8 clips at once; set chunk: 4 "
        r"\(exact\), or on_oom: chunk, which finds one or set model\.text\.recompute: true "
        r"\(exact\) or set precision: bf16 or lower batch_size \(now 8\)",
        said,
    )


@pytest.mark.heavy
def test_where_not_even_one_clip_fits_it_ends(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room(monkeypatch, most=0)
    with pytest.raises(OutOfMemory, match=r"with 8 clips, 1 at once; set model") as error:
        list(fit(config, Folder.at(tmp_path / "run")))
    assert room.heard == [8, 4, 2, 1]
    assert "chunk: " not in str(error.value)


def test_it_is_no_part_of_a_run() -> None:
    assert signature(parse_config({"on_oom": "chunk"})) == signature(parse_config({}))


@pytest.mark.heavy
def test_a_run_that_had_no_memory_goes_on_with_it_set(config: RunConfig, tmp_path: Path) -> None:
    before = config.model_copy(update={"on_oom": "end"})
    stream = fit(before, Folder.at(tmp_path / "run"))
    while not isinstance(next(stream), EpochEnded):
        pass
    stream.close()
    assert isinstance(list(fit(config, Folder.at(tmp_path / "run")))[-1], Finished)


def test_what_cannot_help_is_one_line() -> None:
    with pytest.raises(InputError, match=r"on_oom: .*'end' or 'chunk'"):
        parse_config({"on_oom": "retry"})
    with pytest.raises(SettingError, match="on_oom: chunk goes with one worker, not with 2"):
        check_run(parse_config({"on_oom": "chunk"}), workers=2)
    with pytest.raises(SettingError, match=r"model\.text\.freeze: 3 layers .* has 2"):
        check_run(parse_config({"model": {"text": {"freeze": 3}}}))
    with pytest.raises(SettingError, match=r"model\.audio\.recompute: this encoder has no layers"):
        check_run(parse_config({"model": {"audio": {"recompute": True}}}))
