"""`seeds`: so many of them, or as many as it takes until the claims are decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
    field_validator,
)

from supclap.section import Section, Seed, as_number

MOST_SEEDS = 1_000
LEAST_SEEDS = 2  # at a look: one seed has no spread
MOST_LOOKS = 50
FIRST_LOOKS = (3, 5, 8, 12, 18, 27, 40)  # each half as many again; beyond, so on
AT_MOST = FIRST_LOOKS[-1]

# How the chance of an error is spent over the looks: the same at each of them; by the share of the
# seeds that are there; or so that the bounds of all looks are about alike.
Spending = Literal["even", "linear", "pocock"]


@dataclass(frozen=True)
class Looks:
    """The moments at which claims are judged, in numbers of seeds, rising; how the error is spent
    over them."""

    seeds: tuple[int, ...]
    spending: Spending | Literal["middle"]  # the last: of the question "is it negligible?" alone
    # What the file says that each seed has of its own; no part of the design.
    vary: tuple[str, ...] = field(default=(), compare=False)

    @property
    def at_most(self) -> int:
        return self.seeds[-1]

    @property
    def text(self) -> str:
        """In words."""
        looks = ", ".join(map(str, self.seeds))
        own = f", each with its own {' and '.join(self.vary)}" if self.vary else ""
        return f"until decided, looks at {looks}, error spent {self.spending}{own}"


def default_looks(at_most: int) -> tuple[int, ...]:
    """3, 5, 8, 12, 18, 27, 40, 60 and so on, as far as they are below ``at_most``; then that."""
    looks = list(FIRST_LOOKS)
    while looks[-1] < at_most:
        looks.append(looks[-1] * 3 // 2)
    return (*(look for look in looks if look < at_most), at_most)


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


class UntilDecided(Section):
    """Seeds are added, look by look, to the rows that an undecided claim needs."""

    until: Literal["decided"]
    looks: tuple[int, ...] | None = None
    at_most: int | None = None
    spending: Spending = "even"
    # What each seed has of its own, besides first weights and the order of the data (`varying`).
    vary: Annotated[tuple[str, ...] | None, BeforeValidator(_one_or_more)] = None

    @field_validator("looks")
    @classmethod
    def _rising(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is None:
            return None
        if not 1 <= len(value) <= MOST_LOOKS:
            raise ValueError(f"expected 1 to {MOST_LOOKS} numbers of seeds")
        for before, after in pairwise(value):
            if after <= before:
                raise ValueError(f"looks must rise, and {after} stands after {before}")
        if value[0] < LEAST_SEEDS:
            raise ValueError(f"the first look needs {LEAST_SEEDS} seeds, as one has no spread")
        if value[-1] > MOST_SEEDS:
            raise ValueError(f"expected at most {MOST_SEEDS} seeds")
        return value

    @field_validator("at_most")
    @classmethod
    def _fits(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is None or "looks" not in info.data:
            return value
        looks = info.data["looks"]
        first = FIRST_LOOKS[0] if looks is None else looks[0]
        if value < first:
            raise ValueError(
                f"below the first look, at {first} seeds; raise it, or give lower 'looks'"
            )
        if looks is not None and value != looks[-1]:
            raise ValueError(
                f"the last of 'looks' is at {looks[-1]} seeds, and no other number can be the "
                "most; leave 'at_most' out"
            )
        if value > MOST_SEEDS:
            raise ValueError(f"expected at most {MOST_SEEDS} seeds")
        return value

    @property
    def asked(self) -> Looks:
        """The looks that this asks for."""
        seeds = self.looks or default_looks(self.at_most or AT_MOST)
        return Looks(seeds, self.spending, self.vary or ())


def _seed_list(value: object) -> object:
    """``5`` stands for ``[0, 1, 2, 3, 4]``."""
    if isinstance(value, bool):
        raise ValueError("expected a number of seeds or a list of them")
    if isinstance(value, int):
        if not 1 <= value <= MOST_SEEDS:
            raise ValueError(f"expected 1 to {MOST_SEEDS} seeds")
        return list(range(value))
    return value


def _distinct(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(value) > MOST_SEEDS:
        raise ValueError(f"expected at most {MOST_SEEDS} seeds")
    twice = next((seed for seed in value if value.count(seed) > 1), None)
    if twice is not None:
        raise ValueError(f"the seed {twice} stands twice")
    return value


_FIXED: TypeAdapter[tuple[int, ...]] = TypeAdapter(
    Annotated[
        tuple[Seed, ...],
        Field(min_length=1),
        BeforeValidator(_seed_list),
        AfterValidator(_distinct),
    ]
)


def _is_number(value: object) -> bool:
    return isinstance(as_number(value), int | float)


def _either(value: Any) -> tuple[int, ...] | UntilDecided:
    if isinstance(value, Mapping):
        return UntilDecided.model_validate(value)
    if not isinstance(value, int | float | list | tuple) and not _is_number(value):
        raise ValueError(
            "expected a number of seeds, a list of them, or {until: decided, at_most: 40}"
        )
    return _FIXED.validate_python(as_number(value))


Seeds = Annotated[tuple[int, ...] | UntilDecided, PlainValidator(_either)]
