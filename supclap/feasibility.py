"""What can be refused before anything is trained: by `supclap train`, by a plan and by a driver.

`check_run` knows a configuration alone and takes microseconds; `check_data` opens the folders that
the configuration names. Neither makes data, and PyTorch is imported only for encoders whose sizes
are not known without them: pretrained ones, and those that somebody else has registered.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from supclap import registry
from supclap.bounds import (
    CAPTIONS,
    SECONDS,
    SPLITS,
    check_cnn,
    check_frozen_layers,
    check_pairs,
    check_seconds,
    check_share,
    check_split,
    check_temperature,
    check_transformer,
    check_vocabulary,
    clip_seconds,
    noisy_clips,
    nothing_to_recompute,
    split_sizes,
)
from supclap.config import (
    FEATURES,
    AudioConfig,
    DataConfig,
    HeadConfig,
    LossConfig,
    ModelConfig,
    RunConfig,
    TextConfig,
)
from supclap.errors import InputError, NoPackage, SettingError
from supclap.number_schedule import NumberSchedule
from supclap.rehearsal import rehearse_loss

if TYPE_CHECKING:
    from supclap.data.clips import Collection

CELL = "cell:"  # how `model.start` begins where it names no folder but a run that is to come


def check_run(config: RunConfig, workers: int = 1) -> None:
    """What the configuration of a run says of itself.

    Raises:
        SettingError: sizes that do not divide, splits or encoders that do not exist, a batch that
            cannot be filled or shared, captions that cannot be exchanged; a loss of one's own that
        fails on random pairs.
    """
    check_share(config.batch_size, workers)
    if config.on_oom == "chunk" and workers > 1:
        raise SettingError(
            "on_oom",
            f"on_oom: chunk goes with one worker, not with {workers}: the others would wait for "
            "the one that has no memory; set a chunk",
        )
    _check_loss(config.loss)
    rehearse_loss(config)
    _check_encoders(config.model)
    _check_optimizer(config)
    _check_order(config)
    _check_augmentations(config)
    data = config.data
    if data.name == "soundscenes":
        _check_scenes(data, "data")
    most = _most_clips(data)
    for which, count in most.items():
        if data.pairs == "one":
            check_pairs(count, config.batch_size, f"{which}, {count}")
    if data.name == "soundscenes":
        clips = min(most.values())
        noisy_clips(clips, data.noise)
        if data.pairs == "all":
            pairs = clips * CAPTIONS[data.train] * len(data.languages)
            check_pairs(pairs, config.batch_size, f"the {pairs} pairs of split '{data.train}'")
    for name, further in config.also.items():
        place = data if further.data is None else further.data
        if place.name != "soundscenes":
            continue
        key = f"also.{name}"
        check_split(further.split, SPLITS, "soundscenes", f"{key}.split")
        if further.data is not None:
            check_seconds(clip_seconds(place), f"{key}.data.seconds")


def check_data(config: RunConfig, seen: set[Any] | None = None) -> None:
    """What the folders of a configuration hold: collections, recorded events, models.

    Scenes that are still to be made are taken on trust: `check_run` knows what they will be.

    Args:
        seen: what has been looked at before and is in order, and is not looked at again.

    Raises:
        SettingError: no such folder or split, too few pairs in it, nothing to measure, or a model
            that cannot be built from it.
    """
    seen = set() if seen is None else seen
    data = config.data
    read = {"data": True, "batch_size": True, "select": True, "also": True}
    if data.order is not None:  # it is tried on the last epoch
        read["epochs"] = True
    asked = config.model_dump_json(include={**read, "loss": {"multilingual"}})
    if asked not in seen and (_has_folder(data) or any(a.data for a in config.also.values())):
        _check_collections(config)
    seen.add(asked)
    seconds = clip_seconds(data)
    model = (config.model.model_dump_json(), seconds)
    if model not in seen:
        check_folders(config.model, seconds)
    seen.add(model)


def _has_folder(data: DataConfig) -> bool:
    return data.name != "soundscenes" or data.events is not None


def _most_clips(data: DataConfig) -> dict[str, int]:
    """How many clips a run trains on at most, by what says so."""
    most = {} if data.limit is None else {"data.limit": data.limit}
    if data.name == "soundscenes":
        size = split_sizes(data.clips)[data.train]
        named = "data.clips" if size == data.clips else f"the clips of split '{data.train}'"
        most[named] = size
    return most


def _check_scenes(data: DataConfig, key: str) -> None:
    check_seconds(clip_seconds(data), f"{key}.seconds")
    for role in ("train", "val", "test"):
        split = getattr(data, role)
        if split is None:
            continue
        check_split(split, SPLITS, "soundscenes", f"{key}.{role}")
        if not CAPTIONS[split]:
            raise SettingError(
                f"{key}.{role}",
                f"{key}.{role}: the clips of soundscenes' split '{split}' have no captions",
            )


def _check_loss(loss: LossConfig) -> None:
    learned = loss.learns_temperature
    for name in ("temperature", "bias"):
        if learned and isinstance(getattr(loss, name), NumberSchedule):
            key = f"loss.{name}"
            raise SettingError(
                key,
                f"{key}: what is learned has no schedule; set loss.learn_temperature: false, or "
                "give a number to start from",
            )
    if isinstance(loss.temperature, float):
        check_temperature(loss.temperature, learned)


def _check_order(config: RunConfig) -> None:
    """It can be made; what it makes of the pairs is seen when there are some (`check_data`)."""
    if config.data.order is not None:
        from supclap.batches import order_of

        order_of(config)


def _check_augmentations(config: RunConfig) -> None:
    """They can be made, and change nothing that a frozen encoder has computed once."""
    if not config.data.augment:
        return
    from supclap.augmenting import made
    from supclap.parts.augmentation import methods_of

    for label, section in config.data.augment.items():
        methods = methods_of(made(label, section, config))
        key = f"data.augment.{label}"
        if not methods:
            raise SettingError(
                key,
                f"{key}: has none of the methods waveform, features, caption and mix, so it "
                "changes nothing",
            )
        given = config.data.name == FEATURES
        wrong = [name for name in ("waveform", "caption", "mix") if name in methods]
        if given and wrong:
            raise SettingError(
                key,
                f"{key}: has the method {wrong[0]}, but the data are features, with no sound and "
                "no words to change; of these an augmentation may have the method features",
            )
        for side, theirs in (("audio", "waveform features mix"), ("text", "caption mix")):
            own = [name for name in theirs.split() if name in methods]
            if own and getattr(config.model, side).freeze and not given:
                raise SettingError(
                    key,
                    f"{key}: has the method {own[0]}, which cannot work with model.{side}.freeze: "
                    "a frozen encoder's outputs are computed once; leave out one of the two",
                )


def _check_encoders(model: ModelConfig) -> None:
    """Sizes of this package's own encoders that are trained from scratch, and all names."""
    audio, text = model.audio, model.text
    if audio.name == "cnn":
        check_cnn(audio.width, audio.layers)
    elif audio.name == "transformer":
        check_transformer("audio", audio.width)
    if text.name == "transformer":
        check_transformer("text", text.width)
        check_vocabulary(text.vocabulary)
    for side, section in (("audio", audio), ("text", text)):
        if section.name in ("cnn", "transformer"):
            check_frozen_layers(section.freeze, section.layers, f"model.{side}.freeze")
            if section.name == "cnn" and section.recompute:
                raise nothing_to_recompute(f"model.{side}.recompute")
        width = _width(section)
        if section.lora is not None:
            _check_adapters(f"model.{side}.lora")
        own = registry.own(f"{side} encoder", section.name) is not None
        if own or (section.lora is not None and section.folder is None):
            width = _build(model, side, SECONDS["soundscenes"])
        if section.head is not None and width is not None:
            _try_head(section.head, width, model.dim)


def _check_adapters(key: str) -> None:
    """Raises NoPackage where what makes low-rank adapters is not installed."""
    from supclap.model.lora import check_installed

    try:
        check_installed(key)
    except SettingError as error:
        reason, _, command = str(error).rpartition(": ")
        raise NoPackage(key, reason, command) from None


def _width(section: AudioConfig | TextConfig) -> int | None:
    """What an encoder of this package puts out, where its section says it."""
    if section.name == "cnn":
        return section.width * 2 ** (section.layers - 1)
    return section.width if section.name == "transformer" else None


def _try_head(config: HeadConfig, width: int, dim: int) -> None:
    import torch

    from supclap.model.registry import make_head
    from supclap.model.results import check_rows
    from supclap.parts.calling import guarded

    with _meta():
        head = make_head(config, width, dim)
        with guarded(head, "forward"):
            projected = head(torch.zeros(2, width))
        check_rows(head, "forward", projected, 2, dim)


def _check_optimizer(config: RunConfig) -> None:
    """Parts of one's own, tried on two weights and on the first and the last step."""
    optimizer = config.optimizer
    named = not isinstance(optimizer.schedule, str)
    if registry.own("optimizer", optimizer.name) is None and not named:
        return
    from torch import nn

    from supclap.optimization import build_optimizer, learning_rate

    build_optimizer(optimizer, nn.Linear(2, 2), nn.Module())
    steps = 10  # of an epoch, as far as is known
    for step in (math.ceil(optimizer.warmup * steps), config.epochs * steps - 1):
        learning_rate(optimizer, min(step, config.epochs * steps - 1), steps, config.epochs)


def check_folders(model: ModelConfig, seconds: float) -> None:
    """Models that lie in folders: described as this package reads them, and of the right sizes.

    ``seconds``: of a clip.
    """
    for side in ("audio", "text"):
        if getattr(model, side).folder is not None:
            check_encoder(model, side, seconds)
    if model.start is not None and not model.start.startswith(CELL):
        from supclap.model.clap import check_start
        from supclap.model.folder import model_at

        with _about("model.start"):
            check_start(model, model_at(model.start))


def check_encoder(model: ModelConfig, side: str, seconds: float) -> None:
    """Raises SettingError where an encoder cannot be built of the folder that it names."""
    with _about(f"model.{side}.folder"):
        _build(model, side, seconds)


def _build(model: ModelConfig, side: str, seconds: float) -> int | None:
    """Builds an encoder on the meta device; its width, or None where that cannot be."""
    from supclap.model.registry import Source, make_audio, make_text

    source = Source(seconds, model.dropout, captions=("a sound",))
    make = make_audio if side == "audio" else make_text
    with _meta():
        section = getattr(model, side)
        encoder = make(section, source)
        if section.lora is not None:
            from supclap.model.depth import freeze_first
            from supclap.model.lora import targets_of

            if section.freeze:
                freeze_first(encoder, section.freeze, f"model.{side}.freeze")
            targets_of(encoder, section.lora, f"model.{side}.lora")
        width: int = encoder.width
        return width
    return None


@contextmanager
def _meta() -> Iterator[None]:
    """Within it modules are made of shapes alone; one that looks at its own numbers, which are none
    here, cannot be judged so."""
    import torch

    try:
        with torch.device("meta"):
            yield
    except InputError as error:
        if not isinstance(error.__cause__ or error.__context__, NotImplementedError | RuntimeError):
            raise
    except (NotImplementedError, RuntimeError):
        return


def _check_collections(config: RunConfig) -> None:
    """Of what lies in a store and is not copied to this machine, which may train nothing itself,
    only the index is looked at."""
    from supclap.batches import batches_of
    from supclap.data import index_of, look_at
    from supclap.data.places import INDICES, is_here, with_events_here
    from supclap.sets import choose_sets, further_set

    data = config.data
    far: list[Collection] = []  # that are not here

    def opened(place: DataConfig) -> Collection | None:
        if place.name in INDICES and not is_here(place):
            if place.folder is not None:
                far.append(index_of(place))
            return None
        if place.name != "soundscenes":
            return look_at(place)
        if place.events is not None:
            from supclap.data.soundscenes import check_events

            check_events(with_events_here(place))
        return None

    read = "data.folder" if data.name in ("collection", FEATURES) else "data.name"
    read = read if data.arrays is None else "data.arrays"
    with _about(read if data.events is None else "data.events"):
        collection = opened(data)
    if collection is None and far:
        _check_roles(data, far[0])
    if collection is None:
        for name, also in config.also.items():
            with _about(f"also.{name}"):
                further_set(name, also, None, data.languages, opened)
        return
    _check_roles(data, collection)
    train = collection.split(data.train)
    with _about("data.train" if data.order is None else "data.order"):
        batches_of(config, train)
    with _about("data"):
        choose_sets(config, collection, opened)
    if train.widths is not None:
        for side, width in zip(("audio", "text"), train.widths, strict=True):
            head = getattr(config.model, side).head
            if head is not None:
                _try_head(head, width, config.model.dim)


def _check_roles(data: DataConfig, collection: Collection) -> None:
    for role in ("train", "val", "test"):
        split = getattr(data, role)
        if split is not None:
            check_split(split, collection.splits, data.folder or data.name, f"data.{role}")


@contextmanager
def _about(key: str) -> Iterator[None]:
    """Names the setting of an InputError that does not say which one it is about."""
    try:
        yield
    except SettingError:
        raise
    except InputError as error:
        raise SettingError(key, str(error)) from None
