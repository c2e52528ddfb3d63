"""What stands in for weights and data that are not here, so that a run can be forecast without
them: encoders of published sizes with random weights, and the counts of published indexes."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch

from supclap.bounds import clip_seconds
from supclap.config import ModelConfig, RunConfig
from supclap.copies import awaited
from supclap.data.published import named_in, pairs_of
from supclap.errors import InputError
from supclap.hub import cached, in_hub
from supclap.model.clap import CLAP
from supclap.model.folder import SIDES
from supclap.model.registry import Source, make_audio, make_text
from supclap.objects import in_store
from supclap.published_encoders import PUBLISHED, described_files

SECONDS = 10.0  # that a store has to say what lies there
WORDS = ("a dog barks", "a bell rings twice", "rain falls on a roof", "an engine starts far away")


def build(
    config: RunConfig, widths: tuple[int, int] | None = None, shapes: bool = False
) -> tuple[CLAP, list[str]]:
    """A model of a run's shape, on the CPU; and what stands in for weights that are not here, in
    words.

    Args:
        widths: of precomputed features, numbers of an audio and of a text vector.
        shapes: pretrained encoders are made on PyTorch's meta device, as shapes without numbers.

    Raises:
        InputError: an encoder can neither be opened nor has a published size.
    """
    model, seconds = config.model, clip_seconds(config.data)
    assumed: list[str] = []
    made: list[Any] = []
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        for side, width in zip(SIDES, widths or (None, None), strict=True):
            far = shapes and getattr(model, side).folder is not None
            with torch.device("meta") if far else nullcontext():
                encoder, words = _encoder(model, side, seconds, width)
            made.append(encoder)
            assumed += words
        clap = CLAP(model, seconds, *made)
    clap.adapt(model, 0)
    return clap, assumed


def _encoder(
    model: ModelConfig, side: str, seconds: float, width: int | None
) -> tuple[Any, list[str]]:
    make: Any = make_audio if side == "audio" else make_text
    section = getattr(model, side)
    try:
        if not _is_here(section.folder):
            raise InputError(f"model.{side}.folder: {section.folder} is not fetched yet")
        return make(section, Source(seconds, model.dropout, WORDS, width=width)), []
    except InputError:
        words = [word for text in WORDS for word in text.split()]
        files = described_files(section.name, words) if section.folder is not None else {}
        if not files:
            raise
    encoder = make(section, Source(seconds, model.dropout, WORDS, files=files))
    return encoder, [f"{section.name} of the size of {PUBLISHED[section.name].repo}"]


def _is_here(place: str | None) -> bool:
    """Whether nothing of a place has to be fetched. Raises InputError: that cannot be known."""
    if place is None:
        return True
    if in_hub(place):
        return cached(place) is not None
    return not in_store(place) or not awaited([place], SECONDS)


def counts(config: RunConfig) -> tuple[dict[str, tuple[int, int]], str] | None:
    """Clips and captions by split of the published index that a run's collection seems to be, and
    in words what it is taken for; None where it seems to be none."""
    data = config.data
    if data.name != "collection" or data.folder is None:
        return None
    name = named_in(data.folder)
    found = pairs_of(name) if name else None
    if found is None:
        return None
    edition, splits = found
    spoken = len(data.languages)
    told = {split: (clips, captions * spoken) for split, (clips, captions) in splits.items()}
    return told, f"the {splits[data.train][0]:,} clips of {edition}" if data.train in told else ""
