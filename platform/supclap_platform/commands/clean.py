"""`supclap clean`: what nothing needs any more, with sizes; removed where that is asked for."""

from __future__ import annotations

from pathlib import Path

import click

from supclap.wording import counted, size
from supclap_platform.commands.options import command_ledger, storage_option
from supclap_platform.ledger.finished_worlds import finished_worlds
from supclap_platform.ledger.leftovers import (
    CHECKPOINT,
    EARLY,
    ENDED,
    NOTE,
    ORPHAN,
    STOPPED,
    STRAY,
    Leftover,
    leftovers,
    remove,
)
from supclap_platform.running import caches

CACHES, WORLDS = "caches", "worlds"
KINDS = {  # what each is, and how one of it is called
    CHECKPOINT: ("checkpoints and unfinished files of finished cells", "place"),
    ENDED: ("what killed processes left in ended terms of finished cells; logs stay", "place"),
    STOPPED: ("checkpoints of trials that a search stopped: they could go on from them", "place"),
    ORPHAN: ("cells that no experiment of the storage asks for", "cell"),
    EARLY: ("results of earlier code, which `compare FILE@code=earlier` shows", "result"),
    NOTE: ("notes on the memory that cells took, of which none is left", "note"),
    STRAY: ("what killed runs left beside the cells: of Tune, and of trying the storage", "place"),
    WORLDS: ("made clips in this machine's cache, of which all cells are finished", "folder"),
    CACHES: ("made data in this machine's cache, made again when needed", "folder"),
}


@click.command()
@storage_option
@click.option(
    "--only",
    "kinds",
    multiple=True,
    type=click.Choice(list(KINDS)),
    help="Only this kind (repeatable); default: all.",
)
@click.option("--each", is_flag=True, help="Name every place, not only how many there are.")
@click.option("--yes", is_flag=True, help="Remove what is listed; without it nothing is touched.")
def clean(storage: str, kinds: tuple[str, ...], each: bool, yes: bool) -> None:
    """Show what of the storage and of this machine's cache nothing needs any more, with sizes.

    Nothing of a cell that is being run is touched, nor finished results, models and other cells
    that an experiment has asked for. To drop an experiment, remove its folder experiments/NAME
    first.
    """
    wanted = kinds or tuple(KINDS)
    ledger = command_ledger(storage, writing=yes)
    found: list[Leftover] = []
    if set(wanted) - {CACHES, WORLDS}:
        all_, kept = leftovers(ledger)
        found = [one for one in all_ if one.kind in wanted]
        for passed in kept:
            click.echo(f"left as they are: {passed.kind}: {passed.why}")
    made: list[caches.Cached] = []
    worlds: set[Path] = set()
    if {CACHES, WORLDS} & set(wanted):
        made = caches.cached()
        if WORLDS in wanted:
            worlds = finished_worlds(ledger, [one.path for one in made])
        made = [one for one in made if CACHES in wanted or one.path in worlds]
        using = caches.users() if made else []
        if using:
            shown = f"{using[0]}{f' and {len(using) - 1} more' if len(using) > 1 else ''}"
            click.echo(f"left as they are: {CACHES}: used by {shown}")
            made = []
    listed: dict[str, list[tuple[str, int]]] = {kind: [] for kind in KINDS}
    for left in found:
        listed[left.kind].append((ledger.storage.uri_of(left.place), left.size))
    for one in made:
        listed[WORLDS if one.path in worlds else CACHES].append((str(one.path), one.size))
    for kind in wanted:
        about, noun = KINDS[kind]
        whole = size(sum(weight for _, weight in listed[kind]))
        click.echo(f"{kind:<11}  {counted(len(listed[kind]), noun):>12}  {whole:>9}  {about}")
        if each:
            for place, weight in listed[kind]:
                click.echo(f"    {size(weight):>9}  {place}")
    total = sum(weight for places in listed.values() for _, weight in places)
    number = len(found) + len(made)
    if not number:
        click.echo("nothing to remove")
        return
    if not yes:
        click.echo(f"in all {size(total)}; nothing was removed: --yes removes what is listed")
        return
    gone: list[int] = []
    remove(ledger, found, lambda one: gone.append(one.size))
    for one in made:
        caches.remove(one)
        gone.append(one.size)
    click.echo(f"removed {counted(len(gone), 'place')}, {size(sum(gone))}")
    if len(gone) < number:
        click.echo(f"{number - len(gone)} are needed by now and were left as they are")
