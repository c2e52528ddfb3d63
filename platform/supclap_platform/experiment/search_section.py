"""The keys of a `search` section. What they mean together is in `search.search`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from supclap.section import Section, Seed

Overrides = dict[str, Any]
Scalar = bool | int | float | str | None
Direction = Literal["maximize", "minimize"]

FIRST_SEED = 1000  # of a search; an experiment's own count from 0, and the two must not meet
MOST_TRIALS = 100_000
MOST_CHOICES = 1_000
KINDS = ("uniform", "log_uniform", "integer", "choice", "fixed")

Range = tuple[float, float]
Whole = tuple[int, int]


class ParameterSection(Section):
    """One parameter: exactly one of the five kinds, and when it applies."""

    uniform: Range | None = None
    log_uniform: Range | None = None
    integer: Whole | None = None
    choice: Annotated[tuple[Scalar, ...], Field(max_length=MOST_CHOICES)] | None = None
    fixed: Scalar = None
    log: bool = False  # of an integer: even in its logarithm
    steps: PositiveInt | None = None  # values of a range that the sampler "grid" tries; default 5
    when: dict[str, Scalar | list[Scalar]] = Field(default={})

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if kind in self.model_fields_set)

    @model_validator(mode="after")
    def _consistent(self) -> ParameterSection:
        given = [kind for kind in KINDS if kind in self.model_fields_set]
        if len(given) != 1:
            found = ", ".join(given) or "none"
            raise ValueError(f"give exactly one of {', '.join(KINDS)}; found {found}")
        value = getattr(self, given[0])
        if given[0] == "choice":
            if not value:
                raise ValueError("'choice' has no values")
            for place, item in enumerate(value):
                same = (other for other in value[:place] if _one_setting(item, other))
                other = next(same, ...)
                if other is not ...:
                    raise ValueError(f"'choice' names one setting twice: {other!r} and {item!r}")
        elif given[0] != "fixed":
            if value is None or not value[0] < value[1]:
                raise ValueError(f"'{given[0]}' is an empty range; give [low, high], low < high")
            if (given[0] == "log_uniform" or self.log) and value[0] <= 0:
                raise ValueError("a logarithmic range lies above zero; use 'uniform' otherwise")
        if self.log and given[0] != "integer":
            raise ValueError("'log' goes with 'integer'; of real numbers there is log_uniform")
        if self.steps is not None and given[0] in ("choice", "fixed"):
            raise ValueError("'steps' goes with a range")
        return self


def _one_setting(one: Scalar, other: Scalar) -> bool:
    """Whether two values are one: ``1`` is ``1.0``, but no ``true``."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _parameter(value: object) -> object:
    """Lets ``[a, b]`` stand for ``{choice: [a, b]}``."""
    return {"choice": value} if isinstance(value, list) else value


def _by_name(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _objectives(value: object) -> object:
    """Lets ``val.t2a.R@1``, or a list of such names, stand for a mapping to their directions."""
    if isinstance(value, str):
        return {value: None}
    if isinstance(value, list):
        if not all(isinstance(name, str) for name in value) or len(set(value)) < len(value):
            raise ValueError("expected names of metrics, each once")
        return dict.fromkeys(value)
    return value


def _seed_list(value: object) -> object:
    """``2`` stands for ``[1000, 1001]``."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= 100:
            raise ValueError("expected 1 to 100 seeds for each trial")
        return list(range(FIRST_SEED, FIRST_SEED + value))
    return value


def _distinct(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(value)) < len(value):
        raise ValueError("a seed stands twice")
    return value


class SamplerSection(Section):
    """What proposes the next setting."""

    name: Literal["tpe", "random", "grid", "cmaes", "gp"] = "tpe"
    startup: NonNegativeInt = 10  # trials at random (start points count) before it models
    multivariate: bool = True  # tpe: parameters together, those of one condition as a group
    seed: NonNegativeInt = 0


class PrunerSection(Section):
    """What stops a trial early."""

    name: Literal["asha", "median", "none"] = "asha"
    grace: PositiveInt = 1  # epochs that every trial gets
    factor: Annotated[int, Field(ge=2)] = 3  # asha: one in so many goes on at each rung
    startup: NonNegativeInt = 4  # trials that are never stopped, so that there is a measure


class BudgetSection(Section):
    """Bounds of the whole search, over all runs of the command."""

    hours: PositiveFloat | None = None  # of wall time
    worker_hours: PositiveFloat | None = None  # of all workers together
    money: PositiveFloat | None = None  # by the file's prices, in their currency


class SearchSection(Section):
    """A search: which settings, measured by what, by which means, and for how long."""

    space: Annotated[
        dict[str, Annotated[ParameterSection, BeforeValidator(_parameter)]], Field(min_length=1)
    ]
    base: Overrides = Field(default={})  # what every trial changes of the file's base
    objective: Annotated[
        dict[str, Direction | None], Field(min_length=1, max_length=4), BeforeValidator(_objectives)
    ] = Field(default={"val.t2a.R@1": None})
    trials: Annotated[PositiveInt, Field(le=MOST_TRIALS)] = 50
    seeds: Annotated[
        tuple[Seed, ...],
        Field(min_length=1, max_length=100, validate_default=True),
        BeforeValidator(_seed_list),
        AfterValidator(_distinct),
    ] = Field(default=1)  # type: ignore[arg-type]
    sampler: Annotated[SamplerSection, BeforeValidator(_by_name)] = SamplerSection()
    pruner: Annotated[PrunerSection, BeforeValidator(_by_name)] = PrunerSection()
    budget: BudgetSection = BudgetSection()
    start: tuple[dict[str, Scalar], ...] = ()  # settings to try first; {} is the base's own
    warm_start: bool = False  # learn from finished cells of the storage that lie in the space
    winner: str = "winner"  # the row of the best setting in the table and in claims
    controls: dict[str, Overrides] = Field(default={})  # rows: the winner but for these changes
    study: str | None = None  # its name in the study storage; default: that of the experiment


def merged(file: Mapping[str, Any] | None, profile: Mapping[str, Any]) -> dict[str, Any] | None:
    """A file's section with a profile's on top: key by key, whole values below."""
    return None if file is None else {**file, **profile}
