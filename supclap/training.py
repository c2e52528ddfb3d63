"""The one training loop. `fit` is it; below stand the few steps that it names.

The same function runs in every worker of a run. Whatever it does is a function of configuration,
data, code and the number of the step, so a killed run goes on to the same end, bit for bit, on the
same number of workers and threads (a sum split among other threads may round otherwise).
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import torch

from supclap.batches import batches_of
from supclap.bounds import clip_seconds
from supclap.checkpoint import Checkpoints, learned_state, restore
from supclap.code import own_code, version_of
from supclap.config import RunConfig, SelectConfig
from supclap.data import cache, open_data
from supclap.data.clips import Clips, Collection
from supclap.divergence import TrainingError
from supclap.errors import InputError
from supclap.events import EpochEnded, Event, Finished, Started, current_names, from_line, to_line
from supclap.feasibility import check_folders, check_run
from supclap.feeding import Feed, Item
from supclap.held_out import inputs_of, measure_at_the_end, open_held_out
from supclap.losses import SupCLAPLoss, build_loss
from supclap.measurement import better, check_metric, measure_retrieval
from supclap.memory import SMALLER, fitting
from supclap.model.clap import CLAP, build_model
from supclap.model.frozen import frozen_hashes
from supclap.optimization import build_optimizer, set_learning_rate, state_of
from supclap.parts.calling import PartError, guarded
from supclap.parts.making import place_of
from supclap.precision import products_in
from supclap.progress import STEPS, activity, epoch_name
from supclap.record import Record
from supclap.run_files import writing
from supclap.sets import choose_sets
from supclap.step import Step
from supclap.storage import Folder
from supclap.stored import as_kind
from supclap.usage import Usage, higher
from supclap.user_code import needed_by
from supclap.version import both, both_modules, made_with, ran_on, went_on
from supclap.workers import Workers

__all__ = ["TrainingError", "fit"]


@dataclass
class Progress:
    """How far a run has come; a part of every checkpoint."""

    step: int = 0  # steps taken
    epoch: int = 0  # epochs trained, measured and recorded
    sums: dict[str, float] = field(default_factory=dict)  # over the steps of the current epoch
    seconds: float = 0.0  # of the epochs before
    epoch_seconds: float = 0.0  # of the current one
    peak: float | None = None  # most memory held so far, in MB
    reserved: float | None = None  # and reserved of a GPU
    best: dict[str, Any] = field(default_factory=dict)  # epoch, value, checkpoint
    checkpoint: str = ""  # name of the last one; none yet
    chunk: int | None = None  # clips per forward pass; fewer than configured where memory ended
    scale: float | None = None  # of gradients within the encoders (fp16), and steps since it is so
    good: int = 0
    events: list[str] = field(default_factory=list)  # lines of events.jsonl

    def end_epoch(self, ended: EpochEnded, select: SelectConfig) -> None:
        """Notes the epoch's event, and whether it is the best so far.

        Raises:
            TrainingError: the epoch has no value of the metric that chooses, or one that is NaN.
        """
        self.epoch, self.sums = ended.epoch, {}
        self.seconds, self.epoch_seconds = self.seconds + ended.seconds, 0.0
        self.events.append(to_line(ended))
        self.checkpoint = f"{self.step:08d}-epoch-{self.epoch}.pt"
        this = {"epoch": self.epoch, "checkpoint": self.checkpoint}
        if select.split == "last":
            self.best = this
            return
        name = f"{select.split}.{select.metric}"
        value = ended.metrics.get(name, math.nan)
        if math.isnan(value):
            fault = "is NaN" if name in ended.metrics else "is missing"
            raise TrainingError(
                f"epoch {self.epoch}: {name} {fault}, so it cannot choose the best epoch; give "
                "another select.metric"
            )
        if not self.best or better(select.metric, value, self.best["value"]):
            self.best = this | {"value": value}


def fit(
    config: RunConfig,
    folder: Folder,
    collection: Collection | None = None,
    workers: Workers | None = None,
    *,
    by_signature: bool = False,
) -> Generator[Event, None, None]:
    """Trains, measures and records one run; yields its events as they happen.

    A run that was interrupted goes on from its last checkpoint, and the events before it are
    yielded again first, so that the stream is always that of a whole run; ``Started.step`` says
    where it goes on. A finished run only yields its events.

    Args:
        folder: where the run is kept; `supclap.record` lists what it will hold.
        collection: the data; by default what ``config.data`` names.
        workers: by default the process group this process is in. Every worker calls `fit` with the
            same arguments and gets the same events; rank 0 alone reads and writes ``folder``.
        by_signature: the folder is named by all that defines the run (`supclap.record.Record`).

    Raises:
        InputError: configuration, data or folder cannot be used. Nothing is written then: all is
            checked before the first file is.
        TrainingError: the loss or its gradient is not finite.
    """
    with products_in(config.precision):
        yield from _events(config, folder, collection, workers or Workers.current(), by_signature)


def _events(
    config: RunConfig,
    folder: Folder,
    collection: Collection | None,
    workers: Workers,
    by_signature: bool,
) -> Generator[Event, None, None]:
    """`fit`, once it is settled what products are taken in."""
    record, checkpoints = Record(folder, by_signature), Checkpoints(folder)
    whole = workers.from_first(lambda: record.look(config))
    if whole is not None:
        yield from whole
        return

    usage = Usage()
    with activity(
        "loading PyTorch"
    ):  # the first optimizer of a process would, within what is timed
        importlib.import_module("torch._dynamo")
    setting_up, made = Clock(), cache.spent[0]

    # The parts: first what takes a moment to refuse, then what reads, builds and computes.
    check_metric(config)
    check_run(config, workers.size)
    with fitting("loss"):
        loss = _loss(config).to(workers.device)
    if collection is None:
        if not by_signature:  # of a cell they have been looked at before it came here
            check_folders(config.model, clip_seconds(config.data))
        collection = open_data(config.data)
    train = collection.split(config.data.train)
    batches = batches_of(config, train)
    sets = choose_sets(config, collection)
    with activity("building the model"), fitting("model"):
        model = _model(config, train).to(workers.device)
    workers.same_start(model, loss)
    if config.compile:
        model.audio.compile_encoder()
        model.text.compile_encoder()
    optimizer = build_optimizer(config.optimizer, model, loss)
    augmenter = None
    if config.data.augment:
        from supclap.augmenting import augmenter_of

        augmenter = augmenter_of(config, train, batches)
    with fitting("input", SMALLER):
        inputs = inputs_of(
            config.data.train, train, model, config.data.languages, config.seed, augmenter
        )
        held_out = open_held_out(sets, model, config.data.languages, config.metrics)
    watched = [s for s in ("val", config.select.split) if s in held_out.retrieval]
    steps = batches.steps_per_epoch
    step = Step(config, model, loss, optimizer, inputs, workers, steps * config.epochs)

    # Where it stands.
    modules = own_code().modules(config)
    started = Started(
        config=config.model_dump(mode="json"),
        code=version_of(modules),
        modules=modules,
        user_code=needed_by(config).hash,
        data=collection.content_hash(),
        workers=workers.size,
        epochs=config.epochs,
        steps_per_epoch=steps,
        parameters=sum(p.numel() for part in (model, loss) for p in part.parameters()),
        learned=sum(p.numel() for group in optimizer.param_groups for p in group["params"]),
        clips=batches.clips,
        left_out=batches.left_out,
        dropped=batches.dropped,
        repeated=batches.repeated,
        noisy=batches.noisy,
        also=held_out.also,
        frozen=frozen_hashes(model),
        made_with=made_with(workers.device),
        ran_on=ran_on(workers.device),
        setup_seconds=max(0.0, setting_up.seconds - (cache.spent[0] - made)),
    )
    progress = Progress(events=[to_line(started)], chunk=config.chunk)
    state = workers.from_first(checkpoints.load_latest)
    if state is not None:
        with checkpoints.used():
            # A checkpoint of an earlier version does not say how many clips at once.
            noted = {"chunk": config.chunk} | state["progress"]
            progress = as_kind(noted, Progress, folder.uri)
            # An epoch that an earlier version began is summed up under today's names.
            progress.sums = current_names(progress.sums)
            reported = [from_line(line) for line in progress.events]
            assert not progress.best or isinstance(reported[progress.best["epoch"]], EpochEnded)
            started = _go_on(progress, started, folder)
            step.chunk = progress.chunk
            step.boost.scale, step.boost.good = progress.scale or step.boost.scale, progress.good
            restore(model, state["model"])
            restore(loss, state["loss"])
            with guarded(step.optimizer_part, "load_state_dict"):
                optimizer.load_state_dict(state["optimizer"])
    workers.from_first(lambda: record.begin(config))
    workers.from_first(lambda: record.write_events(progress.events))
    yield replace(started, step=progress.step)
    yield from map(from_line, progress.events[1:])

    def save() -> None:
        progress.peak = higher(progress.peak, usage.peak())
        progress.reserved = higher(progress.reserved, usage.reserved())
        progress.scale, progress.good = step.boost.scale, step.boost.good
        parts = {
            "progress": asdict(progress),
            "model": learned_state(model),
            "loss": learned_state(loss),
            "optimizer": state_of(config.optimizer, optimizer),
        }
        with activity("writing a checkpoint"), writing(folder):
            checkpoints.save(progress.checkpoint, parts, keep=progress.best.get("checkpoint"))

    def fed_from(epoch: int, first: int) -> Iterable[Item]:
        rest = batches.epoch(epoch, start=first - epoch * steps)
        return inputs.feed(rest, workers.rank, workers.size)

    # The loop.
    usage.measure()  # what the first epoch uses is counted from here
    feed = Feed(workers.device)
    for epoch in range(progress.epoch, config.epochs):
        clock = Clock(progress.epoch_seconds)
        model.train()
        with activity(epoch_name(epoch + 1, config.epochs), steps, STEPS) as done:
            for batch, fed in _fed(feed, partial(fed_from, epoch), progress.step, step):
                set_learning_rate(optimizer, config.optimizer, batch.step, steps, config.epochs)
                figures = step(batch, fed, progress.checkpoint)
                if step.chunk != progress.chunk:
                    progress.chunk = step.chunk
                    started = _in_chunks(progress, started)
                for name, value in figures.items():
                    progress.sums[name] = progress.sums.get(name, 0.0) + value
                progress.step += 1
                done(progress.step - epoch * steps)
                if config.checkpoint_steps and progress.step % config.checkpoint_steps == 0:
                    progress.epoch_seconds = clock.seconds
                    progress.checkpoint = f"{progress.step:08d}.pt"
                    workers.from_first(save)

        metrics = {name: total / steps for name, total in progress.sums.items()}
        for split in dict.fromkeys(watched):  # in the same order on every worker
            with fitting(f"measuring {split}", SMALLER):
                found = measure_retrieval(
                    split, model, held_out.retrieval[split], workers, held_out.own
                )
            metrics |= found.metrics
        used = usage.measure() | {"waiting_seconds": feed.waited()}
        if augmenter is not None:
            used["augmenting_seconds"] = augmenter.spent()
        ended = EpochEnded(epoch + 1, progress.step, clock.seconds, metrics, used)
        progress.end_epoch(ended, config.select)
        workers.from_first(save)
        workers.from_first(lambda: record.write_events(progress.events))
        yield ended

    # The end: the best epoch's weights, measured on what is left, and kept.
    clock = Clock()
    kept = progress.best["checkpoint"]
    with activity("opening the best epoch's checkpoint"), checkpoints.used(kept):
        best = workers.from_first(lambda: checkpoints.load(kept))
        restore(model, best["model"])
    model.merge_adapters()  # what is measured is what is kept
    with fitting("measuring", SMALLER):
        measured = measure_at_the_end(model, held_out, workers)
    chosen = from_line(progress.events[progress.best["epoch"]])
    assert isinstance(chosen, EpochEnded)
    finished = Finished(
        best_epoch=chosen.epoch,
        step=progress.step,
        seconds=progress.seconds + clock.seconds,
        metrics=chosen.metrics | measured.metrics,
        peak_MB=workers.from_first(lambda: higher(progress.peak, usage.peak())),
        reserved_MB=workers.from_first(lambda: higher(progress.reserved, usage.reserved())),
    )
    lines = [*progress.events, to_line(finished)]
    with activity("keeping the model and its figures"):
        workers.from_first(lambda: record.finish(model, measured.ranks, lines, started, finished))
    yield finished


class Clock:
    """Seconds since it was made, on top of ``before``."""

    def __init__(self, before: float = 0.0) -> None:
        self._start = time.monotonic() - before

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start


def _model(config: RunConfig, train: Clips) -> CLAP:
    """A new model; its tokenizer learns from the captions of the train split."""
    spoken = config.data.languages
    words = [c.text for captions in train.captions for c in captions if c.language in spoken]
    seconds = clip_seconds(config.data)
    return build_model(config.model, words, seconds, config.seed, train.widths)


def _loss(config: RunConfig) -> SupCLAPLoss:
    """The loss; a predictor's initial weights come from the seed, and no global state changes."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        place = place_of(config)
        try:
            return build_loss(config.loss, config.batch_size, place, config.seed)
        except PartError:
            raise
        except ValueError as error:
            raise InputError(f"loss: {error}") from None


def _fed(
    feed: Feed, made: Callable[[int], Iterable[Item]], first: int, step: Step
) -> Generator[Item, None, None]:
    """Batches from a step on, made ahead. Where memory ends as one is made, `Step` is asked to take
    less, as where it ends within a step, and the same batches are made anew from that one on."""
    while True:
        try:
            for item in feed.ahead(made(first)):
                yield item
                first += 1
            return
        except (RuntimeError, MemoryError) as error:
            smaller = step.smaller(error, first)
        step.go_on_with(smaller)


def _in_chunks(progress: Progress, started: Started) -> Started:
    """The start as it is recorded once memory has ended: with the clips per forward pass, and the
    step since which."""
    noted = f"{progress.chunk} from step {progress.step + 1}"
    changed = replace(started, made_with={**started.made_with, "chunk": noted})
    progress.events[0] = to_line(changed)
    return changed


def _go_on(progress: Progress, now: Started, folder: Folder) -> Started:
    """The recorded start of a resumed run.

    Other data and other frozen encoders are refused. Other code is not, as that would throw a long
    run away for a comment; but the run's code version then names both, so that no table takes it
    for either. So do its versions of Python and PyTorch, its device, and its number of workers.
    """
    before = from_line(progress.events[0])
    assert isinstance(before, Started)
    hashes = {"on other data": (before.data, now.data)}
    for name, new in now.also.items():
        hashes[f"on other data for also.{name}"] = before.also[name], new
    for side, new in now.frozen.items():  # a run of an earlier version has not noted them
        hashes[f"with another frozen {side} encoder"] = before.frozen.get(side, new), new
    for what, (old, new) in hashes.items():
        if old != new:
            raise InputError(
                f"{folder.uri}: was begun {what} (content hash {old}, now {new}); give another "
                "folder, or remove this one"
            )
    made_with = went_on(before.made_with, now.made_with)
    made_with |= {name: noted for name, noted in before.made_with.items() if name == "chunk"}
    counts = before.made_with.get("workers", str(before.workers))
    counts = both(counts, str(now.workers), " + ")
    if counts != str(now.workers):
        made_with["workers"] = counts
    changed = replace(
        before,
        code=both(before.code, now.code, "+"),
        modules=both_modules(before.modules, now.modules),
        user_code=both(before.user_code or now.user_code, now.user_code or before.user_code, "+"),
        workers=now.workers,
        frozen=now.frozen,
        made_with=made_with,
        ran_on=went_on(before.ran_on, now.ran_on),
    )
    progress.events[0] = to_line(changed)
    return changed
