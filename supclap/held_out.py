"""What a run is measured on: splits of its own data, and the further test sets of ``also``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from supclap.config import AlsoConfig, RunConfig
from supclap.data import open_data
from supclap.data.clips import Clips, Collection
from supclap.errors import InputError
from supclap.inputs import Inputs, captions_in
from supclap.measurement import (
    Measured,
    chance,
    check_selection,
    classifiable,
    measure_retrieval,
    measure_zero_shot,
)
from supclap.model.clap import CLAP
from supclap.workers import Workers

# Splits that a collection may have besides those a configuration names; measured at the end.
SHIFTED, EVENTS = "shifted", "events"


@dataclass
class Sets:
    """The splits to measure on, by the names that their metrics bear; no model has seen them yet.

    retrieval: "val", "test", "shifted", "also.NAME", each with the name of its split.
    zero_shot: "" (the events of the run's own data), "also.NAME".
    also: content hash of each further test set's data, by its NAME.
    """

    retrieval: dict[str, tuple[str, Clips]] = field(default_factory=dict)
    zero_shot: dict[str, Clips] = field(default_factory=dict)
    also: dict[str, str] = field(default_factory=dict)


@dataclass
class HeldOut:
    """`Sets` as a model is fed them."""

    retrieval: dict[str, Inputs]
    zero_shot: dict[str, Clips]
    also: dict[str, str]


def choose_sets(config: RunConfig, collection: Collection) -> Sets:
    """All that is measured in or after a run, looked at before anything is built or computed, so
    that a wrong name does not show after hours.

    Raises:
        InputError: a split or collection that does not exist or cannot be measured, or a split
            that cannot give the metric that chooses the epoch.
    """
    names = {"val": config.data.val, "test": config.data.test}
    chosen = config.select.split
    if chosen != "last" and names[chosen] is None:
        raise InputError(f"select.split: is '{chosen}', but data.{chosen} is null")
    spoken = config.data.languages
    if SHIFTED in collection.splits and _speaks(collection.split(SHIFTED), spoken):
        names["shifted"] = SHIFTED
    sets = Sets()
    for split, name in names.items():
        if name is not None:
            clips = collection.split(name)
            captions_in(name, clips, spoken)  # raises where there are none
            sets.retrieval[split] = name, clips
    if chosen != "last":
        check_selection(config.select.metric, spoken, *sets.retrieval[chosen])
    if EVENTS in collection.splits:
        sets.zero_shot[""] = collection.split(EVENTS)
    for name, also in config.also.items():
        _add(sets, name, also, collection, spoken)
    return sets


def open_held_out(sets: Sets, model: CLAP, languages: Sequence[str]) -> HeldOut:
    """The sets as ``model`` is fed them; a frozen encoder's outputs are computed here."""
    retrieval = {
        split: Inputs(name, clips, model, languages)
        for split, (name, clips) in sets.retrieval.items()
    }
    return HeldOut(retrieval, sets.zero_shot, sets.also)


def measure_at_the_end(model: CLAP, held_out: HeldOut, workers: Workers) -> Measured:
    """Figures of the chosen model: the test split with its ranks and chance, and what else there
    is: recordings under shifted conditions, single events to classify, further test sets."""
    metrics: dict[str, float] = {}
    ranks = {}
    for split, inputs in held_out.retrieval.items():
        if split == "val":
            continue  # as it was after its epoch
        measured = measure_retrieval(split, model, inputs, workers)
        metrics |= measured.metrics
        if split == "test":
            metrics |= chance(inputs)
            ranks = measured.ranks
        elif split != "shifted":
            metrics |= chance(inputs, f"{split}.")
    for name, clips in held_out.zero_shot.items():
        metrics |= measure_zero_shot(model, clips, workers, f"{name}." if name else "")
    return Measured(metrics, ranks)


def _add(
    sets: Sets, name: str, also: AlsoConfig, own: Collection, languages: Sequence[str]
) -> None:
    """Adds a further test set, in each way that it can be measured."""
    try:
        collection = own if also.data is None else open_data(also.data)
        clips = collection.split(also.split)
    except InputError as error:
        raise InputError(f"also.{name}: {error}") from None
    sets.also[name] = collection.content_hash()
    speaks, (_, _, labels) = _speaks(clips, languages), classifiable(clips)
    if speaks:
        sets.retrieval[f"also.{name}"] = also.split, clips
    if len(labels) > 1:
        sets.zero_shot[f"also.{name}"] = clips
    if not speaks and len(labels) < 2:
        raise InputError(
            f"also.{name}: nothing to measure on split '{also.split}' of {collection.folder}: no "
            f"clip has a caption in {', '.join(languages)}, and its clips with exactly one label "
            f"are of {len(labels)} classes, where two are the least"
        )


def _speaks(clips: Clips, languages: Sequence[str]) -> bool:
    return any(c.language in languages for captions in clips.captions for c in captions)
