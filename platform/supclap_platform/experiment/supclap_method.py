"""The method `supclap` behind the door: its configuration, checks, identity, metrics and loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from supclap.bounds import clip_seconds
from supclap.code import PACKAGE, own_code
from supclap.config import NO_PART_OF_A_RESULT, DataConfig, RunConfig, parse_stored
from supclap.errors import InputError, SettingError
from supclap.feasibility import CELL, check_data, check_run
from supclap.later_keys import identity_of
from supclap_platform.experiment import metrics
from supclap_platform.experiment.identity import Contents, signature
from supclap_platform.experiment.measure import Measure
from supclap_platform.experiment.method import (
    Footprint,
    Method,
    Need,
    Preview,
    Timing,
    own_seed,
    without_fractions,
)
from supclap_platform.experiment.run import Run, RunError
from supclap_platform.experiment.schema import FIGURES

MB = 1_000_000
WORLD = "world"  # of clips that are made from `data.seed`


class SupclapMethod(Method):
    """`supclap.training.fit`, with `supclap.config.RunConfig`."""

    def __reduce__(self) -> str:
        return "SUPCLAP"  # the one there is, in another process too

    name = "supclap"
    config = RunConfig
    parallel = True
    start_key = "model.start"
    no_part_of_a_result = NO_PART_OF_A_RESULT
    figures = FIGURES
    vary = MappingProxyType({WORLD: "clips"})

    @property
    def first_words(self) -> frozenset[str]:
        return metrics.FIRST_WORDS

    def measure(self, name: str) -> Measure:
        full = metrics.full_name(name)
        ranked = metrics.has_a_best(full)
        clear = full in metrics.WHOLE or (full.startswith(("val.", "train.")) and ranked)
        choosable = full.startswith("val.") or full in (*metrics.TRAINING, *metrics.WHOLE)
        return Measure(
            full,
            low=metrics.lower_is_better(full),
            ranked=ranked,
            decimals=metrics.decimals(full),
            clear=clear,
            held_out=not choosable,
            instead=f"val.{full.removeprefix('test.')}" if full.startswith("test.") else "",
        )

    def why_not_reported(self, metric: str, config: RunConfig) -> str | None:
        return metrics.why_not_reported(metric, config)

    def watched(self, config: RunConfig) -> str | None:
        select = config.select
        return None if select.split == "last" else f"{select.split}.{select.metric}"

    def shown(self, config: RunConfig) -> str:
        return self.watched(config) or "train.loss"

    def selection(self, config: RunConfig) -> str:
        select = config.select
        if select.split == "last":
            return "Measured after the last epoch."
        if select.split == "test":
            return (
                f"Epoch chosen by {select.metric} on the TEST split: the paper's protocol, a leak "
                "that flatters every row."
            )
        return f"Epoch chosen by {select.metric} on the validation split."

    def judged_on(self, objective: str) -> str:
        head, _, rest = objective.partition(".")
        return rest if head in ("val", "test") else objective

    def check(self, config: RunConfig, workers: int) -> None:
        try:
            metrics.check_select_metric(config)
        except InputError as error:
            raise SettingError("select.metric", str(error)) from None
        check_run(config, workers)

    def check_data(self, config: RunConfig, seen: set[Any]) -> None:
        check_data(config, seen)

    def in_stores(self, config: RunConfig) -> Mapping[str, str]:
        from supclap.data.places import in_stores

        return in_stores(config)

    def needs(self, config: RunConfig) -> Iterator[Need]:
        from supclap.needs import needs_of

        return needs_of(config)

    def time(self, config: RunConfig, workers: int, threads: int, gpu: bool) -> Timing:
        from supclap.data.places import is_here
        from supclap.footprint import CHECKPOINTS
        from supclap.timing import estimate, seconds_of_scenes

        found = estimate(config, workers, threads, gpu)
        once, assumed = found.once, found.assumed
        try:
            if not is_here(config.data):  # but in a store: nothing is fetched to time it
                raise InputError("the recordings are not here")
            once += seconds_of_scenes(config)
        except InputError:
            assumed = (*assumed, "no time for scenes of recordings that are not here")
        data = config.data.model_dump_json()
        takes = _size(found.footprint, CHECKPOINTS)
        return Timing(found.whole, found.steps, once, data, takes, assumed, found.short)

    def preview(self, config: RunConfig) -> Preview:
        from supclap.footprint import CHECKPOINTS
        from supclap.preview import preview

        found = preview(config)
        return Preview(
            found.steps,
            config.batch_size,
            found.parameters,
            found.learned,
            _size(found.footprint, CHECKPOINTS),
            found.assumed,
            found.unknown,
        )

    def signature(self, config: RunConfig, workers: int, contents: Contents) -> str:
        return signature(config, workers, contents)

    def identity(self, config: RunConfig) -> dict[str, Any]:
        return identity_of(config)

    def shape(self, config: RunConfig) -> dict[str, Any]:
        values = identity_of(config)
        del values["loss"], values["seed"], values["model"]["start"], values["data"]["seed"]
        for further in values["also"].values():
            (further["data"] or {}).pop("seed", None)
        return values

    def takes(self, config: RunConfig) -> dict[str, Any]:
        values = identity_of(config)
        for key in ("seed", "epochs", "select", "checkpoint_steps", "data", "also", "optimizer"):
            values.pop(key, None)
        values["model"].pop("start", None)
        form: dict[str, Any] = without_fractions(values)
        form |= {"optimizer": config.optimizer.name, "languages": len(config.data.languages)}
        return form | {"seconds": clip_seconds(config.data)}

    def same_data(self, config: RunConfig) -> dict[str, Any]:
        return config.data.model_dump(mode="json")

    def code(self, config: RunConfig) -> Mapping[str, str]:
        return own_code().modules(config)

    def all_code(self) -> Mapping[str, str]:
        return own_code().under(PACKAGE)

    def work(self, config: RunConfig) -> float:
        return config.epochs * min(config.data.clips, config.data.limit or 10**9)

    def parse_stored(self, values: Any, source: str) -> RunConfig:
        return parse_stored(values, source)

    def stored(self, config: RunConfig) -> dict[str, Any]:
        return config.model_dump(mode="json")

    def starting_from(self, config: RunConfig, signature: str) -> RunConfig:
        model = config.model.model_copy(update={"start": f"{CELL}{signature}"})
        return config.model_copy(update={"model": model})

    def other_model(self, one: RunConfig, other: RunConfig) -> str | None:
        for part in ("audio", "text"):
            first = getattr(one.model, part).model_dump(exclude={"freeze"})
            second = getattr(other.model, part).model_dump(exclude={"freeze"})
            for key in first:
                if first[key] != second.get(key):
                    return f"model.{part}.{key}"
        return None if one.model.dim == other.model.dim else "model.dim"

    def why_not_varied(self, word: str, config: RunConfig) -> str | None:
        if _is_made(config.data):
            return None
        return f"its clips are recorded and not made (data.name: {config.data.name})"

    def varied(self, config: RunConfig, word: str, seed: int) -> RunConfig:
        also = {
            name: further
            if further.data is None
            else further.model_copy(update={"data": _another(further.data, seed)})
            for name, further in config.also.items()
        }
        return config.model_copy(update={"data": _another(config.data, seed), "also": also})

    def made_of(self, config: RunConfig, word: str) -> str:
        data = config.data
        return f"{data.seed} {data.clips} {clip_seconds(data)} {data.events}"

    def made(self, config: RunConfig) -> Mapping[Path, float]:
        from supclap.made_clips import made_clips

        also = (further.data for further in config.also.values() if further.data is not None)
        found = (made_clips(data) for data in (config.data, *also) if _is_made(data))
        return {place: size / MB for place, size in found}

    def shared_still(self, config: RunConfig, word: str) -> Iterator[str]:
        if config.data.events is not None:
            yield "recordings that the scenes are mixed from"
        for name, further in config.also.items():
            if further.data is not None and not _is_made(further.data):
                yield f"clips of also.{name}"

    def fit(self, config: RunConfig, run: Run) -> None:
        from supclap.training import TrainingError, fit
        from supclap.workers import Workers

        workers = Workers.current(run.timeout)
        try:
            for event in fit(_placed(config, run), run.folder, workers=workers, by_signature=True):
                run.report(event)
        except TrainingError as error:
            raise RunError(str(error)) from error


def _size(takes: Any, checkpoints: int) -> Footprint:
    """`supclap.footprint.Footprint` in the platform's words."""
    kept = checkpoints * takes.checkpoint
    return Footprint(takes.memory, takes.model, kept, takes.kept, takes.fixed)


def _is_made(data: DataConfig) -> bool:
    """Whether clips are made from `data.seed`, and not read."""
    return data.name == "soundscenes"


def _another(data: DataConfig, seed: int) -> DataConfig:
    """The world of a seed."""
    if not _is_made(data):
        return data
    return data.model_copy(update={"seed": own_seed(data.seed, seed)})


def _placed(config: RunConfig, run: Run) -> RunConfig:
    """The configuration with the model of its stage as a folder of this machine."""
    start = config.model.start
    if start is None or not start.startswith(CELL):
        return config
    changed = config.model.model_copy(update={"start": str(run.model_of(start[len(CELL) :]))})
    return config.model_copy(update={"model": changed})


SUPCLAP = SupclapMethod()
