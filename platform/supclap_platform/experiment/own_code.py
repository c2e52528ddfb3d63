"""`code` and `method`: the files of the user's that an experiment file names, run before it is
checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from supclap.document import Document, Key
from supclap.errors import InputError
from supclap.user_code import UserCode, WrongName, read_code
from supclap.wording import shown
from supclap_platform.experiment.schema import ExperimentFile

KEY, METHOD = "code", "method"
Announce = Callable[[UserCode], None]
Kept = Callable[[str], UserCode]  # what the last run of an experiment has kept, by its name


def _silent(code: UserCode) -> None:
    pass


def _nothing(experiment: str) -> UserCode:
    return UserCode()


@dataclass(frozen=True)
class CodePolicy:
    """What may be done with the code that an experiment file names.

    Attributes:
        run: whether it may be run; else a file that names some is refused.
        announce: is given what will be run, before it is.
        kept: where to look for an entry that does not lie beside the file.
        broken: is given the fault of code that cannot be loaded, where what is kept is loaded in
            its place, to show results; None: the fault is raised.
    """

    run: bool = True
    announce: Announce = _silent
    kept: Kept = _nothing
    broken: Callable[[str], None] | None = None


def load_code_of(document: Document, file: ExperimentFile, policy: CodePolicy) -> UserCode:
    """Runs what a file names under `code` and `method`; nothing where it names nothing.

    Raises:
        InputError: it may not be run, it is not there, or it does not run.
    """
    named = list(_named(document, file))
    if not named:
        return UserCode()
    if not policy.run:
        names = ", ".join(dict.fromkeys(name for _, name in named))
        raise document.error(named[0][0], f"--no-code: this file runs code of its own ({names})")
    try:
        return _loaded(document, file, named, policy)
    except InputError as error:
        wanted = tuple(name for _, name in named)
        kept = UserCode() if policy.broken is None else _kept(file, policy).only(wanted)
        if policy.broken is None or {*kept.names} != {*wanted}:
            raise
        policy.broken(str(error))
        return kept.load()


def _loaded(
    document: Document,
    file: ExperimentFile,
    named: Sequence[tuple[Key, str]],
    policy: CodePolicy,
) -> UserCode:
    code = UserCode()
    for key, name in named:
        try:
            code |= _found(name, document.path.parent, file.experiment, policy)
        except WrongName as error:
            raise document.error(key, f"{key[0]}: {error}") from None
    policy.announce(code)
    return code.load()


def _kept(file: ExperimentFile, policy: CodePolicy) -> UserCode:
    try:
        return policy.kept(file.experiment)
    except InputError:  # what is wrong with the file's own code says more
        return UserCode()


def _named(document: Document, file: ExperimentFile) -> Iterator[tuple[Key, str]]:
    """What a file names to be run, and where."""
    listed = isinstance(document.values.get(KEY), list)
    for place, name in enumerate(file.code):
        yield ((KEY, str(place)) if listed else (KEY,)), name
    if file.method is not None:
        source, _, name = file.method.rpartition(":")
        if not source or not name.isidentifier():
            raise document.error(
                (METHOD,),
                f"method: {shown(file.method)}: expected FILE.py:CLASS, such as my_loop.py:Mine, "
                "or MODULE:CLASS",
            )
        yield (METHOD,), source


def _found(name: str, beside: Path, experiment: str, policy: CodePolicy) -> UserCode:
    """An entry beside the file, or else as the experiment's last run has kept it."""
    try:
        return read_code([name], beside)
    except WrongName as error:
        try:
            kept = policy.kept(experiment).only((name,))
        except InputError as damaged:
            raise WrongName(f"{error}, and what the storage keeps of it: {damaged}") from None
        if not kept:
            raise
        return kept
