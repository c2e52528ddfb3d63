"""`supclap sync`: brings an MLflow store up to the ledger, from whatever state it is in."""

from __future__ import annotations

from pathlib import Path

import click

from supclap.errors import InputError
from supclap.progress import activity
from supclap.secrets import masked
from supclap.wording import counted
from supclap_platform.commands.options import command_ledger, histories_of, storage_option
from supclap_platform.ledger.history import Histories
from supclap_platform.mirror.mirror import Mirror
from supclap_platform.mirror.store import choose_store
from supclap_platform.mirror.tracking import reason


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@storage_option
@click.option(
    "--tracking-uri",
    help="MLflow server or database; also $MLFLOW_TRACKING_URI. Default: mlflow.db in the storage.",
)
def sync(files: tuple[Path, ...], storage: str, tracking_uri: str | None) -> None:
    """Show the experiments of FILEs, or all, in MLflow as the ledger has them.

    Nothing is trained and nothing is shown twice: run it as often as you like. An empty store ends
    with the same content as one that was there from the start.
    """
    ledger = command_ledger(storage)
    store = choose_store(tracking_uri, ledger.storage)
    if store is None:
        raise InputError(
            f"storage '{ledger.storage.uri}' is not on this machine, so MLflow's store "
            "cannot lie in it: give --tracking-uri sqlite:///FILE, or that of an MLflow server"
        )
    histories = histories_of(files, ledger)
    if not histories:
        click.echo(f"{ledger.storage.uri}: no experiment was run in this storage yet")
        return
    for history in histories:
        mirror = Mirror(ledger, store, history, thorough=True)
        what = f"bringing MLflow up to date on {history.experiment}"
        cells = len(Histories(ledger).cells(history))
        try:
            with activity(what, cells, "cells") as shown:
                mirror.shown = shown
                done = mirror.wait_and_catch_up()
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"MLflow at {store.shown} cannot be used: {masked(reason(error), store.uri)}"
            ) from error
        if not done:
            raise InputError(f"{history.experiment}: another process is mirroring it; try again")
        click.echo(f"{history.experiment}, {history.profile}: {counted(cells, 'cell')}, up to date")
    click.echo(f"MLflow: {store.shown}")
