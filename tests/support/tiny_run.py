"""A collection and a configuration so small that a whole run takes a second or two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from supclap.config import RunConfig, parse_config
from supclap.data.clips import Caption, Clip, write_split
from supclap.overrides import override
from supclap.storage import Folder

PITCHES = ("low", "middle", "high", "shrill")
PACES = ("steady", "slow", "fast")
WORDS = {"eng": "a {pitch} tone, {pace}", "deu": "ein Ton, {pitch}, {pace}"}


def make_collection(folder: Path, clips: int = 24, seed: int = 0, captions: int = 1) -> Path:
    """Tones of half a second with captions in two languages; splits train, val, test, shifted and
    events."""
    numbers = np.random.default_rng(seed)
    for split, count in (("train", clips), ("val", 12), ("test", 12), ("shifted", 12)):
        write_split(
            folder, "tones", split, [_clip(split, i, numbers, captions) for i in range(count)]
        )
    write_split(folder, "tones", "events", [_clip("events", i, numbers, 0) for i in range(8)])
    return folder


def _clip(split: str, number: int, numbers: np.random.Generator, captions: int) -> Clip:
    pitch, pace = number % len(PITCHES), number // len(PITCHES) % len(PACES)
    time = np.arange(8000) / 16000
    sound = np.sin(2 * np.pi * 300 * 2**pitch * time)
    if pace:
        sound *= np.sin(2 * np.pi * 4 * pace * time) > 0
    noise = numbers.normal(0, 0.02, len(time))
    words = {"pitch": PITCHES[pitch], "pace": PACES[pace]}
    return Clip(
        f"{split}-{number}",
        ((0.3 * sound + noise) * 32767).astype(np.int16),
        tuple(
            Caption(f"{text.format(**words)} {'again ' * again}", language)
            for language, text in WORDS.items()
            for again in range(captions)
        ),
        (PITCHES[pitch],),
    )


def tiny_config(collection: Path, **changes: Any) -> RunConfig:
    """Two epochs of three steps; ``changes``: dotted keys with ``__`` for the dot."""
    base = {
        "data": {"name": "collection", "folder": str(collection), "seconds": 0.5},
        "model": {
            "audio": {"name": "cnn", "width": 8, "layers": 2},
            "text": {"name": "transformer", "width": 32, "layers": 1, "vocabulary": 300},
            "dim": 16,
            "dropout": 0.1,  # so that a resumed run has random numbers to repeat
        },
        "loss": {"svr": {"radius": "dynamic"}},
        "epochs": 2,
        "batch_size": 8,
    }
    return parse_config(override(base, {k.replace("__", "."): v for k, v in changes.items()}))


def everything(folder: Folder) -> dict[str, Any]:
    """What a finished run has left, name -> content, without its clock times."""
    names = [*folder.names(), *(f"model/{name}" for name in folder.names("model"))]
    sides = [f"model/{side}" for side in ("audio", "text") if f"model/{side}" in names]
    names += [f"{side}/{name}" for side in sides for name in folder.names(side)]
    found: dict[str, Any] = {}
    for name in names:
        if name in ("model", *sides):
            continue
        content = folder.read(name)
        if name == "events.jsonl":
            found[name] = [_timeless(json.loads(line)) for line in content.splitlines()]
        elif name == "result.json":
            found[name] = _timeless(json.loads(content))
        else:
            found[name] = content
    return found


def _timeless(values: dict[str, Any]) -> dict[str, Any]:
    nature = ("seconds", "setup_seconds", "time", "system", "peak_MB", "ran_on", "files", "seal")
    return {k: v for k, v in values.items() if k not in nature}
