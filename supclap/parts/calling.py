"""Calls of somebody else's part: what goes wrong in one is a line that names the part's own."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import CodeType, TracebackType
from typing import Any

from supclap.errors import InputError
from supclap.memory import asked_for
from supclap.wording import gist


class PartError(InputError):
    """A mistake in a part: file and line of its source, the part, and what is wrong.

    kind, label: of the part.
    """

    def __init__(self, message: str, kind: str = "", label: str = "") -> None:
        super().__init__(message)
        self.kind, self.label = kind, label


@contextmanager
def calling(part: Any, what: str) -> Iterator[None]:
    """Within it a part's method is called; an exception becomes a `PartError` of one line.

    Too little memory is no mistake of the part's, and stays what it is.

    Args:
        part: the part, or its class.
        what: the method's name, such as "forward".
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, PartError) or _is_no_mistake(error):
            raise
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        where = _raised_at(part, error.__traceback__) or defined_at(part, what)
        raise _fault(part, f"{where}: {named(part)}: {kind}{gist(error, 1_000)}") from None


def _is_no_mistake(error: Exception) -> bool:
    """Whether there is no memory, or PyTorch has stopped a computation that it repeats for the
    backward pass."""
    return type(error).__module__ == "torch.utils.checkpoint" or asked_for(error) is not None


def guarded(part: Any, what: str) -> AbstractContextManager[None]:
    """`calling` for a part of somebody else's alone: a fault of a built-in one is the program's."""
    return calling(part, what) if is_own(part) else nullcontext()


def is_own(part: Any) -> bool:
    """Whether a part, or its class, is somebody else's and not of this package."""
    made = part if isinstance(part, type) else type(part)
    return not made.__module__.startswith("supclap.")


def wrong(part: Any, what: str, message: str) -> PartError:
    """The error for what a part's method has given, at the line where the method is defined."""
    return _fault(part, f"{defined_at(part, what)}: {named(part)}: {what} {message}")


def named(part: Any) -> str:
    """A part as messages name it: ``loss term 'angle'``."""
    return f"{getattr(part, 'kind', 'part')} '{_label(part)}'"


def _label(part: Any) -> str:
    made = part if isinstance(part, type) else type(part)
    label = vars(part).get("_label") or vars(made).get("_label")  # and none of a class above
    return str(label or made.__name__)


def _fault(part: Any, message: str) -> PartError:
    return PartError(message, getattr(part, "kind", ""), _label(part))


def defined_at(part: Any, what: str) -> str:
    """File and line of a method, or of the class where the method is nobody's source."""
    made = part if isinstance(part, type) else type(part)
    own = next((vars(one)[what] for one in _own_classes(made) if what in vars(one)), None)
    code = _code(own)
    if code is not None:
        return f"{_short(code.co_filename)}:{code.co_firstlineno}"
    try:
        return f"{_short(inspect.getfile(made))}:{inspect.getsourcelines(made)[1]}"
    except (OSError, TypeError):  # made in an interpreter
        return made.__name__


def _raised_at(part: Any, trace: TracebackType | None) -> str | None:
    """The last line of a traceback that stands in a file of the part's class."""
    made = part if isinstance(part, type) else type(part)
    own = {code.co_filename for code in map(_code, _own_functions(made)) if code is not None}
    lines = [f for f in traceback.extract_tb(trace) if f.filename in own]
    return f"{_short(lines[-1].filename)}:{lines[-1].lineno}" if lines else None


def _own_functions(made: type) -> Iterator[Any]:
    for one in _own_classes(made):
        yield from vars(one).values()


def _own_classes(made: type) -> Iterator[type]:
    """A part's class, and those between it and its protocol."""
    return (one for one in made.__mro__ if hasattr(one, "kind") and "kind" not in vars(one))


def _code(function: Any) -> CodeType | None:
    function = getattr(function, "__func__", function)
    code = getattr(inspect.unwrap(function) if callable(function) else None, "__code__", None)
    return code if isinstance(code, CodeType) else None


def _short(file: str) -> str:
    """A file's path, from the current folder where it lies below it."""
    below = os.path.relpath(file) if os.path.isabs(file) else file
    return file if below.startswith(os.pardir) else below
