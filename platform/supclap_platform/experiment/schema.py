"""The keys of an experiment file. What they mean together is in `experiment`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import inf
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from supclap.explaining import explain
from supclap.patience import TIMEOUT
from supclap.section import Section, as_number
from supclap.wording import shown
from supclap_platform.experiment.keep import KEEP_ALL, KeepSection
from supclap_platform.experiment.prices import Prices, read_prices
from supclap_platform.experiment.search_section import SearchSection
from supclap_platform.experiment.seeds import Seeds

Overrides = dict[str, Any]  # a configuration's values, keys dotted or nested; `resources.…` too

FIGURES = ("drift", "radius", "similarity", "convergence")
MOST_CELLS = 100_000


def _plain(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", value):
        raise ValueError("expected a name of lower-case letters, digits, '.', '_' and '-'")
    return value


# Names of experiments and profiles: they become names of folders and arguments of commands.
Name = Annotated[str, AfterValidator(_plain)]


def _group(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9=%+-]{0,31}", value):
        raise ValueError("expected a name of letters, digits, '=', '%', '+' and '-', without a dot")
    return value


# Names of groups: a column and a claim put one before a metric, with a dot.
GroupName = Annotated[str, AfterValidator(_group)]


AUTO: Literal["auto"] = "auto"  # of a device what the cell needs, as far as that is known


def _devices(value: Any) -> float | Literal["auto"]:
    if value == AUTO:
        return AUTO
    try:
        number = as_number(value)
    except ValueError:
        number = None
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < inf:
        raise ValueError(
            f"expected a share of a device, a whole number of them, or '{AUTO}', found "
            f"{shown(str(value))}"
        )
    return float(number)


Devices = Annotated[float | Literal["auto"], PlainValidator(_devices)]


class Resources(Section):
    """What one cell is given. Only ``workers`` can change a result, and is in its signature."""

    workers: PositiveInt = 1  # data-parallel processes; the batch is split over them
    min_workers: PositiveInt | None = None  # elastic: go on with fewer, down to so many
    cpu: NonNegativeFloat = 1.0  # cores for each worker
    gpu: Devices = 0.0  # for each worker; a fraction shares a device, and `auto` finds one
    memory: PositiveInt | None = None  # MB for each worker, kept free by Ray's scheduler
    ray_train: bool = False  # under Ray Train even with one worker
    max_failures: NonNegativeInt = 2  # restarts after crashes before the cell counts as failed
    timeout: PositiveFloat = TIMEOUT.total_seconds()  # that workers wait for one that hangs

    @model_validator(mode="after")
    def _consistent(self) -> Resources:
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(f"'min_workers' is more than 'workers' ({self.workers})")
        if self.cpu == 0 and self.gpu == 0:
            raise ValueError("a worker without cpu and gpu can never be placed")
        if isinstance(self.gpu, str):
            return self
        if self.gpu > 1 and self.gpu % 1:
            raise ValueError("'gpu' is a share of one device, or a whole number of them")
        if self.workers > 1 and 0 < self.gpu <= 0.5:
            raise ValueError(
                f"{self.workers} workers with {self.gpu:g} of a device each may be given the same "
                "one, and NCCL refuses two workers on a device: give 'gpu: 1', or 'workers: 1'"
            )
        return self

    @property
    def devices(self) -> float:
        """Of each worker; of `auto` a whole one, which is the most that it gives."""
        return 1.0 if isinstance(self.gpu, str) else self.gpu

    @property
    def auto(self) -> bool:
        """Whether it may be given a part of a device. Several workers have one each: NCCL."""
        return self.gpu == AUTO and self.workers == 1 and not self.ray_train

    @property
    def fewest(self) -> int:
        """Workers without which it does not begin."""
        return self.min_workers or self.workers

    @property
    def one_worker(self) -> Resources:
        """What one of its workers is given."""
        return self.model_copy(update={"workers": 1, "min_workers": None})


class ResourceChanges(Section):
    """A part of Resources, laid over what the file says before."""

    workers: PositiveInt | None = None
    min_workers: PositiveInt | None = None
    cpu: NonNegativeFloat | None = None
    gpu: Devices | None = None
    memory: PositiveInt | None = None
    ray_train: bool | None = None
    max_failures: NonNegativeInt | None = None
    timeout: PositiveFloat | None = None


class InitSection(Section):
    """The stage that is trained once, and whose model the cells start from."""

    base: Overrides | None = None  # its own overrides of the base, e.g. {data.train: pretrain}
    variant: str | None = None  # or: the cells of this variant are the stage
    per_seed: bool = False  # one stage for each seed; else one for all, as pretrained weights are

    @model_validator(mode="after")
    def _one_of(self) -> InitSection:
        if (self.base is None) == (self.variant is None):
            raise ValueError("give either 'base' (overrides of the stage) or 'variant' (its name)")
        return self


class AblateSection(Section):
    """Leave one out: rows that lack one component each of a full configuration."""

    full: str | Overrides  # the name of a variant, or overrides: then a row "full" is added
    remove: dict[str, Overrides] | list[str]  # what each row changes, or keys to switch off

    @field_validator("remove")
    @classmethod
    def _not_empty(
        cls, value: dict[str, Overrides] | list[str]
    ) -> dict[str, Overrides] | list[str]:
        if not value:
            raise ValueError("expected at least one component to remove")
        return value


class PublishedSection(Section):
    """Numbers of the paper to stand beside ours."""

    table: str
    rows: dict[str, str] = Field(default={})  # our row: theirs, where the names differ
    columns: dict[str, str] = Field(default={})  # our column: theirs


def _published(value: object) -> object:
    return {"table": value} if isinstance(value, str) else value


Label = Annotated[str, Field(min_length=1, max_length=200)]


class ColumnSection(Section):
    """A column: its metric, and what stands at its head in the metric's place."""

    metric: str
    label: Label | None = None


class RowSection(Section):
    """A row that the table shows, and what stands in its name's place."""

    row: str
    label: Label | None = None


def _columns(value: object) -> object:
    """A name alone is short for ``{metric: NAME}``."""
    return _each(value, "metric")


def _rows(value: object) -> object:
    return _each(value, "row")


def _each(value: object, key: str) -> object:
    if not isinstance(value, list | tuple):
        return value
    return [{key: item} if isinstance(item, str) else item for item in value]


def _latex_label(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9:._-]{0,100}", value):
        raise ValueError("expected letters, digits, ':', '.', '_' and '-', such as tab:ablation")
    return value


class TableSection(Section):
    columns: Annotated[
        tuple[ColumnSection, ...], Field(min_length=1), BeforeValidator(_columns)
    ] = (ColumnSection(metric="t2a.R@1"), ColumnSection(metric="a2t.R@1"))
    # Those that the table shows, in its order; all, where there is no list.
    rows: Annotated[tuple[RowSection, ...] | None, Field(min_length=1), BeforeValidator(_rows)] = (
        None
    )
    label: Annotated[str, AfterValidator(_latex_label)] = ""  # LaTeX's \label
    published: Annotated[PublishedSection | None, BeforeValidator(_published)] = None


Inches = Annotated[float, Field(ge=1.5, le=40)]


class FigureSection(Section):
    """A figure, the rows that it draws, and its size in inches."""

    figure: str
    rows: Annotated[tuple[str, ...] | None, Field(min_length=1)] = None
    width: Inches | None = None
    height: Inches | None = None


def _figures(value: object) -> object:
    return _each(value, "figure")


# The smallest difference that matters.
Least = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(as_number)]


# What an hour of a core and of a device costs.
PricesOf = Annotated[Prices | None, PlainValidator(read_prices)]


class ProfileSection(Section):
    """What a scale changes: settings, seeds and resources, and the words for other data.

    Never the rows: what is asked stays the same.
    """

    about: str = ""
    base: Overrides = Field(default={})
    init: Overrides = Field(default={})  # on top of the stage's own overrides
    search: Overrides = Field(default={})  # trials, budget ...: in the place of the file's
    groups: dict[GroupName, Overrides | None] = Field(default={})  # on top of the file's; null: off
    seeds: Seeds | None = None
    resources: ResourceChanges = ResourceChanges()
    table: TableSection | None = None  # in the place of the file's
    claims: tuple[str, ...] | None = None  # in the place of the file's
    matters: dict[str, Least] | None = None  # in the place of the file's
    prices: PricesOf = None  # in the place of the file's
    keep: KeepSection | None = None  # in the place of the file's


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


class ExperimentFile(Section):
    """The top level of an experiment file."""

    experiment: Name
    about: str = ""
    include: Annotated[tuple[str, ...], Field(max_length=1_000)] = ()  # then it has nothing else
    # Files beside this one, or installed modules, whose parts the file names (`own_code`).
    code: Annotated[tuple[str, ...], Field(max_length=100), BeforeValidator(_one_or_more)] = ()
    method: str | None = None  # what trains the runs: FILE.py:CLASS; else `supclap`
    base: Overrides = Field(default={})
    variants: Annotated[dict[str, Overrides | None], Field(max_length=10_000)] = Field(default={})
    groups: dict[GroupName, Overrides | None] = Field(default={})
    grid: dict[str, list[Any]] | None = None
    ablate: AblateSection | None = None
    seeds: Seeds = (0,)
    # What every other row is compared with; or, for each such row, which ones.
    baseline: str | dict[str, list[str]] | None = None
    init: InitSection | None = None
    search: SearchSection | None = None
    resources: ResourceChanges = ResourceChanges()
    prices: PricesOf = None  # an hour of a core, and of a device by a part of its name
    keep: KeepSection = KEEP_ALL  # which models stay, and where
    table: TableSection = TableSection()
    claims: tuple[str, ...] = ()
    # By metric, in its own unit: the smallest difference that matters.
    matters: dict[str, Least] = Field(default={})
    figures: Annotated[tuple[FigureSection, ...], BeforeValidator(_figures)] = ()
    # null: the file has no part in the profile, and one that includes it leaves it out there.
    profiles: dict[Name, ProfileSection | None] = Field(default={})
    # Files with profiles for several experiments, which these lie under (`shared_profiles`).
    profiles_from: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = ()


def fault(error: ValidationError, model: type[BaseModel], unsettable: Iterable[str] = ()) -> str:
    """The first fault of a pydantic error in one line, in the words of a YAML file.

    ``unsettable``: as `explain` takes it.
    """
    line = re.sub(r" or instance of \w+", "", explain(error, model, unsettable))
    return line.replace("a valid dictionary", "a mapping").replace("a valid tuple", "a list")
