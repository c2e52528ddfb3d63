"""What a configuration must keep to, known without building or opening anything.

The parts themselves ask here when they are built, and `supclap.feasibility` before that: so a
mistake is the same line wherever it is found. Needs nothing but Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from supclap.errors import SettingError, nearest

if TYPE_CHECKING:
    from supclap.config import DataConfig

BANDS = 64  # of a log-mel
GROUP = 8  # channels that the CNN's GroupNorm normalises together
GRID = 4  # cells of frequency and of time into which the CNN gathers its last map
HEAD_WIDTH = 32  # of an attention head of the transformers
LEAST_VOCABULARY = 258  # the bytes, padding and the start mark

# CLIP's bound on a learned temperature: below 0.01 the softmax is an argmax and gradients explode.
TEMPERATURE_BOUNDS = (0.01, 10.0)

# The splits of soundscenes, and how many captions in each language their clips have.
SPLITS = ("pretrain", "train", "val", "test", "shifted", "events")
CAPTIONS = {"pretrain": 1, "train": 1, "val": 5, "test": 5, "shifted": 5, "events": 0}
CLIPS_PER_KIND = 20  # of the events split
SHORTEST_SCENE = 1.0  # seconds
# Of a clip in seconds, where the configuration is silent.
SECONDS = {"soundscenes": 2.0, "collection": 10.0}


def clip_seconds(data: DataConfig) -> float:
    """Of a run's clips; a data source of the user's is a collection too."""
    return data.seconds or SECONDS.get(data.name, SECONDS["collection"])


def split_sizes(clips: int) -> dict[str, int]:
    """Clips per split; the measured ones reach their full size at 1,000 training clips.

    The events split is given as clips per kind.
    """
    measured = min(1000, clips)
    return {
        "pretrain": clips,
        "train": clips,
        "val": max(1, measured // 2),
        "test": measured,
        "shifted": measured,
        "events": max(1, measured * CLIPS_PER_KIND // 1000),
    }


def check_cnn(width: int, layers: int) -> None:
    """Raises SettingError where the CNN cannot have this size."""
    if width % GROUP:
        key = "model.audio.width"
        raise SettingError(key, f"{key}: {width} is no multiple of {GROUP} (cnn)")
    most = (BANDS // GRID).bit_length() - 1
    if layers > most:
        key = "model.audio.layers"
        raise SettingError(
            key, f"{key}: {layers} halvings leave too few of {BANDS} bands (cnn); at most {most}"
        )


def check_transformer(side: str, width: int) -> None:
    """Raises SettingError where the transformer of a side ("audio", "text") cannot have a width."""
    if width % HEAD_WIDTH:
        key = f"model.{side}.width"
        raise SettingError(key, f"{key}: {width} is no multiple of {HEAD_WIDTH} (transformer)")


def check_vocabulary(size: int) -> None:
    """Raises SettingError where a tokenizer that is trained cannot be so small."""
    if size < LEAST_VOCABULARY:
        key = "model.text.vocabulary"
        raise SettingError(key, f"{key}: {size} is too small; at least {LEAST_VOCABULARY}")


def check_temperature(temperature: float, learned: bool) -> None:
    """Raises SettingError where a temperature that is learned starts outside of its bounds."""
    low, high = TEMPERATURE_BOUNDS
    if learned and not low <= temperature <= high:
        key = "loss.temperature"
        raise SettingError(
            key,
            f"{key}: {temperature:g} cannot be learned: a learned temperature stays within {low:g} "
            f"and {high:g}; set loss.learn_temperature: false, or start there",
        )


def check_seconds(seconds: float, key: str = "data.seconds") -> None:
    """Raises SettingError where clips are too short for a soundscene."""
    if seconds < SHORTEST_SCENE:
        raise SettingError(
            key, f"{key}: {seconds:g} is too short for a scene; give {SHORTEST_SCENE:g} or more"
        )


def check_split(name: str, existing: Sequence[str], place: str, key: str) -> None:
    """Raises SettingError where ``place`` has no split of that name."""
    if name not in existing:
        raise SettingError(
            key,
            f"{key}: {place}: no split '{name}'{nearest(name, existing)} (it has "
            f"{', '.join(existing) or 'none'})",
        )


def check_share(batch_size: int, workers: int) -> None:
    """Raises SettingError where a batch has fewer pairs than there are workers."""
    if batch_size < workers:
        key = "batch_size"
        raise SettingError(key, f"{key}: {batch_size} is too few for {workers} workers")


def check_pairs(pairs: int, batch_size: int, which: str) -> None:
    """Raises SettingError where the pairs do not fill a batch; ``which`` names them."""
    if pairs < batch_size:
        key = "batch_size"
        raise SettingError(key, f"{key}: {batch_size} is more than {which}; lower batch_size")


def noisy_clips(clips: int, share: float) -> int:
    """How many of the clips bear another's captions. Raises SettingError where it is one or none
    of them though there is a share."""
    noisy = round(share * clips)
    if share and noisy < 2:
        key = "data.noise"
        raise SettingError(
            key,
            f"{key}: {share:g} of {clips} clips is {noisy}, and captions are exchanged among "
            "two or more; raise it, or train on more clips",
        )
    return noisy


def check_frozen_layers(freeze: bool | int, layers: int, key: str) -> None:
    """Raises SettingError where more of an encoder's layers are to be frozen than it has."""
    if freeze is not True and freeze > layers:
        raise SettingError(
            key,
            f"{key}: {freeze} layers are to be frozen, and the encoder has {layers}; `true` "
            "freezes all of it",
        )


def nothing_to_recompute(key: str) -> SettingError:
    """The error for an encoder that calls no layers one by one."""
    return SettingError(key, f"{key}: this encoder has no layers that could be computed again")
