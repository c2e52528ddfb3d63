"""A file that was written here and is read back: believed only where it is what was written.

Files are damaged by disks, by copies that were cut off and by hands. So each is read as if a
stranger had written it: a regular file of a bounded size, JSON of bounded depth, every value of
its type and in its range. What types cannot see, such as one digit for another, the *seal* does: a
hash over the values, kept among them. Files of earlier versions have none, and are read without.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from supclap.errors import InputError
from supclap.regular import NotAFile
from supclap.storage import Folder
from supclap.wording import one_line

SEAL = "seal"
LARGEST = 2**28  # bytes of a file of JSON; the longest that is written has some millions
AGAIN = "remove it and run again"

Count = Annotated[int, Field(ge=0, lt=2**53)]
Positive = Annotated[int, Field(ge=1, lt=2**53)]
Duration = Annotated[float, Field(ge=0, lt=1e12, allow_inf_nan=False)]  # seconds; also since 1970

Kind = TypeVar("Kind")


class Damaged(InputError):
    """A file that is not what was written here: which, how, and what to do about it."""

    def __init__(self, where: str, how: str, remedy: str = AGAIN) -> None:
        how = one_line(how, 300)
        super().__init__(f"{where}: damaged ({how}); {remedy}")
        self.where, self.how, self.remedy = where, how, remedy

    def __reduce__(self) -> tuple[type[Damaged], tuple[str, str, str]]:
        return type(self), (self.where, self.how, self.remedy)  # to another process and back


def sealed(values: Mapping[str, Any], indent: int | None = None, sort: bool = True) -> bytes:
    """Values as a file of JSON, with their seal; ``sort``: by their keys."""
    whole = {**values, SEAL: _seal(values)}
    return (json.dumps(whole, ensure_ascii=False, indent=indent, sort_keys=sort) + "\n").encode()


def read_values(folder: Folder, name: str, remedy: str = AGAIN) -> dict[str, Any]:
    """The values of a file of JSON, without their seal.

    Raises:
        FileNotFoundError: there is no such file.
        Damaged: it is not what was written.
    """
    return parse_values(read_content(folder, name, remedy), folder.uri_of(name), remedy)


def read_content(folder: Folder, name: str, remedy: str = AGAIN) -> bytes:
    """A file's bytes. Raises as `read_values` does."""
    try:
        return folder.read(name, LARGEST)
    except FileNotFoundError:
        raise
    except OSError as error:
        if folder.local is None and not isinstance(error, NotAFile):
            raise  # a storage that is away says nothing of the file
        how = error.strerror or str(error)
        raise Damaged(folder.uri_of(name), f"cannot be read: {how}", remedy) from None


def parse_values(content: bytes, where: str, remedy: str = AGAIN) -> dict[str, Any]:
    """As `read_values`, of a file's content."""
    try:
        values: Any = from_json(content)  # of a bounded depth, unlike Python's own
    except ValueError as error:
        raise Damaged(where, f"not JSON: {error}", remedy) from None
    if not isinstance(values, dict):
        raise Damaged(where, "not a mapping", remedy)
    seal = values.pop(SEAL, None)
    if seal is not None and seal != _seal(values):
        raise Damaged(where, "altered: its values do not give its seal", remedy)
    return values


def as_kind(values: Mapping[str, Any], kind: type[Kind], where: str, remedy: str = AGAIN) -> Kind:
    """Values as a dataclass, each of its field's type and range; what it does not know is left out.

    Numbers in quotation marks are no numbers. Raises Damaged.
    """
    try:
        made: Any = kind
        found: Kind = _adapter(made).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise Damaged(where, fault_of(error), remedy) from None
    return found


def plain(one: object) -> dict[str, Any]:
    """A dataclass as values for `sealed`; thousands within it cost little, unlike by `asdict`."""
    kind: Any = type(one)
    found: dict[str, Any] = _adapter(kind).dump_python(one)
    return found


def fault_of(error: ValidationError) -> str:
    """The first thing that is wrong, with its place."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(step) for step in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def check_percentages(metrics: Mapping[str, float], where: str, remedy: str = AGAIN) -> None:
    """Raises Damaged where a metric lies where its definition lets no value lie."""
    for name, value in metrics.items():
        last = name.rpartition(".")[2]
        share = last.startswith(("R@", "mAP")) or last.endswith("accuracy")
        rank = last in ("medR", "meanR")
        if (share and not 0 <= value <= 100 + 1e-6) or (rank and not 1 <= value < math.inf):
            raise Damaged(where, f"metrics.{name}: {value} cannot be", remedy)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _seal(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
