"""`supclap table`: table and verdicts of an experiment, from the ledger; nothing is trained."""

from __future__ import annotations

import click

from supclap_platform.commands.options import Asked, experiment_options
from supclap_platform.commands.stale import end_if_stale
from supclap_platform.ledger.snapshot import Snapshot
from supclap_platform.results.conclusion import conclude_parts
from supclap_platform.results.formats import FORMATS


@click.command()
@experiment_options
@click.option("--mixed", is_flag=True, help="Allow several code versions or data, and say so.")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="txt",
    show_default=True,
    help="What is printed; every format is written.",
)
def table(asked: Asked, mixed: bool, form: str) -> None:
    """Print FILE's table and the verdicts on its claims; write both in every format."""
    experiment, ledger = asked.open(writing=True)
    concluded = conclude_parts(experiment, Snapshot(ledger), mixed)
    places: list[str] = []
    if experiment.parts:
        from supclap_platform.results.summary import summarise

        summary = summarise(experiment, concluded)
        click.echo(summary.text(form), nl=False)
        places = summary.write(ledger.experiment_folder(experiment.name))
    else:
        click.echo(concluded[0].text(form), nl=False)
    for one in concluded:
        places += one.write(ledger.experiment_folder(one.name))
    for place in places:
        click.echo(f"wrote {place}", err=True)
    end_if_stale((one.table for one in concluded), mixed)
