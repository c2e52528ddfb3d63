"""`supclap table`: table and verdicts of an experiment, from the ledger; nothing is trained."""

from __future__ import annotations

import click

from supclap_platform.commands.options import Asked, experiment_options
from supclap_platform.commands.stale import end_if_stale
from supclap_platform.results.conclusion import conclude
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
    if experiment.parts:
        from supclap_platform.results.summary import summarise_parts

        summary = summarise_parts(experiment, ledger, mixed)
        concluded = [(part.name, part.conclusion) for part in summary.parts]
        click.echo(summary.text(form), nl=False)
        places = summary.write(ledger.experiment_folder(experiment.name))
    else:
        concluded = [(experiment.name, conclude(experiment, ledger, mixed))]
        click.echo(concluded[0][1].text(form), nl=False)
        places = []
    for name, found in concluded:
        places += found.write(ledger.experiment_folder(name))
    for place in places:
        click.echo(f"wrote {place}", err=True)
    end_if_stale(experiment, ledger, mixed)
