"""The command line: what there is, in groups. Each command is imported only when it is called."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem

from supclap.errors import FULL, INTERRUPTED, InputError
from supclap.interruption import interruptible
from supclap.output import lasting_output
from supclap.waiting import shown
from supclap.wording import one_line, spelled

COMPLETION = 'eval "$(_SUPCLAP_COMPLETE=bash_source supclap)"'


@dataclass(frozen=True)
class Entry:
    """A command as the help shows it, before anything of it is imported."""

    place: str  # "module:attribute" of a click command
    about: str
    example: str


FILE = "experiments/quickstart.yaml"
GROUPS: dict[str, dict[str, Entry]] = {
    "Experiments": {
        "plan": Entry(
            "supclap_platform.commands.plan:plan",
            "what FILE would run, what is done, and how long it takes",
            f"supclap plan {FILE} --set epochs=5",
        ),
        "run": Entry(
            "supclap_platform.commands.run:run",
            "train what FILE still lacks, then print its table",
            f"supclap run {FILE} --set epochs=5",
        ),
        "status": Entry(
            "supclap_platform.commands.status:status",
            "how far FILE is, from any shell",
            f"supclap status {FILE} --watch",
        ),
        "stop": Entry(
            "supclap_platform.commands.status:stop",
            "stop every run of FILE; each can go on later",
            f"supclap stop {FILE}",
        ),
        "promote": Entry(
            "supclap_platform.commands.promote:promote",
            "a search's best settings as a new file; a winner's model to MLflow",
            "supclap promote experiments/search_svr.yaml --top 3 --as best.yaml",
        ),
    },
    "Results": {
        "table": Entry(
            "supclap_platform.commands.table:table",
            "FILE's table, and a verdict on each claim",
            f"supclap table {FILE} --format md",
        ),
        "figures": Entry(
            "supclap_platform.commands.figures:figures",
            "FILE's figures, as SVG, PDF and PNG",
            f"supclap figures {FILE}",
        ),
        "report": Entry(
            "supclap_platform.commands.report:report",
            "FILE's results as one HTML page",
            f"supclap report {FILE} --open",
        ),
        "compare": Entry(
            "supclap_platform.commands.compare:compare",
            "B against A: better, worse or equal, with an exit code",
            f"supclap compare {FILE}@code=earlier {FILE} --within 0.5",
        ),
        "export": Entry(
            "supclap_platform.commands.export:export",
            "FILE's results as Parquet or CSV, each column explained",
            f"supclap export {FILE} --to results",
        ),
        "ui": Entry(
            "supclap_platform.commands.ui:ui",
            "FILE's table and every run, in MLflow's own interface",
            f"supclap ui {FILE} --port 5001",
        ),
        "sync": Entry(
            "supclap_platform.commands.sync:sync",
            "bring MLflow up to what the storage holds",
            "supclap sync --tracking-uri http://mlflow:5000",
        ),
        "clean": Entry(
            "supclap_platform.commands.clean:clean",
            "what nothing needs any more, with sizes; removed with --yes",
            "supclap clean --only checkpoints --only orphans",
        ),
    },
    "Cluster": {
        "submit": Entry(
            "supclap_platform.commands.submit:submit",
            "run FILE on a Ray cluster, from outside",
            f"supclap submit {FILE} --address http://head:8265",
        ),
        "jobs": Entry(
            "supclap_platform.commands.jobs:jobs",
            "what was submitted, and how far it is",
            "supclap jobs --address http://head:8265",
        ),
        "logs": Entry(
            "supclap_platform.commands.jobs:logs",
            "what a job has said, or says until it ends",
            "supclap logs --follow --address http://head:8265",
        ),
        "cancel": Entry(
            "supclap_platform.commands.jobs:cancel",
            "end a job; what is finished is kept",
            "supclap cancel quickstart-3f2a91 --address http://head:8265",
        ),
        "work": Entry(
            "supclap_platform.commands.work:work",
            "train cells of FILE beside any number of others, without Ray",
            f"supclap work {FILE}",
        ),
        "doctor": Entry(
            "supclap_platform.commands.doctor:doctor",
            "whether this machine can do what is asked of it",
            "supclap doctor --address auto",
        ),
    },
    "One model": {
        "check": Entry(
            "supclap.check_command:check_command",
            "whether the parts of a file keep what training relies on",
            "supclap check experiments/ideas/hard_negatives.py",
        ),
        "train": Entry(
            "supclap.train_command:train_command",
            "train one model and measure it",
            "supclap train --set loss.svr.radius=static --set epochs=3 --out runs/first",
        ),
        "evaluate": Entry(
            "supclap.use_commands:evaluate_command",
            "measure a model, beside chance level",
            "supclap evaluate runs/first/model --data soundscenes",
        ),
        "embed": Entry(
            "supclap.use_commands:embed_command",
            "embed the sounds below a folder, to search them",
            "supclap embed SOUNDS --model runs/first/model --out sounds.parquet",
        ),
        "search": Entry(
            "supclap.use_commands:search_command",
            "the sounds that fit a text best",
            'supclap search sounds.parquet "a dog barks twice"',
        ),
    },
    "Data": {
        "prepare": Entry(
            "supclap.data.prepare_command:prepare_command",
            "read a collection to the format that training opens",
            "supclap prepare clotho --source CLOTHO --out data/clotho",
        ),
        "data": Entry(
            "supclap.data.overlap_command:data_group",
            "which clips two collections share: by id, recording, content, near",
            "supclap data overlap data/wavcaps data/clotho --splits-b test",
        ),
    },
}
COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}


class Group(click.Group):
    """Commands by name; a mistake in the input is one line and exit code 2, and a wait is shown."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        command.epilog = f"\b\nExample:\n  {entry.example}"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from supclap_platform.commands.hints import unknown_command

            raise InputError(unknown_command(args, COMMANDS))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with lasting_output(), interruptible():
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> Any:
        given = list(ctx.args)
        try:
            with shown():
                return super().invoke(ctx)
        except InputError as error:
            _refuse(ctx, str(error))
        except click.NoSuchOption as error:
            from supclap_platform.commands.hints import unknown_option

            _refuse(ctx, unknown_option(error, given, self, COMMANDS))
        except click.UsageError as error:
            from supclap_platform.commands.hints import wrong_usage

            _refuse(ctx, wrong_usage(error, ctx.invoked_subcommand))
        except KeyboardInterrupt:
            click.echo("supclap: interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except OSError as error:  # the system's complaint: a full disk, no rights, a dead disk
            _refuse(ctx, _complaint(error))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Groups, from the list alone: importing every command takes seconds."""
        width = max(map(len, COMMANDS))
        for title, entries in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(n.ljust(width), e.about) for n, e in entries.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands, from the list alone, and this command's own options."""
        found = [
            CompletionItem(name, help=entry.about)
            for name, entry in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)


def _complaint(error: OSError) -> str:
    place = f"{spelled(str(error.filename))}: " if error.filename else ""
    more = "; make room, and the same command goes on" if error.errno in FULL else ""
    return f"{place}{one_line(str(error.strerror or error))}{more}"


def _refuse(ctx: click.Context, message: str) -> None:
    click.echo(f"supclap: {message}", err=True)
    ctx.exit(2)


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"\b\nCompletion, in ~/.bashrc (or zsh_source, fish_source):\n  {COMPLETION}",
)
@click.version_option(package_name="supclap")
def main() -> None:
    """SupCLAP: audio-text contrastive learning under test. Start with `supclap run FILE`."""
