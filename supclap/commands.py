"""The method's own commands; the platform's command line shows them beside its own."""

from __future__ import annotations

import click

from supclap.data.prepare_command import prepare_command
from supclap.train_command import train_command
from supclap.use_commands import embed_command, evaluate_command, search_command

COMMANDS: list[click.Command] = [
    train_command,
    prepare_command,
    evaluate_command,
    embed_command,
    search_command,
]
