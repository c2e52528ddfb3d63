"""OwnRun: what a training loop of one's own is given, ``fit(self, config, run)``.

What it reports becomes the events of `supclap.events` in the cell's folder, and what it saves a
checkpoint of `supclap.checkpoint`, so that all that reads runs reads these too. A checkpoint holds
the events up to it: a killed run goes on from both.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from supclap.checkpoint import Checkpoints
from supclap.errors import InputError, nearest
from supclap.events import EpochEnded, Event, Finished, Started, from_line, to_line
from supclap.progress import activity, epoch_name
from supclap.run_files import (
    CHECKPOINTS,
    CONFIG,
    EVENTS,
    config_file,
    events_file,
    publish,
    result_file,
    writing,
)
from supclap.storage import Folder
from supclap.stored import Damaged, check_percentages
from supclap.usage import Usage, higher
from supclap.version import both, both_modules, went_on
from supclap.wording import shown
from supclap.workers import Workers
from supclap_platform.experiment.run import LoopError, Run, RunError

_PLAIN = (bool, int, float, str, bytes, type(None))  # what a checkpoint holds beside tensors
FILES = "own"  # the folder of the loop's own files, in the cell's


class Loop(Protocol):
    """What a run must know of the loop that trains it (`own_method.OwnMethod`)."""

    @property
    def reported(self) -> Mapping[str, Any]: ...  # the metrics that it may report

    @property
    def files(self) -> Collection[str]: ...  # its sources, as tracebacks name them

    @property
    def ends_early(self) -> bool: ...

    def watched(self, config: Any) -> str | None: ...

    def better(self, config: Any, new: float, old: float) -> bool: ...

    def place(self, member: str) -> str: ...


@dataclass
class _Progress:
    """How far a run has come; a part of every checkpoint."""

    events: list[str]  # lines of events.jsonl
    best: int = 0  # the best epoch so far
    value: float = math.nan  # of the metric that chooses it
    best_file: str = ""  # the checkpoint that was saved first after it
    latest: str = ""
    seconds: float = 0.0  # of the epochs reported
    peak: float | None = None
    reserved: float | None = None


class OwnRun:
    """One run. Every worker has one, and calls the same methods in the same order.

    workers: ``rank``, ``size`` and ``device`` of this process, and what it needs of the others.
    seed, epochs: as configured. folder: for files of the loop's own, which stay with the result.
    """

    def __init__(
        self, config: Any, run: Run, loop: Loop, started: Started, workers: Workers
    ) -> None:
        self.workers = workers
        self.seed: int = config.seed
        self.epochs: int = config.epochs
        self.epoch = 0  # the last one reported
        self._config, self._run, self._loop, self._started = config, run, loop, started
        self._checkpoints = Checkpoints(run.folder)
        self._progress = _Progress([to_line(started)])
        self._usage = Usage()
        self._clock = time.monotonic()
        self._stop: BaseException | None = None  # a search has seen enough
        self._over: BaseException | None = None  # whatever is called after this must do nothing
        self._doing = ExitStack()  # the epoch at work, for the view

    @cached_property
    def folder(self) -> Folder:
        """For files of the loop's own, in the storage: ``run.folder.write("notes.csv", ...)``."""
        return self._run.folder.below(FILES)

    @property
    def best_epoch(self) -> int:
        """The best epoch so far, by ``select.metric``; without one the last. 0: none yet."""
        return self._progress.best

    def report(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch has ended. Epochs count from 1, each is reported once.

        Args:
            metrics: numbers by the names that the method's ``reports`` has.

        Raises LoopError for another epoch, an unknown name, what is no number; RunError for NaN.
        """
        self._check_open()
        if epoch != self.epoch + 1 or epoch > self.epochs or isinstance(epoch, bool):
            last = f"after epoch {self.epoch}" if self.epoch else "at the start"
            wanted = f"epoch {self.epoch + 1} is next" if self.epoch < self.epochs else "all are in"
            raise self._wrong(f"report: epoch {shown(epoch)} {last} of {self.epochs}; {wanted}")
        values = self._numbers(metrics, f"epoch {epoch}")
        chosen = self._loop.watched(self._config)
        if chosen is not None and chosen not in values:
            raise self._wrong(
                f"epoch {epoch}: reports no {chosen}, by which select.metric chooses the best epoch"
            )
        ended = self.workers.from_first(lambda: self._note(epoch, values))
        self.epoch, values = epoch, ended.metrics  # rank 0's, on every worker
        if chosen is None or self._beats(values[chosen]):
            self._progress.best, self._progress.best_file = epoch, ""
            self._progress.value = math.nan if chosen is None else values[chosen]
        self._next_epoch()
        self._tell(ended)

    def save(self, state: Mapping[str, Any]) -> None:
        """Makes ``state`` the checkpoint that a killed run goes on from, in one step: at any moment
        the last one is whole. Call it after `report`, of which it is as well.

        Args:
            state: tensors, numbers, texts, and lists and mappings of them.
        """
        self._check_open(stopped=False)
        _check_state(state, self._wrong)
        with activity("writing a checkpoint"):
            self.workers.from_first(lambda: self._write(state))
        progress = self._progress
        progress.latest = self._name()
        progress.best_file = progress.best_file or (progress.latest if progress.best else "")
        self._next_epoch()
        self._check_open()

    def restore(self) -> dict[str, Any] | None:
        """The state that was saved last, before this run was killed or stopped; None where there is
        none. Call it before the first `report`; `epoch` then says how far the run is."""
        self._check_open()
        if self.epoch:
            raise self._wrong(f"restore: called after epoch {self.epoch}; call it before the first")
        kept = self.workers.from_first(self._checkpoints.load_latest)
        if kept is None:
            return None
        with self._checkpoints.used():
            found = _Progress(**kept["progress"])
            events = [from_line(line) for line in found.events]
            before, state = events[0], kept["state"]
            assert isinstance(before, Started)
            assert isinstance(state, dict)
        found.events[0] = to_line(self._went_on(before))
        self._progress, self.epoch = found, len(events) - 1
        for event in events[1:]:
            self._tell(event)
        self._stop = None  # of what was reported before
        self._next_epoch()
        self.workers.from_first(self._write_events)
        return state

    def restore_best(self) -> dict[str, Any] | None:
        """The state that was saved first after the best epoch's report; None where none was."""
        self._check_open()
        name = self._progress.best_file
        if not name:
            return None
        kept: dict[str, Any] = self.workers.from_first(lambda: self._checkpoints.load(name))[
            "state"
        ]
        return kept

    # -- for the method alone -------------------------------------------------------------------

    def begin(self) -> None:
        """Makes the folder this run's."""
        self.workers.from_first(self._write_start)
        self._tell(self._started)
        self._next_epoch()

    def end(self, measured: Any) -> None:
        """The loop has returned ``measured``: metrics of the whole run, or None."""
        if self._over is not None:
            raise self._over
        if self._stop is not None:
            raise self._stop
        if not self.epoch:
            raise LoopError(f"{self._loop.place('fit')}: fit ended without a report of any epoch")
        if self.epoch < self.epochs and not self._loop.ends_early:
            raise LoopError(
                f"{self._loop.place('fit')}: fit ended after epoch {self.epoch} of "
                f"{self.epochs}; a method that may end before says ends_early = True"
            )
        final = {} if measured is None else measured
        values = self._numbers(final, "what fit returns", self._loop.place("fit"))
        self.workers.from_first(lambda: self._finish(values))

    def close(self) -> None:
        """The loop has ended, well or not."""
        self._doing.close()

    def _next_epoch(self) -> None:
        self._doing.close()
        if self.epoch < self.epochs:
            self._doing.enter_context(activity(epoch_name(self.epoch + 1, self.epochs)))

    def ended_by(self, error: BaseException) -> bool:
        """Whether an exception out of the loop is not the loop's own."""
        return error is self._over or error is self._stop

    def _numbers(self, metrics: Any, what: str, place: str | None = None) -> dict[str, float]:
        if not isinstance(metrics, Mapping):
            raise self._wrong(f"{what}: expected numbers by name, got {shown(metrics)}", place)
        known, found = self._loop.reported, {}
        for name, value in metrics.items():
            if name not in known:
                hint = nearest(str(name), known)
                raise self._wrong(
                    f"{what}: reports {shown(name)}, which the method's 'reports' does not have"
                    f"{hint} (it has: {', '.join(known)})",
                    place,
                )
            try:
                number = float(value.detach() if hasattr(value, "detach") else value)
            except (TypeError, ValueError, RuntimeError):
                raise self._wrong(f"{what}: {name} is {shown(value)}, no number", place) from None
            if not math.isfinite(number):
                raise RunError(f"{place or self._place()}: {what}: {name} is {number}")
            try:
                check_percentages({name: number}, what)
            except Damaged:
                raise self._wrong(
                    f"{what}: {name} is {number}, which by its name (R@, mAP, accuracy: 0 to 100; "
                    "medR, meanR: from 1) it cannot be",
                    place,
                ) from None
            found[str(name)] = number
        return found

    def _beats(self, value: float) -> bool:
        best = self._progress.value
        return math.isnan(best) or self._loop.better(self._config, value, best)

    def _note(self, epoch: int, values: dict[str, float]) -> EpochEnded:
        now = time.monotonic()
        ended = EpochEnded(epoch, epoch, now - self._clock, values, self._usage.measure())
        self._clock = now
        progress = self._progress
        progress.seconds += ended.seconds
        progress.peak = higher(progress.peak, self._usage.peak())
        progress.reserved = higher(progress.reserved, self._usage.reserved())
        progress.events.append(to_line(ended))
        self._write_events()
        return ended

    def _name(self) -> str:
        return f"{self.epoch:08d}-{'b' if self._progress.latest.endswith('-a.pt') else 'a'}.pt"

    def _write(self, state: Mapping[str, Any]) -> None:
        name, progress = self._name(), self._progress
        best = progress.best_file or (name if progress.best else "")
        now = replace(progress, latest=name, best_file=best)
        with writing(self._run.folder):
            self._checkpoints.save(name, {"progress": vars(now), "state": dict(state)}, keep=best)
        self._write_events()

    def _write_events(self) -> None:
        with writing(self._run.folder):
            self._run.folder.write(EVENTS, events_file(self._progress.events))

    def _write_start(self) -> None:
        with writing(self._run.folder):
            self._run.folder.write(CONFIG, config_file(self._started.config))
        if self._checkpoints.latest() is None:  # else they are as of the checkpoint
            self._write_events()

    def _finish(self, values: dict[str, float]) -> None:
        progress, folder = self._progress, self._run.folder
        started, chosen = from_line(progress.events[0]), from_line(progress.events[progress.best])
        assert isinstance(started, Started)
        assert isinstance(chosen, EpochEnded)
        finished = Finished(
            best_epoch=progress.best,
            step=self.epoch,
            seconds=progress.seconds + time.monotonic() - self._clock,
            metrics=chosen.metrics | values,
            peak_MB=higher(progress.peak, self._usage.peak()),
            reserved_MB=higher(progress.reserved, self._usage.reserved()),
        )
        kept = {EVENTS: events_file([*progress.events, to_line(finished)])}
        with writing(folder):
            folder.write(EVENTS, kept[EVENTS])
            publish(folder, result_file(started, finished, kept))
            folder.delete_folder(CHECKPOINTS)
        self._run.report(finished)

    def _went_on(self, before: Started) -> Started:
        """The recorded start of a run that goes on: with all code and versions that it has had."""
        now = self._started
        if before.data != now.data:
            raise InputError(
                f"{self._run.folder.uri}: was begun on other data (content hash {before.data}, now "
                f"{now.data}); remove it to train from the start"
            )
        return replace(
            before,
            code=both(before.code, now.code, "+"),
            modules=both_modules(before.modules, now.modules),
            user_code=both(before.user_code, now.user_code, "+"),
            workers=now.workers,
            made_with=went_on(before.made_with, now.made_with),
            ran_on=went_on(before.ran_on, now.ran_on),
        )

    def _tell(self, event: Event) -> None:
        try:
            self._run.report(event)
        except SystemExit as error:
            self._stop = error  # held until the epoch is saved, so that the run can go on later
        except BaseException as error:
            self._over = error
            raise

    def _check_open(self, stopped: bool = True) -> None:
        """Ends the run where it is no longer this process's, or a search has seen enough."""
        if self._over is not None:
            raise self._over
        if stopped and self._stop is not None:
            raise self._stop

    def _wrong(self, message: str, place: str | None = None) -> LoopError:
        return LoopError(f"{place or self._place()}: {message}")

    def _place(self) -> str:
        """File and line of the loop's own that has called this run."""
        frame = sys._getframe()
        while frame is not None:
            if frame.f_code.co_filename in self._loop.files:
                return f"{frame.f_code.co_filename}:{frame.f_lineno}"
            frame = frame.f_back  # type: ignore[assignment]
        return self._loop.place("fit")


def _check_state(value: Any, wrong: Any, key: str = "state") -> None:
    """Raises where a state holds what a checkpoint cannot give back."""
    import torch

    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_state(inner, wrong, f"{key}[{name!r}]")
    elif isinstance(value, list | tuple):
        for at, inner in enumerate(value):
            _check_state(inner, wrong, f"{key}[{at}]")
    elif not isinstance(value, torch.Tensor) and type(value) not in _PLAIN:
        raise wrong(
            f"save: {key} is a {type(value).__name__}; a checkpoint holds tensors, numbers, "
            "texts, and lists and mappings of them"
        )
