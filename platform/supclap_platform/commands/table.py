"""`supclap table`: table and verdicts of an experiment, from the ledger; nothing is trained."""

from __future__ import annotations

from pathlib import Path

import click

from supclap_platform.commands.options import experiment_options
from supclap_platform.experiment.reader import load_experiment, parse_changes
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.results.conclusion import conclude
from supclap_platform.results.formats import FORMATS
from supclap_platform.search.winner import with_winner


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
def table(
    file: Path, profile: str, changes: tuple[str, ...], storage: str, mixed: bool, form: str
) -> None:
    """Print FILE's table and the verdicts on its claims; write both in every format."""
    experiment = load_experiment(file, profile, parse_changes(changes))
    ledger = open_ledger(storage, writing=True)
    experiment = with_winner(experiment, ledger)
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
