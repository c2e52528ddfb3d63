"""What an experiment's folders hold, looked at before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from supclap.document import Key
from supclap.errors import SettingError
from supclap_platform.experiment.method import Configuration
from supclap_platform.experiment.reader import Experiment
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


def _configurations(part: Experiment) -> Iterator[tuple[str, Configuration, tuple[Key, ...]]]:
    if part.stage is not None and part.stage.variant is None:
        yield "init", part.stage.config, part.stage.places
    for variant in part.variants:
        yield variant.name, variant.config, variant.places
    if part.search is not None:
        places: tuple[Key, ...] = ((SECTION, "base"), (SECTION, "space"))
        for name, config in placeholders(part.search).items():
            yield name, config, places
