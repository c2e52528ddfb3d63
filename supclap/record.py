"""What a run leaves in its folder (`supclap.run_files`), and what that says when the run is started
again: another configuration is refused, a finished run is returned, another one goes on. The events
there are always as of the last checkpoint.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from supclap.config import NO_PART_OF_A_RESULT, RunConfig, parse_stored
from supclap.errors import InputError, TakenOver
from supclap.events import Event, Finished, Started, from_lines
from supclap.model.clap import CLAP
from supclap.overrides import flat
from supclap.run_files import (
    ANEW,
    CHECKPOINTS,
    CONFIG,
    EVENTS,
    MODEL,
    RANKS,
    RESULT,
    config_file,
    events_file,
    publish,
    ranks_file,
    read_kept,
    result_file,
    writing,
)
from supclap.scratch import scratch_folder
from supclap.storage import Folder
from supclap.stored import read_content, read_values

# What a killed `Folder.write` leaves beside the file that it was to become.
_LEFT = re.compile(r"(.+)\.\d+\.part")


class Record:
    """The folder of one run. One process writes.

    Args:
        by_signature: the folder is named by all that defines the run, as a cell's is, so that what
            lies there is this run's, wherever its data lay or however often it was to be saved.

    Raises:
        InputError: from whatever writes: the folder cannot be written to, the disk is full.
    """

    def __init__(self, folder: Folder, by_signature: bool = False) -> None:
        self.folder = folder
        self._by_signature = by_signature
        self._names: list[str] | None = None  # in the folder, when it was looked at

    def look(self, config: RunConfig) -> list[Event] | None:
        """The events of a finished run, or None where there is something to train.

        Nothing is written: whatever is refused after this leaves the folder as it was.

        Raises:
            InputError: the folder holds a run of another configuration (names the first key), a
                configuration that cannot be read, or what a run would overwrite without being one.
        """
        with writing(self.folder):
            names = self._names = self.folder.names()
        if not self._by_signature:
            # A run's configuration is written before anything else, so where there is none nothing
            # is a run's, but for what a kill within that very write has left.
            if CONFIG in names:
                self._refuse_other(config.model_dump(mode="json"))
            else:
                self._refuse_foreign(names)
        if RESULT in names:
            if self._by_signature and not read_content(self.folder, RESULT, ANEW):
                raise TakenOver(f"{self.folder.uri}: another process has taken this run over")
            if CHECKPOINTS in names:
                self.clear()
            return from_lines(read_kept(self.folder, EVENTS), self.folder.uri_of(EVENTS), ANEW)
        return None

    def begin(self, config: RunConfig) -> None:
        """Makes the folder this run's, once all of the run has been checked."""
        with writing(self.folder):
            names = self.folder.names() if self._names is None else self._names
            begun = CONFIG in names or self._by_signature
            for name in names:  # what a killed writer may have left
                left = _LEFT.fullmatch(name)
                if name == MODEL or (left is not None and (begun or left[1] == CONFIG)):
                    self.folder.delete(name)
            self.folder.write(CONFIG, config_file(config.model_dump(mode="json")))

    def write_events(self, lines: list[str]) -> None:
        """Replaces the stream: an object store cannot append, and a kill may not tear a line."""
        with writing(self.folder):
            self.folder.write(EVENTS, events_file(lines))

    def finish(
        self,
        model: CLAP,
        ranks: dict[str, np.ndarray],
        lines: list[str],
        started: Started,
        finished: Finished,
    ) -> None:
        """Writes all that a finished run leaves, the result last, and removes the checkpoints."""
        with writing(self.folder):
            with scratch_folder("model") as scratch:
                model.save(scratch / MODEL)
                for path in sorted((scratch / MODEL).rglob("*")):
                    if path.is_file():
                        name = path.relative_to(scratch).as_posix()
                        self.folder.write(name, path.read_bytes())
            kept = {RANKS: ranks_file(ranks), EVENTS: events_file(lines)}
            for name, content in kept.items():
                self.folder.write(name, content)
            publish(self.folder, result_file(started, finished, kept))
        self.clear()

    def clear(self) -> None:
        """Removes the checkpoints: several times the model's size, and of no use any more."""
        with writing(self.folder):
            self.folder.delete_folder(CHECKPOINTS)

    def _refuse_foreign(self, names: list[str]) -> None:
        for name in (MODEL, CHECKPOINTS, EVENTS, RANKS, RESULT):
            if name in names:
                raise InputError(
                    f"{self.folder.uri}: has a '{name}' and is no run's folder (no {CONFIG}); "
                    "choose another"
                )

    def _refuse_other(self, wanted: dict[str, Any]) -> None:
        stored = read_values(self.folder, CONFIG, "give another folder, or remove this one")
        try:  # what an earlier version did not know yet is as it was then
            before = parse_stored(stored, self.folder.uri_of(CONFIG))
        except InputError as error:
            raise InputError(
                f"{error}; this version cannot go on with it: give another folder, or remove this "
                "one"
            ) from None
        old, new = (
            {key: value for key, value in flat(config).items() if value != {}}
            for config in (before.model_dump(mode="json"), wanted)
        )
        for key in sorted((old.keys() | new.keys()) - NO_PART_OF_A_RESULT):
            was, now = old.get(key, "absent"), new.get(key, "absent")
            if was != now:
                raise InputError(
                    f"{self.folder.uri}: holds a run with {key} = {was}, not {now}; give "
                    "another folder, or remove this one"
                )
