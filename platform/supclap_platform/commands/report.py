"""`supclap report`: an experiment as one page, from what the ledger holds; nothing is trained."""

from __future__ import annotations

from pathlib import Path

import click

from supclap_platform.commands.options import experiment_options
from supclap_platform.experiment.reader import load_experiment, parse_changes
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.mirror.store import choose_store
from supclap_platform.search.winner import with_winner


@click.command()
@experiment_options
@click.option("--mixed", is_flag=True, help="Allow several code versions or data, and say so.")
@click.option(
    "--tracking-uri",
    help="MLflow store whose runs the page leads to; default: as for `supclap run`.",
)
@click.option("--open", "show", is_flag=True, help="Show the page in the browser.")
def report(
    file: Path,
    profile: str,
    changes: tuple[str, ...],
    storage: str,
    mixed: bool,
    tracking_uri: str | None,
    show: bool,
) -> None:
    """Write FILE's report, one HTML page that needs nothing but itself, from finished runs."""
    from supclap_platform.results.report import REPORT, build_report

    experiment = load_experiment(file, profile, parse_changes(changes))
    ledger = open_ledger(storage, writing=True)
    store = choose_store(tracking_uri, ledger.storage)
    if experiment.search is not None:
        experiment = with_winner(experiment, ledger)
    folder = ledger.experiment_folder(experiment.name)
    folder.write(REPORT, build_report(experiment, ledger, mixed, store))
    click.echo(f"{folder.uri}/{REPORT}")
    if show:
        click.launch(f"{folder.uri}/{REPORT}")
