"""What a run can be asked for: one list of options, for `run` and for `submit`, which passes them
on. What only one of the two takes stands in its own file: `run` has the machine's Ray (--address,
--cpus), `submit` the job (--address of its server, --env, --dry-run, --no-wait)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click
from click.core import ParameterSource

from supclap.secrets import has_secret
from supclap_platform.commands.only import only_options
from supclap_platform.commands.stale import rerun_stale_option

STORAGE, STUDIES = "SUPCLAP_STORAGE", "SUPCLAP_STUDY_STORAGE"
TRACKING = "MLFLOW_TRACKING_URI"
PLACES = {"storage": STORAGE, "tracking_uri": TRACKING, "study_storage": STUDIES}
"""The parameters that name places, each with the variable that a run reads in its stead."""


def run_options(command: Any) -> Any:
    """All but FILE's own options (`options.file_options`) and --storage. The command must be a
    `RerunCommand`."""
    for option in (
        click.option(
            "--study-storage",
            metavar="URL",
            help="Database of a search's study, as SQLAlchemy names it; default: "
            f"${STUDIES}, else in the storage.",
        ),
        rerun_stale_option,
        click.option(
            "--mixed", is_flag=True, help="Allow a table of several code versions, and say so."
        ),
        click.option(
            "--tracking-uri",
            help=f"MLflow store or server; default: ${TRACKING} where the run is, else SQLite in "
            "a storage that is a folder.",
        ),
        only_options,
    ):
        command = option(command)
    return command


def passed_on(context: click.Context, kept: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """What `supclap run` is to be given elsewhere: words of its command line, and variables.

    Everyone who sees a cluster's jobs, or its list of processes, reads the words; so a place that
    holds a secret goes into a variable.

    Args:
        kept: parameters that are this command's own.
    """
    words: list[str] = []
    variables: dict[str, str] = {}
    for option in context.command.params:
        name = str(option.name)
        if not isinstance(option, click.Option) or name in kept:
            continue
        if context.get_parameter_source(name) is ParameterSource.DEFAULT:
            continue
        value = context.params[name]
        if name in PLACES and has_secret(str(value)):
            variables[PLACES[name]] = value
        else:
            words += _words(option, value)
    return words, variables


def _words(option: click.Option, value: Any) -> Iterator[str]:
    """An option as it is written: in one word with its value, which may begin with a dash."""
    flag = option.opts[0]
    if option.is_flag:
        yield from [flag] if value else []
    elif option.multiple:
        yield from (f"{flag}={one}" for one in value)
    elif value is not None:
        yield f"{flag}={value}"


def places_of(
    parameters: Mapping[str, Any], env: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """The places that were given: the parameter, the option that named it, and the place.

    Args:
        env: the variables that are set by ``--env``.
    """
    for name, variable in PLACES.items():
        if parameters.get(name):
            yield name, f"--{name.replace('_', '-')}", parameters[name]
        if env.get(variable):
            yield name, f"--env {variable}", env[variable]
