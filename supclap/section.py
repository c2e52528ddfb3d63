"""Section: what every part of a configuration is; immutable, and strict about its keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from supclap.scalars import read_number

Seed = Annotated[int, Field(ge=0, lt=2**63)]  # PyTorch's take less than 2**64


class Section(BaseModel):
    """A part of a configuration: immutable, and a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _number(cls, value: Any, info: ValidationInfo) -> Any:
        """A number's field takes no yes or no, and a text as `supclap.scalars` reads it."""
        assert info.field_name is not None
        kinds = _numeric(cls, info.field_name)
        return as_number(value) if kinds else value


@cache
def _numeric(section: type[Section], field: str) -> bool:
    """Whether what a field holds are numbers and nothing else (or null, or their schedule)."""
    found = set(leaves(section.model_fields[field].annotation))
    kinds = {one for one in found if not (isinstance(one, type) and issubclass(one, BaseModel))}
    return bool(kinds & {int, float}) and kinds <= {int, float, NoneType}


def leaves(annotation: Any) -> Iterator[Any]:
    """The types at the ends of an annotation: of ``tuple[int, ...] | None`` int and None."""
    if get_origin(annotation) is Annotated:
        yield from leaves(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType, tuple, list):
        for argument in get_args(annotation):
            if argument is not ...:
                yield from leaves(argument)
    else:
        yield annotation


def as_number(value: Any) -> Any:
    """A text as the number that it is, in lists too; all else as it is. Raises ValueError for yes
    and no."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    if isinstance(value, str):  # quoted, or from an environment variable
        number = read_number(value.strip())
        return value if number is None else number
    if isinstance(value, list | tuple):
        return [as_number(item) for item in value]
    return value


def fault_of(key: str, message: str, value: object) -> ValidationError:
    """To be raised by the validator of a section about one of its keys."""
    kind = PydanticCustomError("inconsistent", message)
    return ValidationError.from_exception_data(
        key, [InitErrorDetails(type=kind, loc=(key,), input=value)]
    )


def unknown_keys(given: Mapping[str, Any], valid: Iterable[str]) -> ValidationError:
    """To be raised by the validator of a section about keys that it has not."""
    context = {"message": "unknown key", "valid": sorted(valid)}
    kind = PydanticCustomError("unknown_key", "{message}", context)
    faults = [InitErrorDetails(type=kind, loc=(str(k),), input=one) for k, one in given.items()]
    return ValidationError.from_exception_data("section", faults)
