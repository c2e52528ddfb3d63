"""RunConfig: everything that defines one training run, and nothing that does not.

Two runs with equal RunConfigs on the same data, code and number of workers end with the same
weights. What cannot change a result (devices, folders, log verbosity) is therefore not here, but
for `NO_PART_OF_A_RESULT`.
Choices the paper leaves open are marked *our choice*; docs/method.md gives the reasons.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from supclap import registry
from supclap.document import read_document
from supclap.errors import InputError
from supclap.explaining import explain
from supclap.hub import as_place
from supclap.labels import check_label
from supclap.later_keys import AsBefore, as_written
from supclap.metric_names import own_names
from supclap.number_schedule import NonNegative, Number, NumberSchedule, Positive
from supclap.open_section import OpenSection
from supclap.section import Section, Seed, fault_of
from supclap.wording import shown

# The paper's eight languages, as ISO 639-3 codes.
LANGUAGES = ("eng", "fra", "deu", "spa", "nld", "cat", "jpn", "zho")
# Settings that change how a run gets to its result: another value is no other run.
NO_PART_OF_A_RESULT = frozenset({"checkpoint_steps", "on_oom"})
FEATURES = "features"  # names the data source, and the two encoders that pass its vectors on
Share = Annotated[float, Field(ge=0, lt=1)]
Size = Annotated[int, Field(ge=1, lt=2**31)]  # of a part of a model
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


def _by_name(value: object) -> object:
    """Lets ``audio: cnn`` stand for ``audio: {name: cnn}``."""
    return {"name": value} if isinstance(value, str) else value


def _head(value: object) -> object:
    """The built-in head is null, as it was before there were others."""
    named = _by_name(value)
    return None if named == {"name": "mlp"} else named


def _parts(value: object) -> object:
    """Lets ``{angle: {margin: 0.2}}`` stand for ``{angle: {name: angle, margin: 0.2}}``; a part
    that is null is taken away."""
    if not isinstance(value, Mapping):
        return value
    return {
        name: {"name": name, **part} if isinstance(part, Mapping) else part
        for name, part in value.items()
        if part is not None
    }


def _one_or_more(value: object) -> object:
    """Lets ``events: folder`` stand for ``events: [folder]``."""
    return (value,) if isinstance(value, str) else value


class OrderConfig(OpenSection):
    """The order of an epoch's pairs: a part of one's own, with its keys."""

    names_part = ("name", "batch order")

    name: str


class AugmentConfig(OpenSection):
    """A change of what a model hears or reads in training: a part of one's own, with its keys."""

    names_part = ("name", "augmentation")

    name: str


def _columns(value: object) -> object:
    """Lets ``[text1, text_fra]`` stand for ``{text1: eng, text_fra: fra}``."""
    return language_of_columns(value) if isinstance(value, list | tuple) else value


def language_of_columns(names: Iterable[str]) -> dict[str, str]:
    """Columns of sentences with the language of each: the one that a name ends with, such as
    ``text1_fra``; English where it ends with none."""
    ends = {name: str(name).rpartition("_")[2] for name in names}
    return {name: end if end in LANGUAGES else "eng" for name, end in ends.items()}


class ArraysConfig(Section):
    """Precomputed features as they lie: two arrays, and a table of which row is what.

    ``audio`` (rows, width) and ``text`` (rows, width) are .npy files of float16, float32 or
    float64. The table is a CSV file with a line for each clip, or for each clip and caption
    (`supclap.data.features.table` reads it).
    """

    audio: Place
    text: Place
    captions: Place
    # Columns that hold rows of ``text``, each with its language; null: all that begin with "text"
    texts: Annotated[dict[str, Language] | None, BeforeValidator(_columns)] = None
    # The column of the words of each column of ``texts``; null: found by the name
    words: dict[str, str] | None = None
    labels: tuple[str, ...] = ()  # columns with a label of the clip
    # A CSV file of labels, each with its sentences as rows of ``text``, to classify by; null: none
    classes: Place | None = None
    splits: tuple[str, ...] | None = None  # only these; null: all that the table has
    # Arrays whose columns get mean 0 and spread 1 over the clips of split "train"
    standardize: tuple[Literal["audio", "text"], ...] = ()


class DataConfig(OpenSection):
    """Which clips and captions a run sees. ``data: soundscenes`` is short for the defaults.

    ``name`` is "soundscenes" (made on the spot), "collection" (a folder that `supclap prepare`
    has written), "features" (a folder that `supclap prepare features` has written, or ``arrays``)
    or a data source of one's own. The fields that hold only for soundscenes say so.
    """

    names_part = ("name", "data source")

    name: str = "soundscenes"
    folder: Place | None = None  # collection, features: where it lies
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
    # In what order an epoch takes its pairs; null: a permutation
    order: Annotated[OrderConfig | None, BeforeValidator(_by_name), AsBefore(None)] = None
    augment: Annotated[dict[str, AugmentConfig], BeforeValidator(_parts), AsBefore({})] = Field(
        default={}
    )
    arrays: Annotated[ArraysConfig | None, AsBefore(None)] = None  # features: in place of a folder

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        own = registry.own("data source", self.name) is not None  # does with a folder as it likes
        if self.name == FEATURES:
            if (self.folder is None) == (self.arrays is None):
                raise ValueError(
                    "features need 'folder', which `supclap prepare features` has written, or "
                    "'arrays', and not both"
                )
            if self.seconds is not None:
                raise ValueError("'seconds' has no meaning for features")
        elif self.arrays is not None:
            raise ValueError("'arrays' goes with name: features, and only with it")
        elif not own and (self.name == "collection") != (self.folder is not None):
            raise ValueError("'folder' goes with name: collection or features, and only with them")
        for language in self.languages:
            if self.languages.count(language) > 1:
                raise ValueError(f"'languages' names {language} twice")
        if self.order is not None and self.hard_negatives:
            raise ValueError("'hard_negatives' are an order of their own: they go without 'order'")
        return self


# Pretrained encoders, each with the files of the folder that holds it and sets its sizes; weights
# that come in several forms are looked for where they are read.
PRETRAINED = {
    "ced": ("config.json", "model.safetensors"),
    "sonar": ("config.json", "model.safetensors", "tokenizer.json"),
    "huggingface": ("config.json",),
    "sentence_transformers": ("modules.json",),
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


def is_pretrained(kind: str, name: str) -> bool:
    """Whether a built-in encoder's weights and sizes come out of a folder."""
    return name in PRETRAINED and name in registry.BUILT_IN[kind]


def _placed(kind: str, values: Any) -> Any:
    """A pretrained encoder's values with its place, and without the sizes that its folder sets.

    These are set aside rather than refused: a profile lays its encoder over a base whose own, from
    scratch, has sizes. ``repo: NAME@REVISION`` becomes a folder (`supclap.hub`). Features, which
    have no weights, are frozen.
    """
    if not isinstance(values, Mapping):
        return values
    sizes = ("width", "layers", "vocabulary")
    if values.get("name") == FEATURES:
        return {"freeze": True} | {k: v for k, v in values.items() if k not in sizes}
    if not is_pretrained(kind, str(values.get("name"))):
        return values
    placed = {k: v for k, v in values.items() if k not in (*sizes, "repo")}
    repo = values.get("repo")
    if repo is not None:
        if placed.get("folder") is not None:
            both = "'folder' and 'repo' both say where the model lies; give one of them"
            raise fault_of("repo", both, repo)
        try:
            placed["folder"] = as_place(str(repo))
        except ValueError as error:
            raise fault_of("repo", str(error), repo) from None
    return placed


def _check_folder(kind: str, name: str, folder: str | None) -> None:
    """An encoder that somebody else registered may do with a folder as it likes."""
    if is_pretrained(kind, name) and folder is None:
        raise ValueError(
            f"{name} needs 'folder', where the pretrained model lies, or 'repo', NAME@REVISION"
        )
    if name in (*_FROM_SCRATCH, FEATURES) and folder is not None:
        names = [one for one in registry.BUILT_IN[kind] if one in PRETRAINED]
        raise ValueError(f"'folder' goes with {' or '.join(names)}, not with {name}")


def _check_frozen(name: str, section: AudioConfig | TextConfig) -> None:
    freeze = section.freeze
    if name == FEATURES and freeze is not True:
        raise fault_of("freeze", "should be true: features have no weights to train", freeze)
    if section.recompute and freeze is True:
        wrong = "is of no use: nothing of a frozen encoder is kept for a backward pass"
        raise fault_of("recompute", wrong, section.recompute)
    if section.lora is not None and freeze is True:
        wrong = "adapts an encoder that learns, and this one is frozen; leave out one of the two"
        wrong = "has nothing to adapt: features have no weights" if name == FEATURES else wrong
        raise fault_of("lora", wrong, section.lora.model_dump(exclude_unset=True))


class HeadConfig(OpenSection):
    """What projects an encoder's output into the embedding space: a part of one's own."""

    names_part = ("name", "head")

    name: str


class LoRAConfig(Section):
    """Low-rank adapters beside the weights of an encoder, which stand still themselves (Hu et al.
    2022; `supclap.model.lora`)."""

    rank: Size = 8  # columns of B, rows of A
    alpha: PositiveFloat = 16.0  # what the adapters give is multiplied by alpha / rank
    dropout: Share = 0.0  # of what the adapters are given
    # Last parts of the names of linear layers; null: all of the encoder's layers
    targets: Annotated[tuple[str, ...] | None, BeforeValidator(_one_or_more)] = Field(
        default=None, min_length=1
    )


def _all_or_some(value: object) -> object:
    if not isinstance(value, bool) and not (isinstance(value, int) and 0 < value < 2**31):
        raise ValueError("should be true, false or the number of the first layers")
    return value


# All of an encoder, or its first layers alone, with all that lies before them
Frozen = Annotated[bool | int, PlainValidator(_all_or_some)]
# Gradient checkpointing: of each layer the input is kept, the rest is computed again
Recompute = Annotated[bool, AsBefore(False)]
LoRA = Annotated[LoRAConfig | None, AsBefore(None)]  # null: the encoder's own weights learn
Head = Annotated[HeadConfig | None, BeforeValidator(_head), AsBefore(None)]


class AudioConfig(OpenSection):
    """The audio encoder."""

    names_part = ("name", "audio encoder")
    for_the_part = frozenset({"width", "layers", "folder"})

    name: str = "cnn"
    # Channels of the first stage (cnn, default 32) or size of a token (transformer, default 128).
    width: Size = 32
    layers: Size = 4
    folder: Place | None = None  # of a pretrained model; its sizes are the folder's
    freeze: Frozen = False
    recompute: Recompute = False
    lora: LoRA = None
    head: Head = None  # null or "mlp": Linear-ReLU-Linear, as the paper has it

    @model_validator(mode="before")
    @classmethod
    def _width_of_its_kind(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("name") == "transformer":
            return {"width": 128, **values}
        return _placed("audio encoder", values)

    @model_validator(mode="after")
    def _folder_of_its_kind(self) -> AudioConfig:
        _check_folder("audio encoder", self.name, self.folder)
        _check_frozen(self.name, self)
        return self


class TextConfig(OpenSection):
    """The text encoder."""

    names_part = ("name", "text encoder")
    for_the_part = frozenset({"width", "layers", "vocabulary", "folder"})

    name: str = "transformer"
    width: Size = 128
    layers: Size = 2
    vocabulary: Size = 2000  # of the tokenizer trained on the captions
    folder: Place | None = None  # of a pretrained model; its sizes are the folder's
    freeze: Frozen = False
    recompute: Recompute = False
    lora: LoRA = None
    head: Head = None  # null or "mlp": Linear-ReLU-Linear, as the paper has it

    @model_validator(mode="before")
    @classmethod
    def _sizes_of_its_kind(cls, values: Any) -> Any:
        return _placed("text encoder", values)

    @model_validator(mode="after")
    def _folder_of_its_kind(self) -> TextConfig:
        _check_folder("text encoder", self.name, self.folder)
        _check_frozen(self.name, self)
        return self


class ModelConfig(Section):
    """The dual encoder: two encoders, each under a Linear-ReLU-Linear head to ``dim``."""

    audio: Annotated[AudioConfig, BeforeValidator(_by_name)] = AudioConfig()
    text: Annotated[TextConfig, BeforeValidator(_by_name)] = TextConfig()
    dim: Size = 256
    dropout: Share = 0.0  # with any, runs of one and of two workers differ as two seeds do
    start: Place | None = None  # a model folder whose weights the run starts from


class SVRConfig(OpenSection):
    """Support Vector Regularization (paper, section 3.2; METHOD in docs/method.md)."""

    names_part = ("radius", "radius")

    sides: Literal["text", "both"] = "both"
    radius: str = "dynamic"
    alpha: NonNegative = 1.0
    constraint: NonNegative = 0.01  # beta; not of the static radius
    initial: float = 0.5  # radius at the start; our choice
    width: Size = 128  # hidden width of the dynamic radius's predictor; our choice
    depth: Size = 2  # its hidden layers
    order: Literal["batch", "sorted", "pooled"] = (
        "sorted"  # of the negatives in its input; our choice
    )
    detach: bool = True  # similarities enter the predictor without gradient; our choice


class TermConfig(OpenSection):
    """A loss term that is added to the base loss: a part of one's own, with its keys."""

    names_part = ("name", "loss term")

    name: str
    weight: NonNegative = 1.0


class LossConfig(OpenSection):
    """The base loss, where ``svr`` is given its regularization, and terms of one's own.

    A number in it that is not learned may have a schedule (`supclap.number_schedule`) in its place.
    """

    names_part = ("name", "base loss")

    name: str = "infonce"
    # default: 0.07 (infonce), 0.1 (siglip, as published)
    temperature: Positive | None = None
    learn_temperature: bool | None = None  # default: no (infonce), yes (siglip)
    bias: Number = -10.0  # siglip's initial bias
    same_clip: Literal["mask", "target"] = "mask"  # captions of one clip in one batch; our choice
    svr: SVRConfig | None = None
    # How captions in several languages are learned from: every clip's in all of data.languages
    # (kcl), or in the first and another one (cacl); null: one caption in a language drawn at random
    multilingual: Literal["kcl", "cacl"] | None = None
    terms: Annotated[dict[str, TermConfig], BeforeValidator(_parts), AsBefore({})] = Field(
        default={}
    )

    @field_validator("terms")
    @classmethod
    def _labels(cls, terms: dict[str, TermConfig]) -> dict[str, TermConfig]:
        for label in terms:
            check_label(label)
        return terms

    @property
    def has_schedule(self) -> bool:
        """Whether a number of the loss changes over a run."""
        sections = [one for one in (self, self.svr, *self.terms.values()) if one is not None]
        return any(isinstance(value, NumberSchedule) for one in sections for _, value in one)

    @property
    def learns_temperature(self) -> bool:
        """Whether the temperature, and the bias beside a sigmoid, are learned."""
        if self.learn_temperature is not None:
            return self.learn_temperature
        own = registry.own("base loss", self.name)
        return (
            self.name == "siglip"
            if own is None
            else getattr(own.make, "partition", "") == "sigmoid"
        )


class ScheduleConfig(OpenSection):
    """A learning rate's schedule of one's own, with its keys."""

    names_part = ("name", "schedule")

    name: str


def _schedule(value: object) -> object:
    """A built-in schedule is its name alone, as it was before there were others."""
    if isinstance(value, Mapping) and value.keys() == {"name"}:
        value = value["name"]
    if isinstance(value, str | Mapping) and value not in ("constant", "cosine"):
        return ScheduleConfig.model_validate(_by_name(value))
    return value


ModelPart = Literal["audio", "text", "head"]  # the two encoders, and both heads


class OptimizerConfig(OpenSection):
    """Adam, AdamW or one of one's own; linear warm-up, then constant, cosine or one's own.

    ``weight_decay`` is what the two differ in: adam adds it to the gradient (L2 regularization,
    which Adam then scales as it scales gradients), adamw shrinks the weights by it apart from the
    gradient (decoupled).
    """

    names_part = ("name", "optimizer")
    for_the_part = frozenset({"lr", "betas", "weight_decay"})

    name: str = "adam"
    lr: PositiveFloat = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.0
    schedule: Annotated[
        Literal["constant", "cosine"] | ScheduleConfig, BeforeValidator(_schedule)
    ] = "cosine"
    warmup: NonNegativeFloat = 0.5  # epochs
    clip_norm: PositiveFloat | None = 1.0
    # The learnable scalars (temperature, SigLIP's bias, radius) and the radius predictor.
    loss_lr: PositiveFloat | None = None  # default: lr
    # Shares of lr for parts of the model: an encoder, or both heads; 1 where none is given
    lr_scale: Annotated[dict[ModelPart, PositiveFloat], AsBefore({})] = Field(default={})


class SelectConfig(Section):
    """Which epoch is the result. The paper's own protocol is ``split: test`` (a leak; say so)."""

    split: Literal["val", "test", "last"] = "val"
    metric: str = "t2a.R@1"


# What says of a DataConfig which clips there are; the rest is about training on them.
_PLACE = {"soundscenes": {"name", "clips", "seed", "seconds", "events"}}
_PLACE["collection"] = {"name", "folder"}
_PLACE[FEATURES] = {"name", "folder", "arrays"}


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
            default = DataConfig.model_validate(
                {"name": data.name, "folder": data.folder, "arrays": data.arrays, **data.own_keys}
            )
            place = _PLACE.get(data.name, _PLACE["collection"])
            for name in sorted(DataConfig.model_fields.keys() - place):
                if getattr(data, name) != getattr(default, name):
                    raise ValueError(
                        f"'{name}' has no meaning for a further test set of {data.name} (valid: "
                        f"{', '.join(sorted(place))})"
                    )
        return data


class MetricConfig(OpenSection):
    """A metric of one's own, with its keys."""

    names_part = ("name", "metric")

    name: str


# What may stand in the name of a metric that a run reports.
_LABEL = r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}"
_LABEL_SAID = "1 to 40 letters, digits, '-' and '_'"


class RunConfig(Section):
    """One training run."""

    data: Annotated[DataConfig, BeforeValidator(_by_name)] = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: Annotated[LossConfig, BeforeValidator(_by_name)] = LossConfig()
    optimizer: Annotated[OptimizerConfig, BeforeValidator(_by_name)] = OptimizerConfig()
    select: SelectConfig = SelectConfig()
    also: dict[str, AlsoConfig] = Field(default={})
    metrics: Annotated[dict[str, MetricConfig], BeforeValidator(_parts), AsBefore({})] = Field(
        default={}
    )
    epochs: PositiveInt = 10
    batch_size: Annotated[int, Field(ge=2, validate_default=True)] = 128  # global: over all workers
    chunk: PositiveInt | None = None  # clips per forward pass: exact accumulation (GradCache)
    # Where memory ends: the run ends, or goes on with half the clips per forward pass. Results note
    # it, and are the same up to rounding (and, with dropout, other masks)
    on_oom: Annotated[Literal["end", "chunk"], AsBefore("end")] = "end"
    # What a GPU's products are taken in (tf32), and encoders (bf16, fp16); losses are in float32
    precision: Literal["float32", "tf32", "bf16", "fp16"] = "float32"
    compile: Annotated[bool, AsBefore(False)] = False  # encoders in training, by torch.compile
    seed: Seed = 0
    checkpoint_steps: PositiveInt | None = None  # besides the one at the end of every epoch

    @model_validator(mode="before")
    @classmethod
    def _encoders_of_features(cls, values: Any) -> Any:
        """Names the encoders where the data are features: there is but one of each side."""
        if not isinstance(values, Mapping):
            return values
        data = _by_name(values.get("data"))
        name = data.get("name") if isinstance(data, Mapping) else getattr(data, "name", None)
        model = values.get("model") or {}
        if name != FEATURES or not isinstance(model, Mapping):
            return values
        sides = {side: _by_name(model.get(side) or {}) for side in ("audio", "text")}
        named = {
            side: {"name": FEATURES, **section} if isinstance(section, Mapping) else section
            for side, section in sides.items()
        }
        return {**values, "model": {**model, **named}}

    @field_validator("model")
    @classmethod
    def _encoders_for_it(cls, model: ModelConfig, info: ValidationInfo) -> ModelConfig:
        data = info.data.get("data")  # absent where it is wrong itself
        for side in ("audio", "text"):
            name = getattr(model, side).name
            if data is not None and (data.name == FEATURES) != (name == FEATURES):
                should = (
                    f"is '{name}', but the data are features, which are outputs of encoders; "
                    f"leave model.{side}.name out"
                    if data.name == FEATURES
                    else f"'{FEATURES}' goes with data: {{name: {FEATURES}}}, found '{data.name}'"
                )
                raise fault_of(side, should, name)
        return model

    @field_validator("loss")
    @classmethod
    def _languages_for_it(cls, loss: LossConfig, info: ValidationInfo) -> LossConfig:
        data = info.data.get("data")  # absent where it is wrong itself
        if data is None or loss.multilingual is None:
            return loss
        if len(data.languages) < 2:
            raise fault_of(
                "multilingual",
                f"should go with at least two data.languages, found {data.languages[0]} alone",
                loss.multilingual,
            )
        if data.pairs == "all":
            raise fault_of(
                "multilingual",
                "should go with data.pairs: one (a step takes a clip with several captions at "
                "once, while with pairs: all every caption is a pair of its own)",
                loss.multilingual,
            )
        return loss

    @field_validator("optimizer")
    @classmethod
    def _what_learns(cls, optimizer: OptimizerConfig, info: ValidationInfo) -> OptimizerConfig:
        model = info.data.get("model")  # absent where it is wrong itself
        for side in ("audio", "text"):
            frozen = model is not None and getattr(model, side).freeze is True
            if frozen and side in optimizer.lr_scale:
                wrong = f"has a share for {side}, whose encoder is frozen (model.{side}.freeze)"
                raise fault_of("lr_scale", wrong, optimizer.lr_scale)
        return optimizer

    @field_validator("metrics")
    @classmethod
    def _reported(cls, metrics: dict[str, MetricConfig]) -> dict[str, MetricConfig]:
        for label, section in metrics.items():
            if label != section.name and not re.fullmatch(_LABEL, label):
                raise ValueError(f"the name {shown(label)} is not {_LABEL_SAID}")
        if metrics:  # what they report is known once their classes are
            own_names(metrics)
        return metrics

    @field_validator("also")
    @classmethod
    def _names(cls, also: dict[str, AlsoConfig], info: ValidationInfo) -> dict[str, AlsoConfig]:
        for name in also:
            if not re.fullmatch(_LABEL, name):
                raise ValueError(f"the name {shown(name)} is not {_LABEL_SAID}")
        data = info.data.get("data")  # absent where it is wrong itself
        for name, further in also.items():
            if data is None or further.data is None:
                continue
            if (data.name == FEATURES) != (further.data.name == FEATURES):
                raise fault_of(
                    name, "features and sounds cannot be tested by one model", further.data.name
                )
        return also

    @field_validator("batch_size")
    @classmethod
    def _room_for_neighbours(cls, size: int, info: ValidationInfo) -> int:
        data = info.data.get("data")  # absent where it is wrong itself
        if data is not None and data.hard_negatives >= size:
            raise ValueError(f"should be more than data.hard_negatives, {data.hard_negatives}")
        return size


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
