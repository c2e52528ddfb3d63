"""`supclap submit`: the same experiment file, run on a Ray cluster as a job."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

from supclap.errors import INTERRUPTED, InputError
from supclap.overrides import parse_changes
from supclap.secrets import has_secret, without_password
from supclap_platform.commands.options import file_options
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.running.submit import Request, connect, follow
from supclap_platform.running.submit import submit as submit_job


@click.command()
@file_options
@click.option("--address", required=True, help="The cluster's dashboard, such as http://head:8265.")
@click.option("--storage", help="Shared place of all results; default: the cluster's own setting.")
@click.option("--tracking-uri", help="MLflow server; default: the cluster's own setting.")
@click.option(
    "--env", "variables", multiple=True, metavar="NAME=VALUE", help="Set a variable in the job."
)
@click.option("--no-wait", is_flag=True, help="Return when the job is accepted.")
def submit(
    file: Path,
    address: str,
    profile: str,
    changes: tuple[str, ...],
    storage: str | None,
    tracking_uri: str | None,
    variables: tuple[str, ...],
    no_wait: bool,
) -> None:
    """Run FILE on the cluster at --address: upload the code, start, follow, exit as it exits."""
    env = _variables(variables)
    os.environ.update(env)  # the file may name them
    others = load_experiment(file, profile, parse_changes(changes)).files[1:]
    options = ["--profile", profile]
    options += [word for change in changes for word in ("--set", change)]
    # The cluster shows a job's command line to everyone, and so does the head's list of processes.
    for option, variable, uri in (
        ("--storage", "SUPCLAP_STORAGE", storage),
        ("--tracking-uri", "MLFLOW_TRACKING_URI", tracking_uri),
    ):
        if uri and has_secret(uri):
            env[variable] = uri
        elif uri:
            options += [option, uri]
    client = connect(address)
    with tempfile.TemporaryDirectory(prefix="supclap-submit-") as scratch:
        job = submit_job(client, Request(file, options, env, others), Path(scratch))
    shown = without_password(address)
    click.echo(f"job {job} at {shown}")
    if no_wait:
        click.echo(f"its output: ray job logs {job} --follow --address {shown}")
        return
    try:
        code = follow(client, job, lambda text: click.echo(text, nl=False))
    except KeyboardInterrupt:
        click.echo(f"\nthe job goes on; to end it: ray job stop {job} --address {shown}")
        raise SystemExit(INTERRUPTED) from None
    raise SystemExit(code)


def _variables(items: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for item in items:
        name, sign, value = item.partition("=")
        if not sign or not name.isidentifier():
            raise InputError(f"--env {item}: expected NAME=VALUE")
        found[name] = value
    return found
