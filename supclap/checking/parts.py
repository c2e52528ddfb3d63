"""All checks of one part, by its kind."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from supclap.checking.finding import Finding
from supclap.checking.hidden import hidden_inputs
from supclap.checking.losses import check_loss
from supclap.checking.radii import check_radius
from supclap.checking.whole_run import check_run_of, small_run
from supclap.config import RunConfig
from supclap.open_section import sections_that_name_parts
from supclap.overrides import override
from supclap.parts.making import make_part
from supclap.parts.part import Place
from supclap.registry import Registered

# Where a configuration names a part of each kind.
NAMED: dict[str, Callable[[str], dict[str, Any]]] = {
    "base loss": lambda name: {"loss.name": name},
    "loss term": lambda name: {f"loss.terms.{name}": {}},
    "radius": lambda name: {"loss.svr": {"radius": name}},
    "batch order": lambda name: {"data.order": {"name": name}},
    "augmentation": lambda name: {f"data.augment.{name}": {}},
    "audio encoder": lambda name: {"model.audio.name": name},
    "text encoder": lambda name: {"model.text.name": name},
    "head": lambda name: {"model.audio.head": {"name": name}, "model.text.head": {"name": name}},
    "optimizer": lambda name: {"optimizer.name": name},
    "schedule": lambda name: {"optimizer.schedule": {"name": name}},
    "data source": lambda name: {"data": {"name": name}},
    "metric": lambda name: {f"metrics.{name}": {}},
}
EPOCHS = 3


def check_part(
    part: Registered, changes: Mapping[str, Any], scratch: Path, workers: bool = True
) -> Iterator[Finding]:
    """Every check of a part, one after the other.

    Args:
        changes: overrides of the small run, for keys that have no default.
        scratch: a folder for the small runs.
        workers: whether to start two processes too.

    Raises:
        InputError: the part's keys are not what it declares.
    """
    config = small_run(override(NAMED[part.kind](part.name), changes))
    keys = _keys_of(config, part)

    def make(pairs: int) -> Any:
        return make_part(part.kind, part.name, keys, Place(pairs, 8, ("eng",), EPOCHS), 0)

    if part.kind in ("base loss", "loss term"):
        yield from check_loss(make)
    elif part.kind == "radius":
        yield from check_radius(make)
    elif part.kind == "batch order":
        yield _order(make(8))
    yield from check_run_of(config, scratch, workers)


def _keys_of(config: RunConfig, part: Registered) -> dict[str, Any]:
    """The part's own keys in a configuration that names it."""
    for section in sections_that_name_parts(config):
        key, kind = section.names_part
        if (kind, getattr(section, key)) == (part.kind, part.name):
            return section.own_keys
    raise AssertionError(f"no section names the {part.kind} {part.name}")


def _order(part: Any) -> Finding:
    """Orders of several epochs: every pair once, the same again, nothing hidden."""
    from supclap.data.clips import Caption
    from supclap.ordering import ordered
    from supclap.parts.calling import PartError
    from supclap.parts.order import TrainingPairs

    count = 40
    pairs = TrainingPairs(
        captions=tuple((Caption("a dog barks " * (1 + i % 7), "eng"),) for i in range(count)),
        labels=tuple((f"kind {i % 5}",) for i in range(count)),
        clips=np.arange(count),
        seconds=np.full(count, 2.0),
        batch_size=8,
        epochs=EPOCHS,
    )

    def of(epoch: int) -> np.ndarray:
        return ordered(part, pairs, epoch, np.random.default_rng(epoch))

    try:
        wrong = hidden_inputs(part, inspect.getfile(type(part)), lambda: of(0))
        found = [of(epoch) for epoch in range(EPOCHS)]
        for epoch, order in enumerate(found):
            if not np.array_equal(order, of(epoch)):
                wrong.append(f"epoch {epoch + 1} has another order when asked again")
    except PartError as error:  # no list of pairs, or not every pair once
        wrong = [str(error)]
    text = f"{EPOCHS} epochs of {count} pairs; no clock, no global state"
    return Finding("order", not wrong, "; ".join(wrong) or text)
