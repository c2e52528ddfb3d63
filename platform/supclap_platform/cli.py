"""The command line. Each command is imported only when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import click

from supclap.errors import INTERRUPTED, InputError

# name -> "module:attribute" of a click command.
COMMANDS = {
    "run": "supclap_platform.commands.run:run",
    "status": "supclap_platform.commands.status:status",
    "stop": "supclap_platform.commands.status:stop",
    "submit": "supclap_platform.commands.submit:submit",
    "doctor": "supclap_platform.commands.doctor:doctor",
    "sync": "supclap_platform.commands.sync:sync",
    "ui": "supclap_platform.commands.ui:ui",
    "plan": "supclap_platform.commands.plan:plan",
    "table": "supclap_platform.commands.table:table",
    "figures": "supclap_platform.commands.figures:figures",
    "report": "supclap_platform.commands.report:report",
    "promote": "supclap_platform.commands.promote:promote",
}
METHOD = "supclap.commands"  # holds the method's own commands, in its list COMMANDS


class Group(click.Group):
    """Commands by name; a mistake in the input is one line and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*COMMANDS, *_method()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        return _method().get(cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            click.echo(f"supclap: {error}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("supclap: interrupted", err=True)
            ctx.exit(INTERRUPTED)


def _method() -> dict[str, click.Command]:
    commands: Sequence[click.Command] = importlib.import_module(METHOD).COMMANDS
    return {str(command.name): command for command in commands}


@click.group(cls=Group)
@click.version_option(package_name="supclap")
def main() -> None:
    """SupCLAP: audio-text contrastive learning under test. Start with `supclap run FILE`."""
