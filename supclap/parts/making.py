"""A part is made: its class by name, its keys, and its parameters under a seed of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from supclap import registry
from supclap.parts.calling import calling
from supclap.parts.part import Place
from supclap.parts.seeds import SETUP, seed_of

if TYPE_CHECKING:  # the losses themselves need no pydantic
    from supclap.config import RunConfig


def place_of(config: RunConfig) -> Place:
    """What a run's parts are made for."""
    return Place(config.batch_size, config.model.dim, config.data.languages, config.epochs)


def make_part(
    kind: str, name: str, keys: Mapping[str, Any], place: Place, seed: int, label: str = ""
) -> Any:
    """The part of that kind and name, set up.

    Its random numbers depend on the run's seed, its kind and its label alone: no other part's
    initial values change with it.

    Args:
        keys: its own keys with their values.
        seed: the run's.
        label: what the configuration calls it, where that is not its name.

    Raises:
        PartError: whatever goes wrong in the part.
        KeyError: there is no such part.
    """
    made = registry.class_of(kind, name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of(seed, SETUP, label=f"{kind}/{label or name}"))
        with calling(made, "__init__"):
            part = made(**keys)
        if label:
            part._label = label
        with calling(part, "setup"):
            part.setup(place)
    return part
