"""RunConfig: everything that defines one training run, and nothing that does not.

Two runs with equal RunConfigs on the same data, code and number of workers end with the same
weights. What cannot change a result (devices, folders, log verbosity) is therefore not here.
Choices the paper leaves open are marked *our choice*; docs/method.md gives the reasons.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from supclap.document import read_document, read_value
from supclap.errors import InputError, closest, nearest
from supclap.later_keys import as_written
from supclap.scalars import read_number
from supclap.wording import one_line, shown

# The paper's eight languages, as ISO 639-3 codes.
LANGUAGES = ("eng", "fra", "deu", "spa", "nld", "cat", "jpn", "zho")
Share = Annotated[float, Field(ge=0, lt=1)]
Size = Annotated[int, Field(ge=1, lt=2**31)]  # of a part of a model
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # PyTorch's take less than 2**64
# Of a clip: the log-mels' window reaches 256 samples (0.016 s) into a clip from both of its ends,
# and mirrors them; an hour is beyond what fits in a batch.
Seconds = Annotated[float, Field(ge=0.02, le=3600)]


def _usable(path: str) -> str:
    names = [os.fsencode(name) for name in path.split("/")]
    if not path.strip() or "\0" in path:
        raise ValueError("expected the path of a folder")
    if len(path) > 4_000 or any(len(name) > 255 for name in names):
        raise ValueError("a name in it is longer than a file system takes")
    return path


Place = Annotated[str, AfterValidator(_usable)]
Language = Literal["eng", "fra", "deu", "spa", "nld", "cat", "jpn", "zho"]


class Section(BaseModel):
    """A part of a configuration: immutable, and a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _number(cls, value: Any, info: ValidationInfo) -> Any:
        """A number's field takes no yes or no, and a text as `supclap.scalars` reads it."""
        assert info.field_name is not None
        kinds = _numeric(cls, info.field_name)
        return _as_number(value) if kinds else value


@cache
def _numeric(section: type[Section], field: str) -> bool:
    """Whether what a field holds are numbers and nothing else (or null)."""
    kinds = set(_leaves(section.model_fields[field].annotation))
    return bool(kinds & {int, float}) and kinds <= {int, float, NoneType}


def _leaves(annotation: Any) -> Iterator[Any]:
    """The types at the ends of an annotation: of ``tuple[int, ...] | None`` int and None."""
    if get_origin(annotation) is Annotated:
        yield from _leaves(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType, tuple, list):
        for argument in get_args(annotation):
            if argument is not ...:
                yield from _leaves(argument)
    else:
        yield annotation


def _as_number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    if isinstance(value, str):  # quoted, or from an environment variable
        number = read_number(value.strip())
        return value if number is None else number
    if isinstance(value, list | tuple):
        return [_as_number(item) for item in value]
    return value


def _by_name(value: object) -> object:
    """Lets ``audio: cnn`` stand for ``audio: {name: cnn}``."""
    return {"name": value} if isinstance(value, str) else value


def _one_or_more(value: object) -> object:
    """Lets ``events: folder`` stand for ``events: [folder]``."""
    return (value,) if isinstance(value, str) else value


class DataConfig(Section):
    """Which clips and captions a run sees. ``data: soundscenes`` is short for the defaults.

    ``name`` is "soundscenes" (made on the spot) or "collection" (a folder that `supclap prepare`
    has written). The fields that hold only for soundscenes say so.
    """

    name: Literal["soundscenes", "collection"] = "soundscenes"
    folder: Place | None = None  # collection: where it lies
    train: str = "train"  # names of the splits
    val: str | None = "val"  # measured after every epoch; null: there is none
    test: str | None = "test"  # measured at the end; null: there is none
    languages: tuple[Language, ...] = Field(default=("eng",), min_length=1)
    pairs: Literal["one", "all"] = "one"  # an epoch: each clip with one caption, or each caption
    limit: PositiveInt | None = None  # train on the first so many clips
    noise: Share = 0.0  # share of the training clips that bear another clip's captions
    hard_negatives: NonNegativeInt = 0  # of each batch: its first pair's nearest neighbours
    seconds: Seconds | None = None  # crop or pad to; default 2 (collection: 10)
    clips: Size = 4000  # soundscenes: clips of the train split
    seed: Seed = 0  # soundscenes: another seed, another world
    # soundscenes: folders of labelled collections to take the sounds from; one name or a list
    events: Annotated[tuple[Place, ...] | None, BeforeValidator(_one_or_more)] = None

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        if (self.name == "collection") != (self.folder is not None):
            raise ValueError("'folder' goes with name: collection, and only with it")
        for language in self.languages:
            if self.languages.count(language) > 1:
                raise ValueError(f"'languages' names {language} twice")
        return self


# Pretrained encoders, each with the files of the folder that holds it and sets its sizes.
PRETRAINED = {
    "ced": ("config.json", "model.safetensors"),
    "sonar": ("config.json", "model.safetensors", "tokenizer.json"),
}
_FROM_SCRATCH = ("cnn", "transformer")


def missing_from(encoder: str, folder: Path) -> str | None:
    """What a pretrained encoder's folder lacks, and what to do; None where it can be read."""
    names = PRETRAINED.get(encoder, ())
    missing = [name for name in names if not (folder / name).is_file()]
    if not missing or (encoder == "ced" and original_checkpoint(folder) is not None):
        return None
    remedy = f"{encoder} needs {', '.join(names)}"
    if encoder == "ced":
        remedy += ", or one .pt file, the original's"
    if missing == ["tokenizer.json"] and (folder / "sentencepiece.bpe.model").is_file():
        remedy = "make it, once, of the sentencepiece.bpe.model that is there: "
        remedy += f"python -m supclap.model.nllb {folder}"
    return f"{folder} has no {missing[0]}; {remedy} (docs/models.md)"


def original_checkpoint(folder: Path) -> Path | None:
    """The one .pt file of a folder: CED's original checkpoints come as such."""
    found = [path for path in folder.glob("*.pt") if path.is_file()]
    return found[0] if len(found) == 1 else None


def _without_sizes(values: Any) -> Any:
    """A pretrained encoder's values without those that its folder sets.

    They are set aside rather than refused: a profile lays its encoder over a base whose own, from
    scratch, has sizes.
    """
    if isinstance(values, Mapping) and values.get("name") in tuple(PRETRAINED):
        return {k: v for k, v in values.items() if k not in ("width", "layers", "vocabulary")}
    return values


def _check_folder(name: str, folder: str | None) -> None:
    """An encoder that somebody else registered may do with a folder as it likes."""
    if name in PRETRAINED and folder is None:
        raise ValueError(f"{name} needs 'folder', where the pretrained model lies")
    if name in _FROM_SCRATCH and folder is not None:
        raise ValueError(f"'folder' goes with {' or '.join(PRETRAINED)}, not with {name}")


class AudioConfig(Section):
    """The audio encoder. ``name`` is looked up in `supclap.model.registry`."""

    name: str = "cnn"
    # Channels of the first stage (cnn, default 32) or size of a token (transformer, default 128).
    width: Size = 32
    layers: Size = 4
    folder: Place | None = None  # ced: the pretrained model; its sizes are the folder's
    freeze: bool = False

    @model_validator(mode="before")
    @classmethod
    def _width_of_its_kind(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("name") == "transformer":
            return {"width": 128, **values}
        return _without_sizes(values)

    @model_validator(mode="after")
    def _folder_of_its_kind(self) -> AudioConfig:
        _check_folder(self.name, self.folder)
        return self


class TextConfig(Section):
    """The text encoder. ``name`` is looked up in `supclap.model.registry`."""

    name: str = "transformer"
    width: Size = 128
    layers: Size = 2
    vocabulary: Size = 2000  # of the tokenizer trained on the captions
    folder: Place | None = None  # sonar: the pretrained model; its sizes are the folder's
    freeze: bool = False

    @model_validator(mode="before")
    @classmethod
    def _sizes_of_its_kind(cls, values: Any) -> Any:
        return _without_sizes(values)

    @model_validator(mode="after")
    def _folder_of_its_kind(self) -> TextConfig:
        _check_folder(self.name, self.folder)
        return self


class ModelConfig(Section):
    """The dual encoder: two encoders, each under a Linear-ReLU-Linear head to ``dim``."""

    audio: Annotated[AudioConfig, BeforeValidator(_by_name)] = AudioConfig()
    text: Annotated[TextConfig, BeforeValidator(_by_name)] = TextConfig()
    dim: Size = 256
    dropout: Share = 0.0  # with any, runs of one and of two workers differ as two seeds do
    start: Place | None = None  # a model folder whose weights the run starts from


class SVRConfig(Section):
    """Support Vector Regularization (paper, section 3.2; METHOD in docs/method.md)."""

    sides: Literal["text", "both"] = "both"
    radius: Literal["static", "dynamic"] = "dynamic"
    alpha: NonNegativeFloat = 1.0
    constraint: NonNegativeFloat = 0.01  # beta; of the dynamic radius only
    initial: float = 0.5  # radius at the start; our choice
    width: Size = 128  # hidden width of the dynamic radius's predictor; our choice
    depth: Size = 2  # its hidden layers
    order: Literal["batch", "sorted", "pooled"] = (
        "sorted"  # of the negatives in its input; our choice
    )
    detach: bool = True  # similarities enter the predictor without gradient; our choice


class LossConfig(Section):
    """The base loss and, where ``svr`` is given, its regularization."""

    name: Literal["infonce", "siglip"] = "infonce"
    temperature: PositiveFloat | None = None  # default: 0.07 (infonce), 0.1 (siglip, as published)
    learn_temperature: bool | None = None  # default: no (infonce), yes (siglip)
    bias: float = -10.0  # siglip's initial bias
    same_clip: Literal["mask", "target"] = "mask"  # captions of one clip in one batch; our choice
    svr: SVRConfig | None = None
    # How captions in several languages are learned from: every clip's in all of data.languages
    # (kcl), or in the first and another one (cacl); null: one caption in a language drawn at random
    multilingual: Literal["kcl", "cacl"] | None = None


class OptimizerConfig(Section):
    """Adam or AdamW; linear warm-up, then constant or cosine.

    ``weight_decay`` is what the two differ in: adam adds it to the gradient (L2 regularization,
    which Adam then scales as it scales gradients), adamw shrinks the weights by it apart from the
    gradient (decoupled).
    """

    name: Literal["adam", "adamw"] = "adam"
    lr: PositiveFloat = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.0
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: NonNegativeFloat = 0.5  # epochs
    clip_norm: PositiveFloat | None = 1.0
    # The learnable scalars (temperature, SigLIP's bias, radius) and the radius predictor.
    loss_lr: PositiveFloat | None = None  # default: lr


class SelectConfig(Section):
    """Which epoch is the result. The paper's own protocol is ``split: test`` (a leak; say so)."""

    split: Literal["val", "test", "last"] = "val"
    metric: str = "t2a.R@1"


# What says of a DataConfig which clips there are; the rest is about training on them.
_PLACE = {"soundscenes": {"name", "clips", "seed", "seconds", "events"}}
_PLACE["collection"] = {"name", "folder"}


class AlsoConfig(Section):
    """A further test set, measured at the end: retrieval where it has captions in the run's
    languages, zero-shot classification where its clips have single labels of several classes."""

    # Where it lies; null: the run's own data. Clips are cut to the model's length.
    data: Annotated[DataConfig | None, BeforeValidator(_by_name)] = None
    split: str = "test"

    @field_validator("data")
    @classmethod
    def _only_a_place(cls, data: DataConfig | None) -> DataConfig | None:
        if data is not None:
            default = DataConfig(name=data.name, folder=data.folder)
            for name in sorted(DataConfig.model_fields.keys() - _PLACE[data.name]):
                if getattr(data, name) != getattr(default, name):
                    raise ValueError(
                        f"'{name}' has no meaning for a further test set of {data.name} (valid: "
                        f"{', '.join(sorted(_PLACE[data.name]))})"
                    )
        return data


class RunConfig(Section):
    """One training run."""

    data: Annotated[DataConfig, BeforeValidator(_by_name)] = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: Annotated[LossConfig, BeforeValidator(_by_name)] = LossConfig()
    optimizer: Annotated[OptimizerConfig, BeforeValidator(_by_name)] = OptimizerConfig()
    select: SelectConfig = SelectConfig()
    also: dict[str, AlsoConfig] = {}
    epochs: PositiveInt = 10
    batch_size: Annotated[int, Field(ge=2, validate_default=True)] = 128  # global: over all workers
    chunk: PositiveInt | None = None  # clips per forward pass: exact accumulation (GradCache)
    precision: Literal["float32", "bf16"] = "float32"
    seed: Seed = 0
    checkpoint_steps: PositiveInt | None = None  # besides the one at the end of every epoch

    @field_validator("loss")
    @classmethod
    def _languages_for_it(cls, loss: LossConfig, info: ValidationInfo) -> LossConfig:
        data = info.data.get("data")  # absent where it is wrong itself
        if data is None or loss.multilingual is None:
            return loss
        if len(data.languages) < 2:
            raise _fault(
                "multilingual",
                f"should go with at least two data.languages, found {data.languages[0]} alone",
                loss.multilingual,
            )
        if data.pairs == "all":
            raise _fault(
                "multilingual",
                "should go with data.pairs: one (a step takes a clip with several captions at "
                "once, while with pairs: all every caption is a pair of its own)",
                loss.multilingual,
            )
        return loss

    @field_validator("also")
    @classmethod
    def _names(cls, also: dict[str, AlsoConfig]) -> dict[str, AlsoConfig]:
        for name in also:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", name):
                raise ValueError(
                    f"the name {shown(name)} is not 1 to 40 letters, digits, '-' and '_'"
                )
        return also

    @field_validator("batch_size")
    @classmethod
    def _room_for_neighbours(cls, size: int, info: ValidationInfo) -> int:
        data = info.data.get("data")  # absent where it is wrong itself
        if data is not None and data.hard_negatives >= size:
            raise ValueError(f"should be more than data.hard_negatives, {data.hard_negatives}")
        return size


def _fault(key: str, message: str, value: object) -> ValidationError:
    """To be raised by the validator of a section about one of its keys."""
    kind = PydanticCustomError("inconsistent", message)
    return ValidationError.from_exception_data(
        key, [InitErrorDetails(type=kind, loc=(key,), input=value)]
    )


def parse_config(values: Mapping[str, Any], source: str = "configuration") -> RunConfig:
    """A RunConfig from plain values.

    Raises:
        InputError: one line that names ``source``, the dotted key, what is wrong with it and, for
            an unknown key, the nearest valid one.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error, RunConfig)}") from None


def parse_stored(values: Any, source: str) -> RunConfig:
    """The RunConfig that an earlier version, or this one, has stored. Raises InputError."""
    return parse_config(as_written(RunConfig, values), source)


def load_config(path: Path) -> RunConfig:
    """A RunConfig from a YAML file.

    Raises:
        InputError: one line with file, line, key and what is wrong, as `parse_config` says it.
    """
    document = read_document(path, empty=True)
    try:
        return RunConfig.model_validate(document.values)
    except ValidationError as error:
        location = [str(part) for part in error.errors()[0]["loc"]]
        raise document.error(location, explain(error, RunConfig)) from None


def override(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with dotted keys replaced: ``{"loss.svr.radius": "static"}``.

    A mapping replaces key by key, so ``{"loss": {"svr": {...}}}`` keeps the temperature. A string
    on the way is a shorthand name and becomes ``{"name": ...}``.
    """
    result = deepcopy(dict(values))
    for dotted, value in changes.items():
        *path, last = str(dotted).split(".")
        node = result
        for key in path:
            below = node.get(key)
            if not isinstance(below, dict):
                below = {"name": below} if isinstance(below, str) else {}
                node[key] = below
            node = below
        if isinstance(value, Mapping):
            below = node.get(last)
            below = {"name": below} if isinstance(below, str) else below
            node[last] = override(below if isinstance(below, dict) else {}, value)
        else:
            node[last] = deepcopy(value)
    return result


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """``values`` with every key dotted in full: ``{"loss": {"svr": 1}}`` is ``{"loss.svr": 1}``."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        dotted = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            result |= flat(value, f"{dotted}.")
        else:
            result[dotted] = value
    return result


def parse_changes(items: Iterable[str]) -> dict[str, Any]:
    """``KEY=VALUE`` of a command line (``--set``), each value read as a YAML file's is.

    Raises:
        InputError: no ``=``, a key that stands twice, or a value that cannot be read.
    """
    changes: dict[str, Any] = {}
    for item in items:
        key, sign, text = item.partition("=")
        key = key.strip()
        where = f"--set {one_line(key, 100)}"
        if not sign or not key:
            raise InputError(f"{where}: expected KEY=VALUE, such as epochs=3")
        if key in changes:
            raise InputError(f"{where}: is given twice")
        changes[key] = read_value(where, text)
    return changes


def covers(key: str, dotted: str) -> bool:
    """Whether a dotted key sets what another one names, something above it or something below."""
    return f"{dotted}.".startswith(f"{key}.") or f"{key}.".startswith(f"{dotted}.")


def explain(error: ValidationError, model: type[BaseModel], unsettable: Iterable[str] = ()) -> str:
    """The first fault of a pydantic error as one line, with the nearest valid key.

    Args:
        unsettable: keys of the top level that cannot be set where the fault is, and so are no hint.
    """
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    dotted = one_line(".".join(path), 200)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        section = _section(model, path[:-1])
        valid = sorted(section.model_fields.keys() - set(() if path[:-1] else unsettable))
        settable = [key for key in keys_of(model) if key not in set(unsettable)]
        meant = [key for key in nearest_keys(path[-1], settable) if key != dotted]
        elsewhere = " or ".join(f"'{key}'" for key in meant)
        hint = nearest(path[-1], valid, 0.75 if meant else 0.5)
        hint = hint or (f"; did you mean {elsewhere}?" if meant else "")
        return f"unknown key '{dotted}'{hint} (valid: {', '.join(valid)}){more}"
    message = first["msg"].removeprefix("Value error, ")
    problem = f"{message[0].lower()}{message[1:]}, got {shown(first['input'])}{more}"
    return f"{dotted or 'top level'}: {problem}"


# What others call a setting, by the last part of its key.
_ALIASES = {
    "learning_rate": "optimizer.lr",
    "wd": "optimizer.weight_decay",
    "bs": "batch_size",
    "batch": "batch_size",
    "tau": "loss.temperature",
    "num_epochs": "epochs",
    "max_epochs": "epochs",
    "num_workers": "workers",
}


def keys_of(model: type[BaseModel], above: str = "") -> list[str]:
    """The dotted keys of a configuration: its settings and its sections."""
    found = []
    for name, field in model.model_fields.items():
        found.append(f"{above}{name}")
        below = _model_of(field.annotation)
        if below is not None and get_origin(field.annotation) is not dict:
            found += keys_of(below, f"{above}{name}.")
    return found


def nearest_keys(name: str, keys: Iterable[str]) -> list[str]:
    """The keys that somebody may mean by a name: ``lr`` is ``optimizer.lr``; none where it is none.

    Those that it names, or whose last parts it names; else those whose last part is spelled much
    alike.
    """
    keys = list(keys)
    name = _ALIASES.get(name, name)
    named = [key for key in keys if key == name or f".{key}".endswith(f".{name}")]
    if named:
        return [name] if name in named else named
    last = {key.rpartition(".")[2] for key in keys}
    close = closest(name, last, 0.8)
    return nearest_keys(close, keys) if close else []


def _section(model: type[BaseModel], path: list[str]) -> type[BaseModel]:
    """The model class at ``path`` below ``model``."""
    keys = iter(path)
    for key in keys:
        if key in model.model_fields:
            annotation = model.model_fields[key].annotation
            model = _model_of(annotation) or model
            if get_origin(annotation) is dict:
                next(keys, None)  # a name of the user's own
    return model


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, Annotated, dict):
        found = (_model_of(argument) for argument in get_args(annotation))
        return next((model for model in found if model), None)
    return None
