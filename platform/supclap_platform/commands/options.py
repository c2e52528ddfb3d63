"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


def experiment_options(command: Any) -> Any:
    """FILE, --profile, --set and --storage: what every command on an experiment file takes."""
    command = click.option(
        "--storage",
        envvar="SUPCLAP_STORAGE",
        default="supclap-results",
        show_default=True,
        help="Folder or URI (s3://, gs://) of all results; also $SUPCLAP_STORAGE.",
    )(command)
    command = click.option(
        "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Override the file's base."
    )(command)
    command = click.option(
        "--profile", default="laptop", show_default=True, help="One of the file's profiles."
    )(command)
    return click.argument("file", type=click.Path(path_type=Path))(command)
