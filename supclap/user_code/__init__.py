"""The user's code: files that an experiment names, which bring parts of its own.

    code = load_code(["my_idea.py"], Path("experiments"))   # runs them; their parts are registered
    parts_of(config)       # {"my_idea.py: angle": "3f0c..."}: what of it a configuration depends on
    code.write(storage)    # <storage>/code/<hash>/, from where any process loads the same

Nothing here is called for an experiment that names no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from supclap.user_code.folder import WrongName, read_unit
from supclap.user_code.identity import parts_in, parts_of, version_of_object
from supclap.user_code.loading import forgotten, load_units, place_in_user_code
from supclap.user_code.travel import UserCode, fetch, needed_by

__all__ = [
    "UserCode",
    "WrongName",
    "fetch",
    "forgotten",
    "load_code",
    "needed_by",
    "parts_in",
    "parts_of",
    "place_in_user_code",
    "version_of_object",
]


def load_code(names: Sequence[str], beside: Path) -> UserCode:
    """Runs files, or installed modules, in this process, so that their parts are known.

    What is loaded and has not been edited since is not run again; what has been edited is, and what
    it had registered before is replaced.

    Args:
        names: files beside or below the experiment file ("my_idea.py"), or installed modules
            ("mylab.losses").
        beside: the folder of the experiment file.

    Raises:
        WrongName: an entry that names nothing that can be loaded.
        InputError: one line with file and line of the user's code: it cannot be read, it does not
            run to its end, or registers a name that is taken.
    """
    code = UserCode(tuple(read_unit(name, beside) for name in dict.fromkeys(names)))
    load_units(code.units)
    return code
