"""What a run needs that is neither in its configuration nor made on the spot: data and weights in
folders. Each can be looked for by itself, and says what gets it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from supclap.bounds import clip_seconds
from supclap.config import FEATURES, DataConfig, RunConfig
from supclap.config.pretrained import PRETRAINED
from supclap.copies import Awaited, awaited
from supclap.data.places import ARRAYS
from supclap.data.published import named_in
from supclap.errors import InputError
from supclap.feasibility import CELL, check_encoder
from supclap.hub import cached, in_hub, to_fetch
from supclap.objects import in_store
from supclap.published_encoders import PUBLISHED, Published

_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Need:
    """Something in a place outside of the configuration.

    Attributes:
        key: the dotted key of the place.
        place: as it is configured; with ``${NAME}`` where that variable is not set.
        command: what gets it, as it can be typed but for words in capitals; "" where what looks
            for it says so itself.
        look: opens it. Raises InputError where it is not what is needed.
    """

    kind: Literal["data", "weights"]
    key: str
    place: str
    command: str
    look: Callable[[], object] = field(compare=False, repr=False)

    @property
    def variable(self) -> str | None:
        """The environment variable that the place waits for."""
        found = _VARIABLE.search(self.place)
        return None if found is None else found[1]

    def awaited(self, seconds: float) -> Awaited | None:
        """What a run would fetch of it first, and does not lie here; None where that is nothing.

        Args:
            seconds: that a store or a repository may take to answer.

        Raises:
            InputError: nothing lies there, or it cannot be asked; it says what to do.
        """
        if in_hub(self.place):
            if cached(self.place) is not None:
                return None
            return Awaited(self.place, *to_fetch(self.place, seconds))
        return next(iter(awaited([self.place], seconds)), None) if in_store(self.place) else None

    def fault(self) -> str | None:
        """Why it is not there, in a line; None where it is. What lies in a store or a repository is
        fetched for that."""
        if self.variable is not None:
            return f"{self.variable} is not set ({self.key})"
        try:
            self.look()
        except InputError as error:
            return str(error)
        return None


def needs_of(config: RunConfig) -> Iterator[Need]:
    """What a run needs: its collections, then the weights that it starts from."""
    yield from _data("data", config.data)
    for name, further in config.also.items():
        if further.data is not None:
            yield from _data(f"also.{name}.data", further.data)
    seconds = clip_seconds(config.data)
    for side in ("audio", "text"):
        section = getattr(config.model, side)
        if section.folder is not None:
            key = f"model.{side}.folder"

            def look(side: str = side) -> None:
                check_encoder(config.model, side, seconds)

            apart = in_hub(section.folder) or _in_store(section.folder)
            command = "" if apart else _download(section.name, section.folder)
            yield Need("weights", key, section.folder, command, look)
    start = config.model.start
    if start is not None and not start.startswith(CELL):

        def opened() -> None:
            from supclap.model.clap import check_start

            check_start(config.model, Path(start))

        command = "" if _in_store(start) else f"supclap train --out RUN{_named(start, 'RUN/model')}"
        yield Need("weights", "model.start", start, command, opened)


def _data(key: str, data: DataConfig) -> Iterator[Need]:
    def look() -> None:
        from supclap.data import look_at

        look_at(data)

    def events() -> None:
        from supclap.data.soundscenes import check_events

        check_events(data)

    if data.events is not None:
        for place in data.events:
            command = f"a folder in the layout of ESC-50 or of UrbanSound8K{_named(place, 'IT')}"
            yield Need("data", f"{key}.events", place, command, events)
    elif data.arrays is not None:
        for name in ARRAYS:
            place = getattr(data.arrays, name)
            if place is None:
                continue
            command = f"an array of your encoder's outputs, or its table{_named(place, 'IT')}"
            yield Need("data", f"{key}.arrays.{name}", place, command, look)
    elif data.folder is not None:
        command = "" if _in_store(data.folder) else _prepare(data)
        yield Need("data", f"{key}.folder", data.folder, command, look)


def _in_store(place: str) -> bool:
    """Whether it lies, or is meant to lie, in a store: what looks there says what to do."""
    try:
        return in_store(place)
    except InputError:  # an address that is written wrong
        return True


def _prepare(data: DataConfig) -> str:
    place = str(data.folder)
    if data.name not in ("collection", FEATURES):
        return f"the folder of your data source {data.name}{_named(place, 'IT')}"
    if data.name == FEATURES:
        out = _out(place, "data/mine")
        arrays = "--audio A.npy --text T.npy --captions CSV"
        return f"supclap prepare features {arrays} --out {out}{_named(place, out)}"
    name = named_in(place) or "NAME"
    out = _out(place, f"data/{name.lower()}")
    return f"supclap prepare {name} --source {name.upper()} --out {out}{_named(place, out)}"


def _download(encoder: str, place: str) -> str:
    if encoder not in PRETRAINED:
        return f"the folder of your encoder {encoder}{_named(place, 'IT')}"
    published = PUBLISHED.get(encoder, Published("OWNER/NAME"))
    out = _out(place, published.repo.rpartition("/")[2].lower())
    parts = ("hf download", published.repo, published.files, "--local-dir", out)
    return " ".join(part for part in parts if part) + _named(place, out)


def _out(place: str, otherwise: str) -> str:
    """The folder that a command is to fill: the place itself, where no variable stands for it."""
    return otherwise if _VARIABLE.search(place) else shlex.quote(place)


def _named(place: str, out: str) -> str:
    """What sets the variable that a place waits for, once the folder is there."""
    found = _VARIABLE.search(place)
    if found is None:
        return ""
    if found[0] != place:  # a place below what the variable names
        return f" as {place}; export {found[1]}=FOLDER"
    return f"; export {found[1]}=$PWD/{out}"
