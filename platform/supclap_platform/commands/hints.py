"""What somebody may have meant who typed a command or an option that there is not."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

import click

from supclap.errors import closest, nearest
from supclap.explaining import keys_of, nearest_keys
from supclap.wording import one_line
from supclap_platform.experiment.schema import ExperimentFile, Resources
from supclap_platform.experiment.supclap_method import SUPCLAP

# What is declared in an experiment file and set by no option.
FILE_KEYS = {name: f"'{name}'" for name in ExperimentFile.model_fields} | {"seed": "'seeds'"}
VALUE = "VALUE"  # stands for what was not given
# What other tools are asked for.
HABITS = {
    "resume": "the same command again goes on where it was",
    "device": "a GPU is used where there is one",
    "cuda": "a GPU is used where there is one",
}
VERY_CLOSE = 0.8
CLOSE = 0.6  # what an option must share with another one to be taken for it


def unknown_command(args: Sequence[str], known: Iterable[str]) -> str:
    """One line on a command that there is not; ``args`` are all words of the command line."""
    word = args[0]
    if word in ("help", "version"):
        of = f" {args[1]}" if word == "help" and len(args) > 1 and args[1] in set(known) else ""
        return f"no command '{word}'; did you mean 'supclap{of} --{word}'?"
    if word.endswith((".yaml", ".yml")):
        return f"no command '{word}'; did you mean 'supclap run {shlex.join(args)}'?"
    hint = nearest(word, known, CLOSE)
    return f"no command '{word}'{hint or ' (supclap --help lists them)'}"


def unknown_option(
    error: click.NoSuchOption, args: Sequence[str], group: click.Group, known: Iterable[str]
) -> str:
    """One line on an option that a command does not have.

    It may be a key of the configuration, which is given as ``--set KEY=VALUE``, a key of the
    experiment file, an argument, one of the command's own options in another spelling, or an option
    of other commands.
    """
    context = error.ctx
    assert context is not None, "a command has parsed its arguments"
    option, command = error.option_name, context.command
    name = option.lstrip("-").replace("-", "_")
    arguments = {str(one.name) for one in command.params if isinstance(one, click.Argument)}
    own = options_of(command)
    hints = []
    if name in arguments:
        hints.append(f"{name.upper()} is given without an option's name")
    elif "file" in arguments and name in FILE_KEYS:
        hints.append(f"it is a key of the experiment file: {FILE_KEYS[name]}")
    elif "--set" in own:
        hints += _settings(option, name, args, "file" in arguments)
    if name in HABITS:
        hints.append(HABITS[name])
    whole = next((word for word in args if f"-{word}" in own), option)  # -profile for --profile
    long = [one for one in own if one.startswith("--")]
    close = closest(whole.lstrip("-"), [one[2:] for one in long], VERY_CLOSE if hints else CLOSE)
    if close is not None:
        hints.insert(0, f"did you mean '--{close}'?")
    else:
        hints += _elsewhere(option, group, context, known)
    return (
        f"supclap {command.name} has no option {option}"
        f"{'; ' if hints else ''}{'; '.join(hints) or f' (supclap {command.name} --help)'}"
    )


def _elsewhere(
    option: str, group: click.Group, context: click.Context, known: Iterable[str]
) -> list[str]:
    """Which other commands have the option, if any."""
    others = [
        name
        for name in known
        if (found := group.get_command(context, name)) is not None and option in options_of(found)
    ]
    return [f"{option} is an option of supclap {', '.join(others)}"] if others else []


def wrong_usage(error: click.UsageError, name: str | None) -> str:
    """One line on arguments of the command ``name``: missing, too many, or of no valid value."""
    message = one_line(error.format_message()).rstrip(".")
    changes = re.findall(r"[\w.]+=[^\s)]+", message) if "extra argument" in message else []
    if changes and error.ctx is not None and "--set" in options_of(error.ctx.command):
        joined = " ".join(f"--set {change}" for change in changes)
        message += f"; to change the configuration give {joined}"
    return f"{message[0].lower()}{message[1:]} (supclap {name} --help)"


def options_of(command: click.Command) -> list[str]:
    """The long and short names of a command's options."""
    return [name for one in command.params if isinstance(one, click.Option) for name in one.opts]


def _settings(option: str, name: str, args: Sequence[str], of_file: bool) -> list[str]:
    """``give --set KEY=VALUE`` for an option that names a key of the configuration, or nothing."""
    keys = keys_of(SUPCLAP.config)
    if of_file:
        keys = [key for key in keys if key != "seed"]  # the file's seeds
        keys += [f"resources.{key}" for key in keys_of(Resources)]
    value = _value(option, args)
    found = [f"--set {key}={value}" for key in nearest_keys(name, keys)]
    return [f"give {' or '.join(found)}"] if found else []


def _value(option: str, args: Sequence[str]) -> str:
    """What the option was given, as it was typed."""
    for place, word in enumerate(args):
        if word.startswith(f"{option}="):
            return shlex.quote(word.partition("=")[2])
        if word == option and place + 1 < len(args) and not args[place + 1].startswith("--"):
            return shlex.quote(args[place + 1])
    return VALUE
