"""Options that several commands share, and what they name."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from supclap.document import read_document
from supclap.errors import InputError, nearest
from supclap.overrides import parse_changes
from supclap.user_code import UserCode
from supclap.waiting import clear
from supclap_platform.commands.now import as_of_now
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.own_code import CodePolicy
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.settings import Lacking
from supclap_platform.ledger.history import Histories, History
from supclap_platform.ledger.kept_code import kept_in
from supclap_platform.ledger.ledger import Ledger, open_ledger
from supclap_platform.ledger.names import EXPERIMENTS
from supclap_platform.running.garbage import rare_collections


@dataclass(frozen=True)
class Asked:
    """The experiment that a command is asked for, and where its results are."""

    file: Path
    profile: str
    changes: tuple[str, ...]
    storage: str
    no_code: bool = False

    def experiment(self, announce: bool = False, lacking: Lacking | None = None) -> Experiment:
        """The experiment of the file. Raises InputError as `load_experiment` does.

        Args:
            announce: print which files of the user's are run, before they are. Where it is not
                asked for, results are only shown: code that is broken by now does not hide them.
            lacking: as `load_experiment` takes it; what is to be run is asked after then too.
        """
        shows = not announce and lacking is None
        broken = _show_broken if shows else None
        policy = CodePolicy(not self.no_code, kept=kept_in(self.storage), broken=broken)
        if announce:
            policy = replace(policy, announce=show_code)
        changes = parse_changes(self.changes)
        return load_experiment(self.file, self.profile, changes, policy, lacking)

    def open(self, writing: bool = False, announce: bool = False) -> tuple[Experiment, Ledger]:
        """The experiment as it is by now, and the ledger: with its search's winner where there is
        one, and with as many seeds of each row as its claims need.

        Args:
            writing: also try to write to the storage.
            announce: as `experiment` takes it.

        Raises:
            InputError: the file or the storage cannot be used.
        """
        experiment = self.experiment(announce)
        ledger = self.ledger(writing)
        return as_of_now(experiment, ledger)[0], ledger

    def ledger(self, writing: bool = False) -> Ledger:
        """The ledger; see `command_ledger`."""
        return command_ledger(self.storage, writing)


def show_code(code: UserCode) -> None:
    """Prints which files of the user's are about to be run."""
    files = ", ".join(
        f"{place} (as {source} keeps it)" if source else place for place, source in code.origins
    )
    clear()
    click.echo(f"runs your code: {files}; --no-code refuses")


def _show_broken(fault: str) -> None:
    clear()
    click.echo(f"supclap: {fault}; shown with the code of the last run, as it is kept", err=True)


def command_ledger(storage: str, writing: bool = False) -> Ledger:
    """`open_ledger` for a command: when it ends, each damaged file that it has met is named."""
    ledger = open_ledger(storage, writing)

    def say() -> None:
        for damage in ledger.damage.values():
            click.echo(f"supclap: {damage}", err=True)

    click.get_current_context().call_on_close(say)
    return ledger


def histories_of(files: Sequence[Path], ledger: Ledger) -> list[History]:
    """What the ledger knows of the runs of these files' experiments, or of all where none is named.

    Raises InputError for a file whose experiment was not run in this storage.
    """
    histories = Histories(ledger)
    if not files:
        return list(histories.all())
    found = []
    known = ledger.storage.names(EXPERIMENTS)
    for file in files:
        name = str(read_document(file).values.get("experiment"))
        if name not in known:
            raise InputError(
                f"{file}: the experiment '{name}' was not run in {ledger.storage.uri}"
                f"{nearest(name, known)}"
            )
        found += histories.of(name)
    return found


def file_options(command: Any, required: bool = True) -> Any:
    """FILE, --profile, --set and --no-code: which experiment."""
    command = click.option(
        "--no-code", is_flag=True, help="Refuse a FILE that names code of its own to run."
    )(command)
    command = click.option(
        "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Override the file's base."
    )(command)
    command = click.option(
        "--profile", default="laptop", show_default=True, help="One of the file's profiles."
    )(command)
    return click.argument("file", type=click.Path(path_type=Path), required=required)(command)


def storage_option(command: Any) -> Any:
    """--storage: where all results are."""
    return click.option(
        "--storage",
        envvar="SUPCLAP_STORAGE",
        default="supclap-results",
        show_default=True,
        help="Folder or URI (s3://, gs://) of all results; also $SUPCLAP_STORAGE.",
    )(command)


def experiment_options(command: Any) -> Any:
    """FILE, --profile, --set, --no-code and --storage, given to the command as one `Asked`."""

    @functools.wraps(command)
    def called(
        file: Path,
        profile: str,
        changes: tuple[str, ...],
        storage: str,
        no_code: bool,
        **others: Any,
    ) -> Any:
        with rare_collections():
            return command(Asked(file, profile, changes, storage, no_code), **others)

    return file_options(storage_option(called))
