"""Which splits a run is measured on, chosen and looked at before a model is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from supclap.config import AlsoConfig, DataConfig, RunConfig
from supclap.data import open_data
from supclap.data.clips import Caption, Clips, Collection
from supclap.errors import InputError, SettingError

Opened = Callable[[DataConfig], Collection | None]
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


def choose_sets(config: RunConfig, collection: Collection, opened: Opened = open_data) -> Sets:
    """All that is measured in or after a run, looked at before anything is built or computed, so
    that a wrong name does not show after hours.

    Args:
        opened: opens the data of a further test set, or gives None where it is not to be opened.

    Raises:
        InputError: a split or collection that does not exist or cannot be measured, or a split
            that cannot give the metric that chooses the epoch.
    """
    names = {"val": config.data.val, "test": config.data.test}
    chosen = config.select.split
    if chosen != "last" and names[chosen] is None:
        key = "select.split"
        raise SettingError(key, f"{key}: is '{chosen}', but data.{chosen} is null")
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
        further = further_set(name, also, collection, spoken, opened)
        if further is None:
            continue
        place, clips = further
        sets.also[name] = place.content_hash()
        if _speaks(clips, spoken):
            sets.retrieval[f"also.{name}"] = also.split, clips
        if len(classifiable(clips)[2]) > 1:
            sets.zero_shot[f"also.{name}"] = clips
    return sets


def further_set(
    name: str,
    also: AlsoConfig,
    own: Collection | None,
    languages: Sequence[str],
    opened: Opened = open_data,
) -> tuple[Collection, Clips] | None:
    """The clips of a further test set and where they lie; None where ``opened`` gives nothing.

    Raises:
        SettingError: no such collection or split, or nothing in it that can be measured.
    """
    key = f"also.{name}"
    try:
        collection = own if also.data is None else opened(also.data)
        if collection is None:
            return None
        clips = collection.split(also.split)
    except InputError as error:
        raise SettingError(key, f"{key}: {error}") from None
    labels = classifiable(clips)[2]
    if not _speaks(clips, languages) and len(labels) < 2:
        raise SettingError(
            key,
            f"{key}: nothing to measure on split '{also.split}' of {collection.folder}: no "
            f"clip has a caption in {', '.join(languages)}, and its clips with exactly one label "
            f"are of {len(labels)} classes, where two are the least",
        )
    return collection, clips


def captions_in(
    name: str, clips: Clips, languages: Sequence[str]
) -> list[tuple[int, int, Caption]]:
    """A split's captions in ``languages``, each with its clip's row and its number there.

    Raises:
        InputError: the split, called ``name``, has none.
    """
    chosen = [
        (row, number, caption)
        for row, captions in enumerate(clips.captions)
        for number, caption in enumerate(captions)
        if caption.language in languages
    ]
    if not chosen:
        raise SettingError(
            "data.languages", f"split '{name}': no clip has a caption in {', '.join(languages)}"
        )
    return chosen


def check_selection(metric: str, languages: Sequence[str], name: str, clips: Clips) -> None:
    """Raises InputError unless the split ``name`` gives ``metric`` in ``languages``, so that it can
    choose an epoch: one language's own figure needs captions in that one, a mean needs them in all,
    and MRV needs a clip with a caption in each. A mean over those that happen to be there would be
    another figure under the same name."""
    first = metric.split(".")[0]
    asked = [first] if first in languages else list(languages)
    rows: dict[str, set[int]] = {}
    for row, _, caption in captions_in(name, clips, languages):
        rows.setdefault(caption.language, set()).add(row)
    where = f"select.metric: '{metric}' cannot choose an epoch: split '{name}'"
    advice = "change data.languages, select.metric or the split"
    absent = [language for language in asked if language not in rows]
    # The split's only language has no figures under its own name: they are those of all.
    if absent or (first in languages and len(rows) == 1):
        lacking = absent or [language for language in languages if language not in rows]
        held = ", ".join(rows)
        raise SettingError(
            "select.metric",
            f"{where} has no caption in {', '.join(lacking)} (it has {held}); {advice}",
        )
    if metric.endswith("MRV") and not set.intersection(*rows.values()):
        held = ", ".join(rows)
        raise SettingError(
            "select.metric", f"{where} has no clip with a caption in each of {held}; {advice}"
        )


def classifiable(clips: Clips) -> tuple[list[int], list[str], list[str]]:
    """Of the clips with exactly one label: their rows, their labels, and the classes, sorted.

    Of features those whose label has sentences: nothing encodes its words.
    """
    rows = [row for row, labels in enumerate(clips.labels) if len(labels) == 1]
    if clips.classes is not None:
        rows = [row for row in rows if clips.labels[row][0] in clips.classes]
    truth = [clips.labels[row][0] for row in rows]
    return rows, truth, sorted(set(truth))


def _speaks(clips: Clips, languages: Sequence[str]) -> bool:
    return any(c.language in languages for captions in clips.captions for c in captions)
