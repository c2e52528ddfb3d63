"""How long a run would take on this machine: some of its steps, timed on made-up sounds and words.

For a first forecast, before anything has finished. No data are needed but their numbers. What is
timed: the encoders forwards and backwards, InfoNCE, the optimizer's step, features, augmentations,
measuring, in the precision of the run and with the algorithms that training asks for. What is not:
reading sounds from disk, what a regularization adds at the embeddings, the exchange between
workers, encoders as a compiler translates them. A batch that would not fit the seconds given, or
the memory that is here, is timed in a part and taken for linear.
"""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from supclap.config import LossConfig, RunConfig
from supclap.data import look_at
from supclap.data.clips import Caption
from supclap.data.places import INDICES, is_here, with_events_here
from supclap.errors import InputError
from supclap.footprint import MB, UNKNOWN, Footprint, footprint
from supclap.losses import LossOutput, build_loss
from supclap.losses.accumulation import backward_in_chunks
from supclap.memory import SMALLER, asked_for, emptied, fitting
from supclap.model.clap import CLAP, Level
from supclap.model.tokens import Tokens
from supclap.optimization import build_optimizer
from supclap.out_of_memory import remedies
from supclap.precision import autocast, check_precision, products_in
from supclap.standing_in import WORDS, build, counts
from supclap.usage import Usage, resident
from supclap.wording import counted
from supclap.workers import own_device

BUDGET = 1.5  # seconds for the steps of one configuration
FIRST_ROWS = 4  # of the first try
MOST_STEPS = 3  # of a batch that fits
BLOCK = 32  # rows of a timed measurement


@dataclass(frozen=True)
class Estimate:
    """What a run would take, in seconds, and the number of steps that this rests on."""

    seconds: float  # training and measuring
    setup: float  # before its first step, in every run
    once: float  # of frozen encoders, for the first run on these data
    steps: int
    footprint: Footprint = UNKNOWN
    assumed: tuple[str, ...] = ()  # what stands in for weights and data that are not here
    short: str = ""  # that a batch does not fit into memory here, and what would help

    @property
    def whole(self) -> float:
        """Seconds of a run whose data are there."""
        return self.seconds + self.setup


@dataclass(frozen=True)
class Sizes:
    """What a run's data amount to: clips and captions of the splits that it uses."""

    train: int  # clips
    pairs: int  # of an epoch
    watched: tuple[int, int]  # clips and captions measured after every epoch
    last: tuple[int, int]  # and at the end
    widths: tuple[int, int] | None = None  # of features


def estimate(config: RunConfig, workers: int = 1, threads: int = 1, gpu: bool = False) -> Estimate:
    """Times some steps of a run in this process; a second or two.

    Args:
        workers: that share a batch.
        threads: of each worker.
        gpu: the run asks for a GPU.

    Raises:
        InputError: it cannot be timed here: no GPU, a model that cannot be built, data of which
            nothing is known. Published encoders and collections need not be here.
    """
    if gpu and not torch.cuda.is_available():
        raise InputError("it asks for a GPU, and this machine has none")
    # The first optimizer of a process imports it, which takes seconds that are not a step's.
    importlib.import_module("torch._dynamo")
    sizes, assumed = sizes_or_published(config)
    if config.compile:
        assumed = (*assumed, "encoders that are not compiled (compile: true)")
    with fitting("run", SMALLER), _as_in_training(config, threads, gpu) as device:
        timer = _Timer(config, sizes, workers, device)
        found = timer.estimate()
    return replace(found, assumed=(*timer.assumed, *assumed))


@contextmanager
def _as_in_training(config: RunConfig, threads: int, gpu: bool) -> Iterator[torch.device]:
    """Within it this process computes as `supclap.training.fit` does; afterwards as before.

    Raises InputError where the device cannot compute in the run's precision.
    """
    before = torch.get_num_threads()
    asked = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(threads)
    try:
        with products_in(config.precision), warnings.catch_warnings():
            # Of operations that have no such form a run warns by name, in its log.
            warnings.filterwarnings("ignore", ".*deterministic", UserWarning)
            device = own_device(0) if gpu else torch.device("cpu")
            check_precision(config.precision, device)
            yield device
    finally:
        torch.set_num_threads(before)
        if gpu:
            torch.use_deterministic_algorithms(asked, warn_only=warned)


def sizes_of(config: RunConfig) -> Sizes:
    """How much data a run uses; soundscenes need not be made yet.

    Raises:
        InputError: the collection cannot be opened, or has no such split.
    """
    data = config.data
    found: dict[str, tuple[int, int]] = {}
    widths = None
    if data.name == "soundscenes":
        from supclap.bounds import split_sizes

        for split, clips in split_sizes(data.clips).items():
            each = 1 if split in ("train", "pretrain") else 5
            found[split] = (clips, clips * each * len(data.languages))
    else:
        if data.name in INDICES and not is_here(data):
            raise InputError("the data lie in a store and are not copied to this machine")
        collection = look_at(data)
        used = {data.train, data.val, data.test, "shifted"}
        for split in collection.splits:
            if split in used:
                listed = collection.split(split)
                widths, rows = listed.widths, listed.captions
                captions = sum(c.language in data.languages for row in rows for c in row)
                found[split] = (len(rows), captions)
    return _used(config, found, widths)


def sizes_or_published(config: RunConfig) -> tuple[Sizes, tuple[str, ...]]:
    """`sizes_of`, or the counts of the published index where the collection is not here; then also
    in words what it is taken for. Raises InputError as `sizes_of`, where there is none."""
    try:
        return sizes_of(config), ()
    except InputError:
        published = counts(config)
        if published is None:
            raise
    found, words = published
    return _used(config, found, None), (words,)


def _used(
    config: RunConfig, found: dict[str, tuple[int, int]], widths: tuple[int, int] | None
) -> Sizes:
    """What a run uses of splits with so many clips and captions. Raises InputError."""
    data = config.data
    for name in (data.train, data.val, data.test):
        if name is not None and name not in found:
            raise InputError(f"data: no split '{name}' (there are {', '.join(sorted(found))})")
    clips, captions = found[data.train]
    kept = min(clips, data.limit or clips)
    pairs = captions * kept // max(1, clips) if data.pairs == "all" else kept
    val = found[data.val] if data.val else (0, 0)
    test = found[data.test] if data.test else (0, 0)
    watched = [val, test] if config.select.split == "test" else [val]
    last = [test, found.get("shifted", (0, 0))]
    return Sizes(kept, pairs, _sum(watched), _sum(last), widths)


def kept_MB(model: CLAP, config: RunConfig, sizes: Sizes) -> float:
    """What frozen encoders make of all that a run uses; of features the outputs are given."""
    if sizes.widths is not None:
        return 0.0
    clips = sizes.train + sizes.watched[0] + sizes.last[0]
    captions = sizes.pairs * texts_of(config) + sizes.watched[1] + sizes.last[1]
    towers = ((model.audio, clips), (model.text, captions))
    numbers = sum(rows * int(tower.encoder.width) for tower, rows in towers if tower.frozen)
    return 4 * numbers / MB


def texts_of(config: RunConfig) -> int:
    """Texts of a pair."""
    return len(config.data.languages) if config.loss.multilingual else 1


class _Timer:
    """The steps of one configuration."""

    def __init__(self, config: RunConfig, sizes: Sizes, workers: int, device: torch.device) -> None:
        self.config, self.sizes, self.device = config, sizes, device
        self.rows = -(-config.batch_size // workers)  # of a worker
        self.workers = workers
        self.held = self._held()
        self.peak: tuple[int, float | None] = (0, None)  # rows of the largest step, MB at most
        self.lacked = ""  # what a step that did not fit could not have
        began = time.monotonic()
        with fitting("model"):
            model, self.assumed = build(config, sizes.widths)
            self.model: CLAP = model.to(device)
        self.setup = time.monotonic() - began
        with fitting("loss"):
            self.loss = build_loss(LossConfig(), config.batch_size).to(device)
        self.optimizer = build_optimizer(config.optimizer, self.model, self.loss)
        self.texts = texts_of(config)
        self.level: Level = "outputs" if self.model.audio.frozen else "features"
        self.numbers = np.random.default_rng(0)

    def estimate(self) -> Estimate:
        step, steps = self._step()
        batches = self.sizes.pairs // self.config.batch_size
        hearing, feature, listening = self._audio()
        reading, encoding = self._text()
        epochs = self.config.epochs
        clips, captions = self.sizes.watched
        more, asked = self.sizes.last
        measuring = epochs * (clips * hearing + captions * reading) + more * hearing
        measuring += asked * reading
        augmenting, hears = self._augmentations()
        heard = self.sizes.train * (epochs if hears else 1)  # else they are kept
        features = (heard + clips + more) * feature
        features += epochs * batches * self.config.batch_size * augmenting
        every = (self.sizes.train + clips + more) * listening
        once = every + (self.sizes.pairs * self.texts + captions + asked) * encoding
        seconds = epochs * batches * step + (measuring + features) / self.workers
        return Estimate(seconds, self.setup, once, steps, self._footprint(), short=self._short())

    def _short(self) -> str:
        """That a batch does not fit here, and what would help; empty where it does."""
        rows, chunk = self.peak[0], self.config.chunk
        if not self.lacked or rows == self.rows:
            return ""
        return (
            f"a step of {counted(self.rows, 'clip')} does not fit into memory here ({self.lacked} "
            f"could not be had): its time and memory are taken from one of {counted(rows, 'clip')}"
            f"; {remedies(self.config, self.rows, chunk, self._at_once(rows))}"
        )

    def _at_once(self, rows: int) -> int:
        """Clips of a forward pass of a step."""
        return min(rows, self.config.chunk or rows)

    def _footprint(self) -> Footprint:
        rows, peak = self.peak
        times = self._at_once(self.rows) / self._at_once(rows)
        found = footprint(self.model, self.loss, self.optimizer, self.held, peak, times)
        return replace(found, kept=kept_MB(self.model, self.config, self.sizes))

    def _held(self) -> float:
        """MB that the process holds on the device, before the model is made."""
        if self.device.type == "cuda":
            return torch.cuda.memory_allocated(self.device) / MB
        return resident() or 0.0

    def _step(self) -> tuple[float, int]:
        """Seconds of one step of the whole batch, and how many were timed.

        Raises InputError where there is no memory for a step of one clip.
        """
        self.model.train()
        self.usage = Usage()
        until = time.monotonic() + BUDGET
        rows, most = min(FIRST_ROWS, self.rows), self.rows
        while (first := self._train(rows)) is None:  # the first one allocates
            rows, most = rows // 2, rows // 2
            if not rows:
                raise InputError(
                    f"a step of one clip does not fit into memory here ({self.lacked} could not be "
                    f"had); {remedies(self.config, 1, None)}"
                )
        took = self._train(rows) or first
        while rows < most:
            left = until - time.monotonic()
            if took * most / rows <= left / 2:
                more = most
            elif 2 * took <= left / 2:
                more = min(2 * rows, most)
            else:
                break
            longer = self._train(more)
            if longer is None:
                most = max(rows, more // 2)
            else:
                rows, took = more, longer
        if rows < self.rows:
            return took * self.rows / rows, 1
        times = [took]
        while len(times) < MOST_STEPS and time.monotonic() + took < until:
            times.append(self._train(rows) or took)
        return min(times), len(times)

    def _train(self, rows: int) -> float | None:
        """Seconds of a step of so many clips; None where there is no memory for it."""
        try:
            took = self._trained(rows)
        except (RuntimeError, MemoryError) as error:
            asked = asked_for(error)
            if asked is None:
                raise
            self.lacked = asked
        else:
            if rows > self.peak[0]:
                self.peak = rows, self.usage.peak()
            return took
        # Not before: the error holds the frames, and these what did not fit.
        self.optimizer.zero_grad()
        emptied(self.device)
        return None

    def _trained(self, rows: int) -> float:
        audio = self._sound(rows)
        text = self._words(rows * self.texts)

        def encode(some: slice) -> tuple[Tensor, Tensor]:
            spoken = text[some.start * self.texts : some.stop * self.texts]
            with autocast(self.config.precision, self.device):
                heard, read = self.model(audio[some], spoken, self.level)
            return heard, read.unflatten(0, (len(heard), self.texts))

        def loss(heard: Tensor, read: Tensor) -> LossOutput:
            found: LossOutput = self.loss(heard, read[:, 0])
            return found

        began = time.monotonic()
        self.optimizer.zero_grad()
        chunk = self.config.chunk
        if chunk is None:
            loss(*encode(slice(0, rows))).total.backward()
        else:
            starts = range(0, rows, chunk)
            chunks = [slice(start, min(start + chunk, rows)) for start in starts]
            backward_in_chunks(encode, chunks, loss)
        self.optimizer.step()
        self._wait()
        return time.monotonic() - began

    @torch.no_grad()
    def _audio(self) -> tuple[float, float, float]:
        """Seconds for a clip: measured, its features, a frozen encoder's output."""
        self.model.eval()
        audio = self.model.audio
        rows = min(BLOCK, max(1, self.rows))
        given = self._sound(rows)
        hearing = self._timed(lambda: audio(given, self.level)) / rows
        if self.sizes.widths is not None:  # the outputs are given
            return hearing, 0.0, 0.0
        one = self._noise(1)
        feature = self._timed(lambda: audio.features(one))
        if not audio.frozen:
            return hearing, feature, 0.0
        return hearing, 0.0, self._timed(lambda: audio.outputs(one))

    @torch.no_grad()
    def _text(self) -> tuple[float, float]:
        """Seconds for a caption: measured, and a frozen encoder's output."""
        rows = min(BLOCK, max(1, self.rows))
        text = self.model.text
        given = self._words(rows)
        reading = self._timed(lambda: text(given)) / rows
        if not text.frozen or self.sizes.widths is not None:
            return reading, 0.0
        tokens = self._tokens(rows)
        return reading, self._timed(lambda: text.outputs(tokens)) / rows

    def _augmentations(self) -> tuple[float, bool]:
        """Seconds for a clip of what the run's augmentations do to it in an epoch, and whether its
        features then have to be computed anew."""
        if not self.config.data.augment:
            return 0.0, False
        from supclap.augmenting import Augmenter, made

        languages = self.config.data.languages[: self.texts]
        said = [[Caption(text, language) for language in languages] for text in WORDS]
        rows = np.arange(len(WORDS))
        sections = self.config.data.augment.items()
        parts = {label: made(label, section, self.config) for label, section in sections}
        augmenter = Augmenter(parts, self.config.seed, said, rows, rows)
        sound = self._noise(1)[0].cpu().numpy()
        heard = self._sound(1) if self.sizes.widths else self.model.audio.features(self._noise(1))
        features = heard[0].cpu().numpy()

        def change() -> None:
            for row, captions in enumerate(said):
                texts = tuple(caption.text for caption in captions)
                numbers = [0] * len(texts)
                augmenter.example(row, numbers, texts, languages, 0, lambda _: sound.copy())
                augmenter.features(row, features.copy(), 0)
                if augmenter.reads:
                    self.model.text.tokenize(texts, languages)

        return self._timed(change) / len(said), augmenter.hears

    def _timed(self, work: Callable[[], object]) -> float:
        began = time.monotonic()
        work()
        self._wait()
        return time.monotonic() - began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _noise(self, rows: int) -> Tensor:
        samples = self.model.samples
        noise = self.numbers.normal(0, 0.1, (rows, samples)).astype(np.float32)
        return torch.from_numpy(noise).to(self.device)

    def _sound(self, rows: int) -> Tensor:
        """(rows, ...) as the level says."""
        if self.model.audio.frozen:
            width = int(self.model.audio.encoder.width)
            return torch.randn(rows, width, device=self.device)
        one = self.model.audio.features(self._noise(1))
        return one.expand(rows, *one.shape[1:]).contiguous()

    def _words(self, rows: int) -> Tokens | Tensor:
        if self.model.text.frozen:
            return torch.randn(rows, int(self.model.text.encoder.width), device=self.device)
        return self._tokens(rows)

    def _tokens(self, rows: int) -> Tokens:
        texts = [WORDS[row % len(WORDS)] for row in range(rows)]
        return self.model.text.tokenize(texts, "eng").to(self.device)


def _sum(pairs: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(p[0] for p in pairs), sum(p[1] for p in pairs)


def seconds_of_scenes(config: RunConfig) -> float:
    """About how long the run's soundscenes take to make, once; 0 where they are there, or read."""
    if config.data.name != "soundscenes":
        return 0.0
    from supclap.data.soundscenes.build import seconds_to_make

    return seconds_to_make(with_events_here(config.data))
