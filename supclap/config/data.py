"""The section `data`: which clips and captions a run sees."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, model_validator

from supclap import registry
from supclap.config.values import (
    FEATURES,
    LANGUAGES,
    Language,
    Place,
    Seconds,
    Share,
    Size,
    by_label,
    by_name,
    one_or_more,
)
from supclap.later_keys import AsBefore
from supclap.open_section import OpenSection
from supclap.section import Section, Seed


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
    events: Annotated[tuple[Place, ...] | None, BeforeValidator(one_or_more)] = None
    # In what order an epoch takes its pairs; null: a permutation
    order: Annotated[OrderConfig | None, BeforeValidator(by_name), AsBefore(None)] = None
    augment: Annotated[dict[str, AugmentConfig], BeforeValidator(by_label), AsBefore({})] = Field(
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
