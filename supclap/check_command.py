"""`supclap check`: whether the parts of a file keep what training relies on."""

from __future__ import annotations

import click

from supclap.errors import InputError, nearest
from supclap.progress import activity
from supclap.scratch import scratch_folder
from supclap.wording import counted


@click.command("check")
@click.argument("code", nargs=-1, required=True, metavar="FILE...")
@click.option("--part", "names", multiple=True, help="This part alone, by its name; repeatable.")
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="As loss.terms.angle.margin=0.1."
)
@click.option("--one-process", is_flag=True, help="Leave the run with two workers out.")
def check_command(
    code: tuple[str, ...], names: tuple[str, ...], changes: tuple[str, ...], one_process: bool
) -> None:
    """Check the parts that FILE registers: gradients, odd batches, workers, chunks, resuming, cost.

    FILE is run. The exit code is 1 where a check fails.
    """
    from supclap import registry
    from supclap.overrides import parse_changes

    given = parse_changes(changes)
    with activity("loading PyTorch"):
        from supclap.checking.parts import check_part
        from supclap.user_code import load_given

    load_given(code)
    parts = registry.all_parts()
    if not parts:
        raise InputError(f"{', '.join(code)}: registers no part (docs/ideas.md)")
    known = [part.name for part in parts]
    for name in names:
        if name not in known:
            raise InputError(
                f"--part {name}: no such part{nearest(name, known)} (known: {', '.join(known)})"
            )
    failed = 0
    for part in parts:
        if names and part.name not in names:
            continue
        click.echo(f"{part.kind} '{part.name}'")
        with scratch_folder("check") as scratch:
            for finding in check_part(part, given, scratch, workers=not one_process):
                click.echo(str(finding))
                failed += finding.ok is False
    if failed:
        click.echo(f"{counted(failed, 'check')} failed")
        raise SystemExit(1)
    click.echo("all checks passed")
