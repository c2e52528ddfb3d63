"""Steps at the paper's size: CED-Base's and SONAR's shapes with random weights (Table 14)."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import print_table
from supclap.batches import Batches
from supclap.config import ModelConfig
from supclap.data.clips import SAMPLE_RATE, Caption, Clip, Collection, write_split
from supclap.feeding import Feed
from supclap.inputs import Fed, Inputs
from supclap.losses import (
    DynamicRadius,
    InfoNCE,
    StaticRadius,
    SupCLAPLoss,
    SupportVectorRegularization,
)
from supclap.model.ced import CED, FIXED
from supclap.model.clap import CLAP
from supclap.model.registry import Source
from supclap.model.sonar import SONAR
from supclap.precision import autocast
from supclap.published_encoders import PUBLISHED, nllb_words

CLIPS = 49_838  # of AudioCaps' training split
BATCH = 24
ROUNDS = 40
# Seconds of an epoch and MB on an H800 (paper, Table 14).
PAPER = {
    "InfoNCE": (247.9, 22_724),
    "bi-StaticSVR": (243.8, 22_732),
    "bi-DynamicSVR": (251.9, 22_834),
}
LARGE = PUBLISHED["sonar"].described
TINY_AUDIO = {"embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0, "target_length": 112}
TINY_TEXT = {
    **LARGE,
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "vocab_size": 400,
}
WORDS = [f"w{number}" for number in range(300)]


def table14(small: bool, device: torch.device, precision: str) -> list[str]:
    """Prints milliseconds a step, seconds an epoch, peak memory and how busy the device was, of
    three losses in turns; the names of the losses that were not finite."""
    seconds, rounds = (1.0, 2) if small else (10.0, ROUNDS)
    model = shapes(small, seconds).to(device).train()
    losses = {name: loss.to(device) for name, loss in contenders(model.config.dim).items()}
    learned = [*model.parameters(), *(p for loss in losses.values() for p in loss.parameters())]
    optimizer = torch.optim.AdamW(learned, lr=1e-5, fused=True)
    feed = Feed(device)
    times: dict[str, list[float]] = {name: [] for name in losses}
    waits: dict[str, list[float]] = {name: [] for name in losses}
    peaks = dict.fromkeys(losses, 0.0)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="supclap-gpu-") as scratch:
        wanted = (rounds + 1) * len(losses)
        fed = islice(inputs(Path(scratch), model, seconds, small, feed), wanted)
        turns = (name for _ in range(rounds + 1) for name in losses)
        began = time.perf_counter()
        for at, (name, (audio, text)) in enumerate(zip(turns, fed, strict=True)):
            waited = feed.waited()
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            optimizer.zero_grad()
            with autocast(precision, device):
                pair = model(audio, text, "features")
            value: Tensor = losses[name](*pair).total
            value.backward()
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            finite = bool(value.isfinite())  # waits for the step
            took, began = time.perf_counter() - began, time.perf_counter()
            if not finite:
                wrong.append(f"{name} in {precision}")
            if at >= len(losses):  # the first round allocates
                times[name].append(took)
                waits[name].append(waited)
            if device.type == "cuda":
                peaks[name] = max(peaks[name], torch.cuda.max_memory_allocated() / 1e6)
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    print(
        f"\nTable 14, {precision}: {parameters:.0f} M parameters, {seconds:g}-second clips, batch"
    )
    print(
        f"{BATCH}, {rounds} rounds in turns; an epoch is {CLIPS // BATCH} steps without measuring"
    )
    heads = ["", "ms a step", "of InfoNCE", "s an epoch", "paper", "MB", "paper", "busy"]
    rows = []
    for name in losses:
        middle = statistics.median(times[name])
        ratio = statistics.median(a / b for a, b in zip(times[name], times["InfoNCE"], strict=True))
        busy = 1 - sum(waits[name]) / sum(times[name])
        paper, megabytes = PAPER[name]
        epoch = f"{middle * (CLIPS // BATCH):.1f}"
        cells = [f"{1e3 * middle:.1f}", f"{ratio:.3f}", epoch, f"{paper}", f"{peaks[name]:,.0f}"]
        rows.append([name, *cells, f"{megabytes:,}", f"{100 * busy:.1f} %"])
    print_table(heads, rows)
    return wrong


def contenders(dim: int) -> dict[str, SupCLAPLoss]:
    """The three losses of Table 14."""

    def regularized(radius: StaticRadius | DynamicRadius) -> SupCLAPLoss:
        return SupCLAPLoss(InfoNCE(), SupportVectorRegularization(radius, "both"))

    return {
        "InfoNCE": SupCLAPLoss(InfoNCE()),
        "bi-StaticSVR": regularized(StaticRadius()),
        "bi-DynamicSVR": regularized(DynamicRadius(BATCH)),
    }


def shapes(small: bool, seconds: float) -> CLAP:
    """CED-Base and SONAR under heads to 1,024 numbers, with random weights."""
    audio, text = (TINY_AUDIO, TINY_TEXT) if small else (PUBLISHED["ced"].described, LARGE)
    named: dict[str, Any] = {
        "audio": {"name": "ced", "folder": "random"},
        "text": {"name": "sonar", "folder": "random"},
        "dim": 64 if small else 1024,
    }
    config = ModelConfig.model_validate(named)
    described = {**FIXED, **audio, "model_type": "ced"}
    files = {"config.json": json.dumps(described).encode()}
    heard = CED(config.audio, Source(seconds, 0.0, files=files))
    files = {
        "config.json": json.dumps(dict(text)).encode(),
        "tokenizer.json": nllb_words(WORDS).encode(),
    }
    return CLAP(config, seconds, heard, SONAR(config.text, Source(seconds, 0.0, files=files)))


def inputs(folder: Path, model: CLAP, seconds: float, small: bool, feed: Feed) -> Iterator[Fed]:
    """Features and tokens of batches without end, read and computed as in training; clips of noise
    with captions of 8 to 20 words. Features are not kept: AudioCaps' would not fit."""
    numbers = np.random.default_rng(0)
    count = 2 * BATCH if small else 20 * BATCH

    def clip(number: int) -> Clip:
        sound = numbers.normal(0, 3000, round(seconds * SAMPLE_RATE)).astype(np.int16)
        words = " ".join(numbers.choice(WORDS, numbers.integers(8, 21)))
        return Clip(f"{number}", sound, (Caption(words, "eng"),))

    write_split(folder, "noise", "train", (clip(number) for number in range(count)))
    clips = Collection(folder).split("train")
    given = Inputs("train", clips, model, ["eng"])
    given._kept = None
    batches = Batches(clips.captions, ["eng"], BATCH, seed=0)
    epoch = 0
    while True:
        for _, fed in feed.ahead(given.feed(batches.epoch(epoch), 0, 1)):
            yield fed
        epoch += 1
