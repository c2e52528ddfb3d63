"""What a plan says that cannot be made because something is missing here: all that is, and what can
be known without it."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from supclap.errors import InputError
from supclap_platform.commands.only import Only
from supclap_platform.commands.options import Asked
from supclap_platform.commands.plan_fetches import fetch_lines
from supclap_platform.commands.plan_forecast import forecast_line, places
from supclap_platform.commands.plan_missing import Missing, closing, lines_of, missing_from
from supclap_platform.commands.plan_preview import count_line, open_lines, plan_without, run_lines
from supclap_platform.commands.plan_room import no_room, room_lines
from supclap_platform.ledger.forecast import forecast, time_shapes
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Plan
from supclap_platform.ledger.room import room
from supclap_platform.search.winner import search_line

CLEAN = "supclap clean    (or --storage ELSEWHERE; or keep: {models: best} in the file)"


def show_without(asked: Asked, only: Only, at_once: int | None, no_timing: bool) -> None:
    """Prints all that is missing, each with what gets it, and what can be known without it.

    Raises InputError where that is more than one thing; else it returns, as what has ended the plan
    already names the only one with its line in the file.
    """
    try:
        experiment, missing, coming = missing_from(asked)
    except InputError as error:
        if "${" in str(error):  # a setting that is no place cannot do without its variable
            return
        raise
    if not any(each.kind in ("data", "weights", "package") for each in missing):
        return
    if not any(each.command for each in missing):  # places in a store, which say what to do
        return
    lines: list[Text] = []
    try:
        ledger = asked.ledger()
        made = plan_without(experiment, ledger, only)
    except InputError:  # of the storage, or of --only: it is said once the rest is here
        pass
    else:
        lines, full = _known(made, ledger, asked, at_once, no_timing)
        lines += fetch_lines(coming)
        if full is not None:
            missing.append(Missing("room", full, CLEAN))
    console = Console(soft_wrap=True, highlight=False)
    console.print(Text(f"{experiment.name}, profile {experiment.profile}: what is missing here"))
    for line in lines_of(missing):
        console.print(line)
    if lines:
        console.print("what can be known without it")
    for line in lines:
        console.print(Text("  ").append(line))
    if len(missing) > 1:
        raise InputError(closing(experiment, missing))


def _known(
    made: Plan, ledger: Ledger, asked: Asked, at_once: int | None, no_timing: bool
) -> tuple[list[Text], str | None]:
    """What can be known of the runs, as lines; and why they have no room on the disks here."""
    side = at_once or places(made)
    first = None if no_timing else time_shapes(made, ledger)
    needed = room(made, side, first)
    lines = [] if made.experiment.search is None else [search_line(made.experiment, ledger)]
    lines += [count_line(made), *run_lines(made, first)]
    found = [Text(line) for line in lines]
    found += [] if needed is None else room_lines(needed, made, ledger, side)
    found.append(Text(forecast_line(forecast(made, ledger, side, first))))
    found += map(Text, open_lines(made, first, asked))
    return found, no_room(needed, ledger)
