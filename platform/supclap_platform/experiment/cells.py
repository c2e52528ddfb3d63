"""Cells: one training run for each variant and seed, and the signature that names it.

A signature is a hash of the fully resolved RunConfig, defaults included, so that a changed default
changes it. Left out is what cannot change a result: resources (but for the number of workers) and
how often a checkpoint is written. Folders (a collection, recorded events, a pretrained encoder, a
model to start from) enter by their content, so that a signature is the same wherever they lie.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from supclap.config import PRETRAINED, DataConfig, RunConfig
from supclap.errors import InputError, nearest
from supclap_platform.experiment.reader import NO_PART_OF_A_RESULT, Experiment
from supclap_platform.experiment.rows import RESERVED
from supclap_platform.experiment.schema import Resources
from supclap_platform.experiment.variants import Init, Variant

INIT = RESERVED  # the variant name of cells that only train the stage of `init`
CELL = "cell:"  # model.start of a cell that starts from another: "cell:<signature>"


@dataclass(frozen=True)
class Cell:
    """One training run. Cells with equal signatures are the same run, whatever their variant."""

    variant: str
    seed: int
    config: RunConfig
    signature: str
    resources: Resources
    start: str | None = None  # signature of the cell whose model it starts from
    group: str | None = None  # of its variant, whose name ends with it

    @property
    def label(self) -> str:
        return f"{self.variant}, seed {self.seed}"


def cells_of(experiment: Experiment, content: Contents | None = None) -> list[Cell]:
    """All cells: those of the init stage first, then variant by variant, seed by seed.

    Of a file that gathers others: those of its parts, a run that several share once, under the
    first of them (``"part: variant"``).

    Raises:
        InputError: a folder that the configuration names cannot be read, or two variants are the
            same run because two folders have the same content.
    """
    content = content or Contents()
    if experiment.parts:
        return _gathered(experiment, content)
    stages = _stages(experiment, content)
    cells = list(stages.values()) if experiment.init and not experiment.init.variant else []
    for variant in experiment.variants:
        for seed in experiment.seeds:
            stage = None
            if variant.from_init and experiment.init is not None:
                stage = stages[seed if experiment.init.per_seed else None]
            cells.append(_cell(variant, seed, stage, content))
    _refuse_twins(experiment, cells)
    return cells


def _gathered(experiment: Experiment, content: Contents) -> list[Cell]:
    found: dict[str, Cell] = {}
    for part in experiment.parts:
        for cell in cells_of(part, content):
            named = replace(cell, variant=f"{part.name}: {cell.variant}")
            found.setdefault(cell.signature, named)
    return list(found.values())


def signature(config: RunConfig, workers: int = 1, content: Contents | None = None) -> str:
    """The signature of a run: 16 hexadecimal digits.

    Raises InputError where a folder that the configuration names cannot be read.
    """
    values = config.model_dump(mode="json", exclude=NO_PART_OF_A_RESULT)
    content = content or Contents()
    content.fill_in(config.data, values["data"])
    for name, further in config.also.items():
        try:
            data = config.data if further.data is None else further.data
            filled = values["also"][name]["data"] if further.data is not None else {}
            content.fill_in(data, filled, (further.split,))
        except InputError as error:
            raise InputError(f"also.{name}: {error}") from None
    for side in ("audio", "text"):
        encoder = getattr(config.model, side)
        if encoder.folder is not None:
            key = f"model.{side}.folder"
            values["model"][side]["folder"] = content.folder(encoder.folder, key)
            for name in PRETRAINED.get(encoder.name, ()):
                if not (Path(encoder.folder) / name).is_file():
                    raise InputError(f"{key}: {encoder.folder} has no {name}")
    start = config.model.start
    if start is not None and not start.startswith(CELL):
        values["model"]["start"] = content.folder(start, "model.start")
    return digest({"run": values, "workers": workers})


def digest(values: Mapping[str, Any]) -> str:
    """A hash of plain values that depends on nothing but them: 16 hexadecimal digits."""
    text = json.dumps(
        _canonical(values),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


class Contents:
    """Content hashes of folders, each computed once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], str] = {}

    def fill_in(
        self, data: DataConfig, values: dict[str, Any], splits: tuple[str | None, ...] | None = None
    ) -> None:
        """Puts content in the place of the folders among the values of ``data``.

        Args:
            splits: those that must be there; by default the splits that ``data`` names.
        """
        needed = (data.train, data.val, data.test) if splits is None else splits
        if data.folder is not None:
            values["folder"] = self.collection(str(data.folder), needed)
        elif splits is not None:
            from supclap.data.soundscenes import SPLITS  # numpy and more: only where it is asked

            _refuse_unknown("soundscenes", needed, SPLITS)
        if data.events is not None:
            values["events"] = [self.folder(f, "data.events") for f in data.events]

    def collection(self, folder: str, splits: tuple[str | None, ...]) -> str:
        """Of a prepared collection, all splits of it; its index holds their hashes."""
        return self._once(
            ("collection", folder, *map(str, splits)), lambda: _collection(folder, splits)
        )

    def folder(self, path: str, key: str) -> str:
        """Of any folder: the names, sizes and small files' bytes of all that lies below it."""
        return self._once(("folder", path), lambda: _folder(Path(path), key))

    def _once(self, key: tuple[str, ...], compute: Callable[[], str]) -> str:
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]


def _refuse_twins(experiment: Experiment, cells: list[Cell]) -> None:
    seen: dict[tuple[str, str | None], str] = {}
    free = experiment.search.rows if experiment.search else ()  # may be one of the variants
    for cell in cells:
        if cell.variant in free:
            continue
        key = (cell.signature, cell.group)  # one run in two groups: a group that changes nothing
        other = seen.setdefault(key, cell.variant)
        if cell.variant not in (other, INIT) and other != INIT:
            raise InputError(
                f"{experiment.path}: the variants '{other}' and '{cell.variant}' are the same run: "
                "their folders have the same content"
            )
        seen[key] = cell.variant


def _collection(folder: str, splits: tuple[str | None, ...]) -> str:
    from supclap.data.clips import Collection  # needs numpy and pyarrow: only where there is one

    collection = Collection(Path(folder))
    _refuse_unknown(folder, splits, collection.splits)
    return "content:" + collection.content_hash()


def _refuse_unknown(place: str, splits: Sequence[str | None], existing: Sequence[str]) -> None:
    for name in splits:
        if name is not None and name not in existing:
            raise InputError(
                f"{place}: no split '{name}'{nearest(name, existing)} (it has "
                f"{', '.join(existing) or 'none'})"
            )


def _folder(path: Path, key: str) -> str:
    if not path.is_dir():
        raise InputError(f"{key}: {path} is not a folder")
    state = hashlib.sha256()
    for file in sorted(path.rglob("*"), key=lambda p: p.relative_to(path).as_posix()):
        # Hidden: a downloader's notes of when and whence.
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if hidden or not file.is_file():
            continue
        size = file.stat().st_size
        state.update(f"{file.relative_to(path).as_posix()}\0{size}\0".encode())
        if file.suffix in (".json", ".csv", ".safetensors"):
            with open(file, "rb") as content:  # gigabytes, where it is a pretrained encoder
                state.update(hashlib.file_digest(content, "sha256").digest())
    return "content:" + state.hexdigest()[:16]


def _stages(experiment: Experiment, content: Contents) -> dict[int | None, Cell]:
    """The init cells by seed, or the only one under None where all seeds share it."""
    init = experiment.init
    if init is None:
        return {}
    if init.variant is not None:
        own = experiment.variant(init.variant)
    else:
        own = Variant(INIT, init.config, init.resources, {})
    if init.per_seed:
        return {seed: _cell(own, seed, None, content) for seed in experiment.seeds}
    return {None: _cell(own, _shared_seed(init, experiment), None, content)}


def _shared_seed(init: Init, experiment: Experiment) -> int:
    """Its own stage keeps seed 0 when the seeds are edited; a variant's must be among them."""
    return experiment.seeds[0] if init.variant is not None else 0


def _cell(variant: Variant, seed: int, stage: Cell | None, content: Contents) -> Cell:
    changes: dict[str, Any] = {"seed": seed}
    if stage is not None:
        start = {"start": f"{CELL}{stage.signature}"}
        changes["model"] = variant.config.model.model_copy(update=start)
    config = variant.config.model_copy(update=changes)
    return Cell(
        variant.name,
        seed,
        config,
        signature(config, variant.resources.workers, content),
        variant.resources,
        stage.signature if stage else None,
        variant.group,
    )


def _canonical(value: Any) -> Any:
    """Minus zero is zero, and a float is what it is, not how it was written."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return value + 0.0 if isinstance(value, float) else value
