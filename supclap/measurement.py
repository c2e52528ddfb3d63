"""Measuring a model during a run: every split is encoded once, shared among the workers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from supclap.config import RunConfig
from supclap.data.clips import Clips
from supclap.data.reading import read_batch
from supclap.errors import InputError, nearest
from supclap.evaluation.chance import chance_by_language
from supclap.evaluation.collection import classes_of, encode_clips
from supclap.evaluation.retrieval import MultilingualResult, retrieval_by_language
from supclap.evaluation.zero_shot import classify
from supclap.events import LOW
from supclap.inputs import SplitInputs, heard
from supclap.metric_names import find, own_names
from supclap.model.clap import CLAP
from supclap.model.frozen import ROWS as FROZEN_ROWS
from supclap.model.frozen import frozen_outputs
from supclap.progress import activity
from supclap.sets import classifiable
from supclap.workers import Workers

if TYPE_CHECKING:
    from supclap.own_metrics import OwnMetrics

# Rows of one forward pass. Their number must not depend on the workers: a product of matrices of
# another size may round otherwise.
ROWS = 128


@dataclass(frozen=True)
class Measured:
    """Metrics under the names of `supclap.events`, and the ranks of the queries behind them.

    ``ranks``: "t2a_ranks" (captions,) and "a2t_ranks" (clips,) int64, 0 the best, language after
    language; "t2a_similarity" (captions,) float32, the cosine of each caption and its own clip;
    "a2t_precision" (clips,) float64, AP10 from 0 to 1; "t2a_clips" (captions,) and "a2t_clips"
    (clips,) int64, the clip behind each query: those of one clip are not independent.
    """

    metrics: dict[str, float]
    ranks: dict[str, np.ndarray] = field(default_factory=dict)


def measure_retrieval(
    split: str, model: CLAP, inputs: SplitInputs, workers: Workers, own: OwnMetrics | None = None
) -> Measured:
    """Retrieval on a split, with metrics named ``<split>.t2a.R@1`` and so on, and ``own`` ones.

    Each worker encodes its part of the clips and captions; rank 0 computes the figures once and all
    workers receive them.

    Raises:
        PartError: a metric of one's own that fails. TrainingError: one that is not finite.
    """
    clips, captions = len(inputs.clips), len(inputs.caption_rows)

    def heard(rows: np.ndarray) -> Tensor:
        return model.audio(inputs.audio(rows), inputs.level)

    def read(places: np.ndarray) -> Tensor:
        return model.text(inputs.text(places))

    with activity(f"measuring {split}", clips + captions, "clips and captions") as done:
        encoded = (
            _encode(clips, workers, heard, model, done),
            _encode(captions, workers, read, model, lambda number: done(clips + number)),
        )

    def figures() -> Measured:
        audio, text = encoded[0][inputs.first_clips], encoded[1][inputs.first_captions]
        found = retrieval_by_language(audio, text, inputs.caption_rows, inputs.caption_languages)
        named = {f"{split}.{name}": value for name, value in found.metrics.items()}
        cosines = (text * audio[torch.from_numpy(inputs.caption_rows).to(audio.device)]).sum(dim=1)
        spoken = np.array(inputs.caption_languages)
        places = np.concatenate([np.flatnonzero(spoken == one) for one in found.by_language])
        similarity = cosines.float().cpu().numpy()[places]
        if own is not None:
            measured = own.measure(audio, text, inputs)
            named |= {f"{split}.{name}": value for name, value in measured.items()}
        return Measured(named, {**_ranks(found, inputs), "t2a_similarity": similarity})

    measured = workers.from_first(figures)
    if own is not None:
        own.check(measured.metrics, split)  # every worker finds the same
    return measured


def measure_zero_shot(
    model: CLAP, clips: Clips, workers: Workers, prefix: str = ""
) -> dict[str, float]:
    """Zero-shot classification of a split's clips that have exactly one label, and its chance:
    ``<prefix>zero_shot.accuracy``, ``chance.<prefix>zero_shot.accuracy`` and so on.

    Empty where these clips are of one class or none: there is nothing to classify.
    """
    rows, named, labels = classifiable(clips)
    if len(labels) < 2:
        return {}
    with activity(f"measuring {prefix}zero-shot"):
        mine = rows[workers.part(len(rows))]
        keeps = model.audio.frozen and clips.widths is None  # features are outputs themselves
        encode = _encode_kept if keeps else encode_clips
        local = encode(model, clips, mine)
    audio = workers.gather(torch.from_numpy(local).to(workers.device), len(rows)).cpu().numpy()

    def figures() -> dict[str, float]:
        found, chances = classify(audio, named, labels, classes_of(model, clips, labels))
        metrics = {f"{prefix}{name}": value for name, value in found.metrics.items()}
        return metrics | {f"chance.{prefix}{name}": value for name, value in chances.items()}

    return workers.from_first(figures)


def _encode_kept(model: CLAP, clips: Clips, rows: Sequence[int]) -> np.ndarray:
    """What `encode_clips` gives, to the bit: of a frozen encoder the outputs are kept, and it hears
    them in the same company."""
    chosen = hashlib.sha256(np.array(rows, np.int64).tobytes()).hexdigest()
    outputs = frozen_outputs(
        model.audio,
        f"{heard(clips, model)}-rows-{chosen}",
        len(rows),
        lambda some: read_batch(clips, [rows[at] for at in some], model.samples),
    )
    model.eval()
    with torch.inference_mode():
        found = [np.zeros((0, model.config.dim), np.float32)]
        for start in range(0, len(rows), FROZEN_ROWS):
            block = torch.from_numpy(outputs[start : start + FROZEN_ROWS].copy()).to(model.device)
            found.append(model.audio(block, "outputs").cpu().numpy())
    return np.concatenate(found)


def chance(inputs: SplitInputs, prefix: str = "") -> dict[str, float]:
    """What guessing scores on a split in retrieval: ``chance.<prefix>t2a.R@1`` and so on."""
    found = chance_by_language(inputs.caption_rows, inputs.caption_languages, len(inputs.clips))
    return {f"chance.{prefix}{name}": value for name, value in found.items()}


def check_metric(config: RunConfig) -> None:
    """Raises InputError unless the run reports the metric that chooses its best epoch: retrieval in
    its languages, tried on two clips, or one of its own that has a direction."""
    metric, languages = config.select.metric, config.data.languages
    own = [name for name in own_names(config.metrics) if name.short == metric]
    if own:
        if own[0].direction is None and config.select.split != "last":
            raise InputError(
                f"select.metric: of '{metric}' neither a high nor a low number is the good one, so "
                f"it cannot choose an epoch; '{own[0].part}' says so in its higher and lower"
            )
        return
    pairs = torch.eye(2).repeat(len(languages), 1)
    spoken = [language for language in languages for _ in range(2)]
    known = retrieval_by_language(torch.eye(2), pairs, [0, 1] * len(languages), spoken).metrics
    if metric not in known:
        raise InputError(
            f"select.metric: no metric '{metric}'{nearest(metric, known)} "
            f"(known: {', '.join(sorted(known))})"
        )


def better(metric: str, new: float, old: float) -> bool:
    """Whether ``new`` beats ``old``; an equal value does not, so the earlier epoch stays."""
    own = find(metric)
    low = metric.split(".")[-1] in LOW if own is None else own.direction == "lower"
    return new < old if low else new > old


@torch.no_grad()
def _encode(
    length: int,
    workers: Workers,
    encode: Callable[[np.ndarray], Tensor],
    model: CLAP,
    done: Callable[[int], None],
) -> Tensor:
    """(length, d) embeddings, each computed by one worker, the same on all."""
    model.eval()
    mine = np.arange(length)[workers.part(length)]
    blocks = []
    for start in range(0, len(mine), ROWS):
        blocks.append(encode(mine[start : start + ROWS]))
        done(min(start + ROWS, len(mine)) * workers.size)
    width = model.config.dim
    local = torch.cat(blocks) if blocks else torch.zeros(0, width, device=workers.device)
    return workers.gather(local, length)


def _ranks(found: MultilingualResult, inputs: SplitInputs) -> dict[str, np.ndarray]:
    spoken = np.array(inputs.caption_languages)
    every = found.by_language.values()
    asked = np.concatenate([result.a2t_ranks >= 0 for result in every])  # others ask nothing
    clips = np.tile(np.arange(len(inputs.clips)), len(found.by_language))
    return {
        "t2a_ranks": np.concatenate([result.t2a_ranks for result in every]),
        "t2a_clips": np.concatenate(
            [inputs.caption_rows[spoken == language] for language in found.by_language]
        ),
        "a2t_ranks": np.concatenate([result.a2t_ranks for result in every])[asked],
        "a2t_precision": np.concatenate([result.a2t_precision for result in every])[asked],
        "a2t_clips": clips[asked],
    }
