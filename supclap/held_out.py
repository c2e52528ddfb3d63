"""What a run is measured on: splits of its own data, and the further test sets of ``also``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supclap.config import MetricConfig
from supclap.data.clips import Clips
from supclap.inputs import Inputs, SplitInputs
from supclap.measurement import (
    Measured,
    chance,
    measure_retrieval,
    measure_zero_shot,
)
from supclap.model.clap import CLAP
from supclap.sets import Sets
from supclap.workers import Workers

if TYPE_CHECKING:
    from supclap.augmenting import Augmenter
    from supclap.own_metrics import OwnMetrics


@dataclass
class HeldOut:
    """`Sets` as a model is fed them."""

    retrieval: dict[str, SplitInputs]
    zero_shot: dict[str, Clips]
    also: dict[str, str]
    own: OwnMetrics | None = None


def inputs_of(
    name: str,
    clips: Clips,
    model: CLAP,
    languages: Sequence[str],
    crops: int | None = None,
    augmenter: Augmenter | None = None,
) -> SplitInputs:
    """A split as a model is fed it: `Inputs` of sounds, or `FeatureInputs` of features."""
    if clips.widths is not None:
        from supclap.feature_inputs import FeatureInputs

        return FeatureInputs(name, clips, model, languages, augmenter)
    return Inputs(name, clips, model, languages, crops, augmenter)


def open_held_out(
    sets: Sets,
    model: CLAP,
    languages: Sequence[str],
    metrics: Mapping[str, MetricConfig] | None = None,
) -> HeldOut:
    """The sets as ``model`` is fed them; a frozen encoder's outputs are computed here.

    Args:
        metrics: those of one's own. They are tried on the first set.

    Raises:
        PartError: one of them that fails, or does not give what it declares.
    """
    retrieval = {
        split: inputs_of(name, clips, model, languages)
        for split, (name, clips) in sets.retrieval.items()
    }
    own = None
    if metrics:
        from supclap.own_metrics import OwnMetrics

        own = OwnMetrics(metrics)
        for inputs in list(retrieval.values())[:1]:
            own.try_on(inputs, model.config.dim)
    return HeldOut(retrieval, sets.zero_shot, sets.also, own)


def measure_at_the_end(model: CLAP, held_out: HeldOut, workers: Workers) -> Measured:
    """Figures of the chosen model: the test split with its ranks and chance, and what else there
    is: recordings under shifted conditions, single events to classify, further test sets."""
    metrics: dict[str, float] = {}
    ranks = {}
    for split, inputs in held_out.retrieval.items():
        if split == "val":
            continue  # as it was after its epoch
        measured = measure_retrieval(split, model, inputs, workers, held_out.own)
        metrics |= measured.metrics
        if split == "test":
            metrics |= chance(inputs)
            ranks = measured.ranks
        elif split != "shifted":
            metrics |= chance(inputs, f"{split}.")
    for name, clips in held_out.zero_shot.items():
        metrics |= measure_zero_shot(model, clips, workers, f"{name}." if name else "")
    return Measured(metrics, ranks)
