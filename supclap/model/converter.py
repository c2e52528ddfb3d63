"""How a converter of published files is called: ``python -m supclap.model.NAME PATH ...``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from supclap.errors import InputError


def converted(
    convert: Callable[..., Iterable[str]], usage: str, arguments: Sequence[str] | None = None
) -> int:
    """Calls a converter with the paths that the command line gives, and prints what it reports.

    Args:
        usage: the module, and a word for each path.
        arguments: by default those of this process.

    Returns:
        The exit code: 0, or 2 with one line that says why.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != len(usage.split()) - 1:
        print(f"usage: python -m {usage}", file=sys.stderr)
        return 2
    try:
        for line in convert(*(Path(one) for one in given)):
            print(line)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0
