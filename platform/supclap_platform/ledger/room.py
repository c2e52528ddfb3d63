"""What the rest of a plan takes of memory and disk: as finished cells of its shapes have measured,
else from timed steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from supclap.errors import InputError
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.keep import ALL
from supclap_platform.experiment.method import Footprint
from supclap_platform.ledger.forecast import Estimates
from supclap_platform.ledger.plan import Plan


@dataclass(frozen=True)
class Room:
    """In MB of a million bytes; 0 where it is not known.

    Attributes:
        memory: of the worker that takes most, on its device.
        together: of all workers of so many cells as run at once.
        measured: finished cells of that worker's shape; 0: the memory is an estimate.
        disk: in the storage, once all is done and while the last cells run.
        models: that are among it.
        kept: in the cache, of what frozen encoders make once for each world.
        least: of the worker that takes most among those whose memory is not known: what it takes
            without any step.
        made: in the cache, of clips that are yet to be made.
        collections: of such clips, as each world is one.
    """

    memory: float
    together: float
    measured: int
    disk: float
    models: int
    kept: float
    least: float = 0.0
    made: float = 0.0
    collections: int = 0


def room(plan: Plan, at_once: int, first: Estimates | None) -> Room | None:
    """What is left takes; None where nothing is known of it.

    Args:
        first: what timed steps say (`time_shapes`).
    """
    peaks: dict[str, list[float]] = {}
    for cell in plan.cells:
        result = plan.results.get(cell.signature)
        if result is not None and result.peak_MB is not None:
            peaks.setdefault(cell.shape, []).append(result.peak_MB)
    guessed: dict[str, Footprint] = {}
    if first:
        guessed = {form: known.footprint for form, known in first.previews.items()}
        guessed |= first.footprints
    most, least, measured, models = 0.0, 0.0, 0, 0
    taken: list[float] = []  # by cell, of all its workers
    disk, checkpoints = 0.0, 0.0
    data: dict[str, set[str]] = {}  # by shape: each world of its cells
    forms = {cell.signature: cell.shape for cell in plan.to_run}
    for cell in plan.to_run:
        form = forms[cell.signature]
        found = guessed.get(form)
        memory = max(peaks.get(form, ()), default=found.memory if found else 0.0)
        if memory > most:
            most, measured = memory, len(peaks.get(form, ()))
        taken.append(memory * cell.resources.workers)
        if found is None:
            continue
        least = least if memory else max(least, found.fixed)
        if plan.experiment.keep.models == ALL and found.model:
            disk, models = disk + found.model, models + 1
        checkpoints = max(checkpoints, found.checkpoints)
        data.setdefault(form, set()).add(cell.data)
    kept: dict[str, float] = {}  # by what it is made for, which shapes may share
    for form, worlds in data.items():
        name = first.of.get(form, min(worlds)) if first else form
        kept[name] = max(kept.get(name, 0.0), len(worlds) * guessed[form].kept)
    coming = yet_to_make(plan.to_run)
    if not most and not disk and not least and not coming:
        return None
    at_work = sorted(taken, reverse=True)[:at_once]
    running = checkpoints * len(at_work)
    return Room(
        most,
        sum(at_work),
        measured,
        disk + running,
        models,
        sum(kept.values()),
        least,
        sum(coming.values()),
        len(coming),
    )


def yet_to_make(cells: Iterable[Cell]) -> dict[Path, float]:
    """The made clips that cells need and that the cache of this machine does not hold yet: where
    they will lie, and about how many MB they take."""
    found: dict[Path, float] = {}
    for cell in cells:
        with contextlib.suppress(InputError):  # recordings that are not here: not known
            found |= cell.method.made(cell.config)
    return {place: size for place, size in found.items() if not place.is_dir()}
