"""`supclap export`: an experiment's results as Parquet or CSV, with a schema."""

from __future__ import annotations

from pathlib import Path

import click

from supclap.given_paths import HerePath
from supclap.wording import counted
from supclap_platform.commands.options import Asked, experiment_options


@click.command()
@experiment_options
@click.option(
    "--to",
    "place",
    type=HerePath(),
    required=True,
    metavar="DIR",
    help="Folder to write; an export is replaced.",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(["parquet", "csv"]),
    multiple=True,
    default=["parquet"],
    show_default=True,
    help="Of the files (repeatable: both).",
)
def export(asked: Asked, place: Path, formats: tuple[str, ...]) -> None:
    """Write FILE's runs, epochs, queries, trials, verdicts and table as files; train nothing."""
    from supclap_platform.results.exporting import SCHEMA, check_place
    from supclap_platform.results.exporting import export as write
    from supclap_platform.results.opened import Results

    target = place.expanduser()
    check_place(target)
    experiment, ledger = asked.open()
    # What is damaged is named when the command ends, as by any other.
    results = Results(experiment, ledger, say=lambda line: None)
    counts = write(results, target, list(dict.fromkeys(formats)))
    for name, number in counts.items():
        files = ", ".join(f"{name}.{ending}" for ending in dict.fromkeys(formats))
        click.echo(f"{counted(number, 'row'):>14}  {target}/{files}")
    click.echo(f"{'columns':>14}  {target}/{SCHEMA}")
