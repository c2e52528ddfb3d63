"""What an experiment's folders hold, looked at before anything starts; and what of it lies in a
store, from where each machine that trains copies it once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from supclap.copies import Awaited, awaited, local
from supclap.document import Key
from supclap.errors import InputError, SettingError
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.method import Configuration
from supclap_platform.experiment.search import SECTION, placeholders


def check_folders(experiment: Experiment) -> None:
    """Opens the collections, recordings and models that an experiment's runs will need.

    Each distinct one is looked at once. Where a job runs elsewhere, its folders are looked at
    there: this needs them on the machine that calls it.

    Raises:
        InputError: one line with file, line, row and key of what no run could use.
    """
    seen: set[Any] = set()
    for part in experiment.parts or (experiment,):
        for name, config, places in _configurations(part):
            try:
                part.method.check_data(config, seen)
            except SettingError as error:
                assert part.settings is not None  # every experiment that was read has them
                raise part.settings.error(places, error.key, f"{name}: {error}") from None


def fetch_folders(experiment: Experiment) -> None:
    """Copies to this machine what the runs need from stores, where it is not here yet.

    Raises:
        InputError: one line with file, line, row and key of what cannot be read or finds no room.
    """
    _each_place(experiment, lambda place: local(place))


def awaited_folders(experiment: Experiment) -> list[Awaited]:
    """What the runs need from stores and this machine has not. Raises InputError as
    `fetch_folders`."""
    found: list[Awaited] = []
    _each_place(experiment, lambda place: found.extend(awaited([place])))
    return list(dict.fromkeys(found))


def _each_place(experiment: Experiment, look: Callable[[str], object]) -> None:
    """Calls ``look`` with each address once."""
    seen: set[str] = set()
    for part in experiment.parts or (experiment,):
        for name, config, places in _configurations(part):
            for key, place in part.method.in_stores(config).items():
                if place in seen:
                    continue
                seen.add(place)
                try:
                    look(place)
                except InputError as error:
                    assert part.settings is not None  # every experiment that was read has them
                    raise part.settings.error(places, key, f"{name}: {key}: {error}") from None


def _configurations(part: Experiment) -> Iterator[tuple[str, Configuration, tuple[Key, ...]]]:
    if part.stage is not None and part.stage.variant is None:
        yield "init", part.stage.config, part.stage.places
    for variant in part.variants:
        yield variant.name, variant.config, variant.places
    if part.search is not None:
        places: tuple[Key, ...] = ((SECTION, "base"), (SECTION, "space"))
        for name, config in placeholders(part.search).items():
            yield name, config, places
