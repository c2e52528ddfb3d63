"""From a configuration to a collection in the cache."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache as remember
from pathlib import Path

import numpy as np

from supclap.bounds import CAPTIONS, SECONDS, SPLITS, check_seconds, split_sizes
from supclap.code import own_code, version_of
from supclap.config import DataConfig
from supclap.data.cache import build_once, cache_folder
from supclap.data.clips import FORMAT, Collection, write_split
from supclap.data.soundscenes.compose import Composer, Source
from supclap.data.soundscenes.kinds import SYNTHETIC, Kind
from supclap.data.soundscenes.processes import available_cores, ordered_map
from supclap.data.soundscenes.recorded import decode_bank
from supclap.data.soundscenes.recordings import (
    ROLES,
    Recording,
    find_recordings,
    fingerprint,
    usable_kinds,
    used_recordings,
)
from supclap.data.soundscenes.scenes import Event, plan
from supclap.data.soundscenes.synthesis import synthesize
from supclap.data.soundscenes.waves import Array
from supclap.progress import activity, counting

NAME = "soundscenes"
EVENTS = "events.json"  # beside the splits: how many recordings of each kind they were made from
_TIMED = 24  # clips that an estimate makes
_ITEMS_PER_WORKER = 200  # a process takes half a second to start: fewer are not worth one


def soundscenes_collection(
    config: DataConfig, cache: Path | None = None, workers: int | None = None
) -> Collection:
    """The soundscenes that a configuration means, made where the cache does not hold them yet.

    The clips depend on ``seed``, ``clips``, ``seconds`` and ``events`` of the configuration and
    on the code of this package; not on the number of processes. Every collection holds all
    languages and all splits.

    Args:
        cache: where collections are kept; default `supclap.data.cache.cache_folder`.
        workers: processes that make clips; default: one per available core.

    Raises:
        InputError: a folder of events that cannot be used, too few kinds of events for the number
            of clips, clips shorter than a second, or a cache that cannot be written to.
    """
    seconds = config.seconds or SECONDS[NAME]
    check_seconds(seconds)
    recordings = find_recordings(config.events) if config.events else []
    folder = _place(config, seconds, recordings, cache)
    work = _Work(config.seed, config.clips, seconds, recordings, workers)
    made = build_once(folder, work.build)
    return Collection(made, remedy=f"remove the folder {made}: it is made again")


def seconds_to_make(config: DataConfig) -> float:
    """About how long a configuration's soundscenes take to make here, from a few that are made and
    thrown away; 0 where they are made already. Decoding recordings is not counted.

    Raises:
        InputError: as `soundscenes_collection`.
    """
    seconds = config.seconds or SECONDS[NAME]
    recordings = find_recordings(config.events) if config.events else []
    if _place(config, seconds, recordings, None).is_dir():
        return 0.0
    composer = Composer(config.seed, seconds, _synthetic)
    few = plan(_TIMED, config.seed, dict.fromkeys(ROLES, SYNTHETIC))["train"]
    began = time.monotonic()
    for one in few:
        composer.clip(one)
    rate = (time.monotonic() - began) / len(few)
    sizes = split_sizes(config.clips)
    clips = sum(sizes.values()) - sizes["events"] + sizes["events"] * len(SYNTHETIC)
    workers = _Work(config.seed, config.clips, seconds, recordings, None).workers_for(clips)
    return rate * clips / workers


def _place(
    config: DataConfig, seconds: float, recordings: list[Recording], cache: Path | None
) -> Path:
    """Where the cache holds the scenes, or will."""
    determining = {
        "seed": config.seed,
        "clips": config.clips,
        "seconds": seconds,
        "events": fingerprint(recordings) if recordings else None,
        "code": code_hash(),
        "splits": [split_sizes(config.clips), CAPTIONS],
        "format": FORMAT,
    }
    key = hashlib.sha256(json.dumps(determining, sort_keys=True).encode()).hexdigest()[:16]
    return (cache or cache_folder()) / f"{NAME}-{key}"


def check_events(config: DataConfig) -> None:
    """Whether the recordings that a configuration names can make its scenes; makes none.

    Raises:
        InputError: a folder of events that cannot be used, or too few kinds for the scenes.
    """
    plan(config.clips, config.seed, usable_kinds(find_recordings(config.events or ())))


@remember
def code_hash() -> str:
    """A hash over the code of this package: other code makes other clips."""
    return version_of(own_code().under("supclap.data.soundscenes"))


@dataclass(frozen=True)
class _Work:
    seed: int
    clips: int
    seconds: float
    recordings: list[Recording]
    workers: int | None

    def build(self, folder: Path) -> None:
        """Writes all splits into ``folder``."""
        if not self.recordings:
            self._write(folder, dict.fromkeys(ROLES, SYNTHETIC), _synthetic)
            return
        kinds = usable_kinds(self.recordings)
        plan(self.clips, self.seed, kinds)  # too few kinds is reported before anything is decoded
        bank = folder / "bank.raw"
        try:
            workers = self.workers_for(len(self.recordings))
            self._write(folder, kinds, decode_bank(self.recordings, bank, workers))
            report = json.dumps(used_recordings(self.recordings, kinds), indent=1)
            (folder / EVENTS).write_text(report + "\n", encoding="utf-8")
        finally:
            bank.unlink(missing_ok=True)

    def _write(self, folder: Path, kinds: Mapping[str, Mapping[str, Kind]], source: Source) -> None:
        plans = plan(self.clips, self.seed, kinds)
        planned = [one for split in SPLITS for one in plans[split]]
        composer = Composer(self.seed, self.seconds, source)
        clips = ordered_map(composer.clip, planned, self.workers_for(len(planned)))
        with activity("making soundscenes", len(planned), "clips") as done:
            counted = counting(clips, done)
            for split in SPLITS:
                write_split(folder, NAME, split, (next(counted) for _ in plans[split]))

    def workers_for(self, items: int) -> int:
        """Processes that make so many."""
        return self.workers or max(1, min(available_cores(), items // _ITEMS_PER_WORKER))


def _synthetic(event: Event, samples: int, split: str, rng: np.random.Generator) -> Array:
    return synthesize(event, samples, rng)
