"""`supclap figures`: an experiment's figures, from what the ledger holds; nothing is trained."""

from __future__ import annotations

from pathlib import Path

import click

from supclap.errors import InputError
from supclap_platform.commands.options import experiment_options
from supclap_platform.experiment.reader import load_experiment, parse_changes
from supclap_platform.experiment.schema import FIGURES
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.results.tables import build_table
from supclap_platform.search.winner import with_winner


@click.command()
@experiment_options
@click.option("--mixed", is_flag=True, help="Allow several code versions or data.")
def figures(file: Path, profile: str, changes: tuple[str, ...], storage: str, mixed: bool) -> None:
    """Draw FILE's figures as SVG, PDF and PNG, from the finished runs."""
    from supclap_platform.results.figures import draw_figures, figure_files

    experiment = load_experiment(file, profile, parse_changes(changes))
    ledger = open_ledger(storage, writing=True)
    experiment = with_winner(experiment, ledger)
    parts = [part for part in experiment.parts or (experiment,) if part.figures]
    if not parts:
        raise InputError(f"{file}: declares no figures (figures: [{', '.join(FIGURES)}])")
    for part in parts:
        build_table(part, ledger, mixed)  # refuses a mixture, which no curve would show
    for part in parts:
        drawings = draw_figures(part, ledger)
        folder = ledger.experiment_folder(part.name)
        for name, content in figure_files(drawings).items():
            folder.write(name, content)
            click.echo(f"{folder.uri}/{name}")
        for drawing in drawings:
            for note in drawing.notes:
                click.echo(note, err=True)
            if not drawing.files:
                click.echo(f"{drawing.name}: nothing to draw yet", err=True)
