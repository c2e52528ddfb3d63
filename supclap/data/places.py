"""Where a run's data and models lie: on this machine, or in a store, from where they are copied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from supclap.config import ArraysConfig, DataConfig, RunConfig
from supclap.copies import copied, local
from supclap.objects import in_store

INDICES = {"collection": "collection.json", "features": "features.json"}
NO_COLLECTION = "not a prepared collection; `supclap prepare` makes one"
ARRAYS = ("audio", "text", "captions", "classes")


def folder_of(config: DataConfig) -> Path:
    """The folder of a prepared collection or of features on this machine, fetched from a store
    where it is not yet. Raises InputError."""
    assert config.folder is not None, "the configuration has checked it"
    return local(config.folder, [INDICES[config.name]], NO_COLLECTION)


def with_events_here(config: DataConfig) -> DataConfig:
    """The same with recorded events that lie on this machine. Raises InputError."""
    if config.events is None or not any(in_store(place) for place in config.events):
        return config
    return config.model_copy(update={"events": tuple(str(local(p)) for p in config.events)})


def with_arrays_here(arrays: ArraysConfig) -> ArraysConfig:
    """The same with files that lie on this machine. Raises InputError."""
    places = {key: getattr(arrays, key) for key in ARRAYS}
    here = {key: str(local(place)) for key, place in places.items() if place and in_store(place)}
    return arrays.model_copy(update=here)


def is_here(config: DataConfig) -> bool:
    """Whether all that a run reads of its data lies on this machine, or is made here. Raises
    InputError."""
    return all(copied(place) for _, place in _of_data(config, "data"))


def in_stores(config: RunConfig) -> dict[str, str]:
    """What a run fetches from stores: the place by the key that names it. Raises InputError."""
    found = dict(_of_data(config.data, "data"))
    for name, also in config.also.items():
        if also.data is not None:
            found |= dict(_of_data(also.data, f"also.{name}.data"))
    model = config.model
    found |= {
        key: place
        for key, place in (
            ("model.audio.folder", model.audio.folder),
            ("model.text.folder", model.text.folder),
            ("model.start", model.start),
        )
        if place is not None
    }
    return {key: place for key, place in found.items() if in_store(place)}


def _of_data(data: DataConfig, above: str) -> Iterator[tuple[str, str]]:
    """Every folder and file that data name, by key."""
    if data.folder is not None:
        yield f"{above}.folder", data.folder
    for number, place in enumerate(data.events or ()):
        yield f"{above}.events.{number}", place
    for key in ARRAYS if data.arrays is not None else ():
        place = getattr(data.arrays, key)
        if place is not None:
            yield f"{above}.arrays.{key}", place
