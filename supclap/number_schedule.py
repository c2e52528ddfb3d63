"""A number that changes over a run: ``{from: 1, to: 0, until: 0.5}`` in the place of a number."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Union

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
    model_validator,
)
from pydantic_core import InitErrorDetails

from supclap.section import Section, fault_of, unknown_keys

# A word of Python's own cannot stand before a colon in a class.
_WORD: dict[str, Any] = {"from": (float, ...)}
_From: type[Section] = create_model("_From", __base__=Section, **_WORD)

Share = Annotated[float, Field(ge=0, le=1)]


class NumberSchedule(_From):  # type: ignore[valid-type, misc]
    """A number as a function of progress, the share of a run's steps that are done, and nothing
    else: so a resumed run, and any number of workers, have the same.

    It is ``from`` up to ``since``, ``to`` beyond ``until``, and between them on a line (linear) or
    on half a cosine, flat at both ends. A step goes from one to the other at ``until``.
    """

    to: float
    until: Share = 1.0
    since: Share = 0.0
    shape: Literal["linear", "cosine", "step"] = "linear"

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            unknown = {key: one for key, one in values.items() if key not in cls.model_fields}
            if unknown:
                raise unknown_keys(unknown, cls.model_fields)
        return values

    @model_validator(mode="after")
    def _in_order(self) -> NumberSchedule:
        if self.shape == "step" and self.since:
            raise fault_of("since", "has no meaning for shape: step, which is at until", self.since)
        if self.shape != "step" and self.since >= self.until:
            raise fault_of("until", f"should be more than since, {self.since:g}", self.until)
        return self

    def at(self, progress: float) -> float:
        """The number when a share ``progress`` of the run's steps, from 0 to 1, is done."""
        first, last = float(getattr(self, "from")), self.to
        if progress >= self.until:
            return last
        if self.shape == "step" or progress <= self.since:
            return first
        share = (progress - self.since) / (self.until - self.since)
        if self.shape == "cosine":
            share = 0.5 * (1 - math.cos(math.pi * share))
        return first + share * (last - first)


def with_schedule(of: Any) -> Any:
    """The type of a key that takes what ``of`` takes, or a schedule both of whose ends it takes."""
    return Annotated[Union[of, NumberSchedule], WrapValidator(_reader(of))]  # noqa: UP007


def _reader(of: Any) -> Callable[[Any, ValidatorFunctionWrapHandler], Any]:
    numbers: TypeAdapter[Any] = TypeAdapter(of, config=ConfigDict(allow_inf_nan=False))

    def read(value: Any, _: ValidatorFunctionWrapHandler) -> Any:
        # Not as a union, whose faults would name its branches.
        if not isinstance(value, Mapping | NumberSchedule):
            return numbers.validate_python(value)
        schedule = NumberSchedule.model_validate(value)
        for end in ("from", "to"):
            _check_end(numbers, end, getattr(schedule, end))
        return schedule

    return read


def _check_end(numbers: TypeAdapter[Any], end: str, value: float) -> None:
    try:
        numbers.validate_python(value)
    except ValidationError as error:
        faults = [
            InitErrorDetails(type=fault["type"], loc=(end,), input=value, ctx=fault.get("ctx", {}))
            for fault in error.errors()
        ]
        raise ValidationError.from_exception_data(end, faults) from None


# The keys of this package's own losses that may have one.
Number = Annotated[float | NumberSchedule, WrapValidator(_reader(float))]
NonNegative = Annotated[float | NumberSchedule, WrapValidator(_reader(NonNegativeFloat))]
Positive = Annotated[float | NumberSchedule, WrapValidator(_reader(PositiveFloat))]
