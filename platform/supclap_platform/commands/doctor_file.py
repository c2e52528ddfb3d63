"""What `supclap doctor FILE` says of an experiment's data, weights and packages: what is here, what
a run would fetch, and what is missing, with what gets it. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from supclap.secrets import without_password
from supclap.wording import one_line, size
from supclap_platform.commands.options import Asked
from supclap_platform.commands.plan_fetches import cache_of, shelves
from supclap_platform.commands.plan_missing import lacking_of, look_for, needs_of, short
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.settings import Lacking

OK, FETCH, WRONG = "ok", "fetch", "WRONG"
CLEAN = "supclap clean, or set SUPCLAP_CACHE (copies) or HF_HOME (repositories) to another folder"


@dataclass(frozen=True)
class Finding:
    """A line of the doctor's. ``command``: what gets a thing that is missing."""

    sign: str
    name: str
    text: str
    command: str = ""


def read(asked: Asked) -> tuple[Experiment, Lacking]:
    """The experiment, and what its file asks of this machine and is not there.

    Raises InputError: the file has a mistake.
    """
    lacking = Lacking()
    return asked.experiment(announce=True, lacking=lacking), lacking


def findings(
    experiment: Experiment, lacking: Lacking, asked: Asked, here: bool
) -> Iterator[Finding]:
    """One for each thing that the runs of an experiment need.

    Args:
        here: runs are to be on this machine, which must have what they ask for.
    """
    looked = look_for(sorted(needs_of(experiment), key=lambda need: need.kind))
    for one in looked:
        need = one.need
        if one.fault is not None:
            yield Finding(WRONG, need.kind, one_line(one.fault), need.command)
        elif one.coming is not None:
            text = f"{need.key}: {one.coming}, into {cache_of(one.coming)}"
            yield Finding(FETCH, need.kind, text)
        else:
            text = f"{need.key}: {one_line(without_password(need.place))} is here"
            yield Finding(OK, need.kind, text)
    coming = dict.fromkeys(one.coming for one in looked if one.coming is not None)
    for shelf in shelves(list(coming)):
        text = f"{size(shelf.needed)} to fetch into {shelf.folder}, once; {shelf.room}"
        yield Finding(WRONG if shelf.short else OK, "room", text, CLEAN if shelf.short else "")
    missing = [*lacking_of(looked, lacking), *(short(experiment, asked) if here else ())]
    for each in missing:
        yield Finding(WRONG, each.kind, one_line(each.reason), each.command)
    if not looked and not missing:
        yield Finding(OK, "experiment", "needs no data, weights or devices that are not here")
