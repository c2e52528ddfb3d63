"""`supclap report`: an experiment as one page, from what the ledger holds; nothing is trained."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from supclap.storage import Folder
from supclap_platform.commands.options import Asked, experiment_options
from supclap_platform.commands.stale import end_if_stale
from supclap_platform.ledger.snapshot import Snapshot
from supclap_platform.mirror.store import choose_store
from supclap_platform.results.conclusion import conclude_parts


@click.command()
@experiment_options
@click.option("--mixed", is_flag=True, help="Allow several code versions or data, and say so.")
@click.option(
    "--tracking-uri",
    help="MLflow store whose runs the page leads to; default: as for `supclap run`.",
)
@click.option("--open", "show", is_flag=True, help="Show the page in the browser.")
def report(asked: Asked, mixed: bool, tracking_uri: str | None, show: bool) -> None:
    """Write FILE's report, one HTML page that needs nothing but itself, from finished runs."""
    from supclap_platform.results.report import REPORT, build_report

    experiment, ledger = asked.open(writing=True)
    store = choose_store(tracking_uri, ledger.storage)
    folder = ledger.experiment_folder(experiment.name)
    seen = Snapshot(ledger)
    concluded = conclude_parts(experiment, seen, mixed)
    folder.write(REPORT, build_report(experiment, seen, mixed, store, concluded=concluded))
    click.echo(folder.uri_of(REPORT))
    if show:
        click.launch(folder.uri_of(REPORT) if folder.local else _copied(folder, REPORT))
    end_if_stale((one.table for one in concluded), mixed)


def _copied(folder: Folder, page: str) -> str:
    """The page as a file of this machine, which a browser opens; it stays until the system clears
    its temporary files."""
    path = Path(tempfile.mkdtemp(prefix="supclap-report-")) / page
    path.write_bytes(folder.read(page))
    return str(path)
