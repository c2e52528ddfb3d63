"""`supclap figures`: an experiment's figures, from what the ledger holds; nothing is trained."""

from __future__ import annotations

import click

from supclap.errors import InputError
from supclap_platform.commands.options import Asked, experiment_options
from supclap_platform.commands.stale import end_if_stale
from supclap_platform.experiment.schema import FIGURES
from supclap_platform.results.tables import build_table


@click.command()
@experiment_options
@click.option("--mixed", is_flag=True, help="Allow several code versions or data.")
def figures(asked: Asked, mixed: bool) -> None:
    """Draw FILE's figures as SVG, PDF and PNG, from the finished runs."""
    from supclap_platform.results.figures import draw_figures, figure_files

    experiment, ledger = asked.open(writing=True)
    parts = [part for part in experiment.parts or (experiment,) if part.figures]
    if not parts:
        raise InputError(f"{asked.file}: declares no figures (figures: [{', '.join(FIGURES)}])")
    # A table refuses a mixture, which no curve would show.
    tables = [build_table(part, ledger, mixed) for part in parts]
    for part in parts:
        drawings = draw_figures(part, ledger)
        folder = ledger.experiment_folder(part.name)
        for name, content in figure_files(drawings).items():
            folder.write(name, content)
            click.echo(folder.uri_of(name))
        for drawing in drawings:
            for note in drawing.notes:
                click.echo(note, err=True)
            if not drawing.files:
                click.echo(f"{drawing.name}: nothing to draw yet", err=True)
    end_if_stale(tables, mixed)
