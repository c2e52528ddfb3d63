"""The user's code: files that an experiment names, which bring parts of its own.

    code = load_code(["my_idea.py"], Path("experiments"))   # runs them; their parts are registered
    parts_of(config)       # {"my_idea.py: angle": "3f0c..."}: what of it a configuration depends on
    code.write(storage)    # <storage>/code/<hash>/, from where any process loads the same

Nothing here is called for an experiment that names no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from supclap.storage import Folder
from supclap.user_code.folder import INSTALLED, WrongName, is_file, read_unit
from supclap.user_code.identity import parts_in, parts_of, version_of_object
from supclap.user_code.loading import forgotten, load_units, place_in_user_code
from supclap.user_code.travel import INDEX, UserCode, fetch, needed_by, read_folder, stored

__all__ = [
    "INSTALLED",
    "UserCode",
    "WrongName",
    "fetch",
    "forgotten",
    "is_file",
    "load_code",
    "load_given",
    "load_units",
    "needed_by",
    "parts_in",
    "parts_of",
    "place_in_user_code",
    "read_code",
    "stored",
    "version_of_object",
]


def load_code(names: Sequence[str], beside: Path) -> UserCode:
    """Runs files, or installed modules, in this process, so that their parts are known.

    What is loaded and has not been edited since is not run again; what has been edited is, and what
    it had registered before is replaced.

    Args:
        names: as `read_code` takes them.

    Raises:
        WrongName: an entry that names nothing that can be loaded.
        InputError: one line with file and line of the user's code: it cannot be read, it does not
            run to its end, or registers a name that is taken.
    """
    return read_code(names, beside).load()


def read_code(names: Sequence[str], beside: Path) -> UserCode:
    """The sources of files or installed modules, with all that they import from their own folders;
    nothing is run.

    Args:
        names: files beside or below the experiment file ("my_idea.py"), or installed modules
            ("mylab.losses").
        beside: the folder of the experiment file.

    Raises:
        WrongName: an entry that names nothing that can be loaded.
        InputError: a source that cannot be read as Python, with its line.
    """
    return UserCode(tuple(read_unit(name, beside) for name in dict.fromkeys(names)))


def load_given(given: Sequence[str | Path]) -> UserCode:
    """Runs what ``--code`` or ``code=`` gives: files anywhere, installed modules, or folders that a
    storage keeps (``<storage>/code/<hash>``). Raises InputError as `load_code` does."""
    code = UserCode()
    for one in map(str, given):
        folder = Folder.at(one)
        if folder.exists(INDEX):
            code |= read_folder(folder)
        elif is_file(one):
            code |= read_code([Path(one).name], Path(one).parent)
        else:
            code |= read_code([one], Path())
    return code.load()
