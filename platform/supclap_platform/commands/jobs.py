"""`supclap jobs`, `logs` and `cancel`: what was submitted to a cluster, seen and ended."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import click

from supclap.errors import INTERRUPTED, InputError
from supclap.secrets import without_password
from supclap.wording import counted, duration, one_line
from supclap_platform.running import jobs as server

HEADS = ("job", "state", "began", "took", "experiment", "options")
SERVER = "RAY_API_SERVER_ADDRESS"  # Ray's own variable


def server_option(command: Any) -> Any:
    """--address: the job server."""
    return click.option(
        "--address",
        required=True,
        envvar=SERVER,
        help=f"The cluster's dashboard, such as http://head:8265; also ${SERVER}.",
    )(command)


@click.command()
@server_option
def jobs(address: str) -> None:
    """Show what was submitted to the cluster at --address, the newest first."""
    found, others = server.jobs_of(server.connect(address))
    rows = [
        (
            job.name,
            job.state.lower(),
            datetime.fromtimestamp(job.began).strftime("%d %b %H:%M") if job.began else "",
            duration((job.ended or time.time()) - job.began) if job.began else "",
            job.experiment,
            one_line(job.command, 60),
        )
        for job in found
    ]
    if rows:
        table = [HEADS, *rows]
        widths = [max(len(row[place]) for row in table) for place in range(len(HEADS))]
        for row in table:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            click.echo("  ".join(cells).rstrip())
    else:
        click.echo("no job of `supclap submit` is known there")
    if others:
        click.echo(f"and {counted(others, 'job')} of other programs")


@click.command()
@click.argument("job", required=False)
@server_option
@click.option("--follow", is_flag=True, help="Go on until the job ends, and exit as it exits.")
def logs(job: str | None, address: str, follow: bool) -> None:
    """Print what JOB has said; JOB is its name or the beginning of it, by default the newest."""
    client = server.connect(address)
    name = server.choose(client, job)
    if follow:
        raise SystemExit(followed(client, name, without_password(address)))
    click.echo(server.logs(client, name), nl=False)


@click.command()
@click.argument("job")
@server_option
def cancel(job: str, address: str) -> None:
    """End JOB, as Ctrl-C ends a run: its cells keep their checkpoints, and submit goes on."""
    client = server.connect(address)
    name = server.choose(client, job)
    try:
        state = server.cancel(client, name)
    except server.JobLost as lost:
        raise InputError(_said(lost, without_password(address))) from None
    if state == "STOPPED":
        click.echo(f"job {name}: stopped; the same `supclap submit` goes on from the checkpoints")
    else:
        click.echo(f"job {name}: was over before ({state.lower()})")


def followed(client: Any, job: str, shown: str) -> int:
    """Prints what a job says until it ends; its exit code, or that of Ctrl-C, which leaves it be.

    Args:
        shown: the server's address, as people may see it.
    """
    try:
        return server.follow(
            client,
            job,
            say=lambda text: click.echo(text, nl=False),
            warn=lambda line: click.echo(f"supclap: {line}", err=True),
        )
    except KeyboardInterrupt:
        click.echo(f"\nthe job goes on; to end it: supclap cancel {job} --address {shown}")
        return INTERRUPTED
    except server.JobLost as lost:  # nothing is wrong with the input
        click.echo(f"supclap: {_said(lost, shown)}", err=True)
        return 1


def _said(lost: server.JobLost, shown: str) -> str:
    """With the whole command that may show more later."""
    look = f": `supclap {lost.look} --address {shown}` shows it" if lost.look else ""
    return f"{lost}{look}"
