"""What a plan finds missing: data, weights, packages and devices, each with what gets it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.text import Text

from supclap.answers import answers
from supclap.copies import Awaited
from supclap.errors import InputError
from supclap.progress import activity
from supclap.secrets import without_password
from supclap.wording import counted, one_line
from supclap_platform.commands.options import Asked
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.method import Need
from supclap_platform.experiment.profile import DEFAULT_PROFILE
from supclap_platform.experiment.schema import Resources
from supclap_platform.experiment.search import placeholders
from supclap_platform.experiment.settings import Lacking
from supclap_platform.experiment.variants import Stage, Variant
from supclap_platform.running.machine import machine, short_of

_MOST = 400  # characters of a reason
SECONDS = 10.0  # that stores and repositories have to say what lies there


@dataclass(frozen=True)
class Missing:
    """Something that the runs of an experiment need and that is not here."""

    kind: str  # data, weights, variable, package, machine, room
    reason: str
    command: str


@dataclass(frozen=True)
class Looked:
    """A need that was looked for: it is here, or to be fetched by a run, or has a fault."""

    need: Need
    coming: Awaited | None = None
    fault: str | None = None


def missing_from(asked: Asked) -> tuple[Experiment, list[Missing], list[Awaited]]:
    """The experiment that is asked for, all that it needs and that is not on this machine, and what
    a run would fetch by itself.

    Environment variables that its file names and that are not set, and packages that are not
    installed, are no error here: they are among what is missing.

    Raises:
        InputError: the file itself has a mistake.
    """
    lacking = Lacking()
    experiment = asked.experiment(lacking=lacking)
    with activity("looking for data and weights"):
        looked = look_for(needs_of(experiment))
    missing = [Missing(one.need.kind, one.fault, one.need.command) for one in looked if one.fault]
    missing.sort(key=lambda each: each.kind)
    missing += [*lacking_of(looked, lacking), *short(experiment, asked)]
    return experiment, missing, list(dict.fromkeys(one.coming for one in looked if one.coming))


def look_for(needs: Sequence[Need], seconds: float = SECONDS) -> list[Looked]:
    """Looks for each. Nothing is fetched; stores and repositories have ``seconds`` to answer."""
    placed = [need for need in needs if need.variable is None]
    asked = answers([partial(need.awaited, seconds) for need in placed], seconds)
    told = dict(zip(map(id, placed), asked, strict=True))
    found = []
    for need in needs:
        answer = told.get(id(need))
        if isinstance(answer, InputError):
            found.append(Looked(need, fault=_unanswered(need, answer)))
        elif answer is not None:
            found.append(Looked(need, coming=answer))
        else:
            found.append(Looked(need, fault=need.fault()))
    return found


def _unanswered(need: Need, error: InputError) -> str:
    """Why it is not known what lies at a place; with the place, where the reason lacks it."""
    place = without_password(need.place)
    said = str(error)
    named = place.removeprefix("hf://").partition("?")[0] in said
    return f"{need.key}: {said}" if named else f"{need.key}: {place}: {said}"


def needs_of(experiment: Experiment) -> list[Need]:
    """What lies outside of an experiment's files and its runs cannot do without, each once."""
    found: dict[tuple[str, str], Need] = {}
    for part in experiment.parts or (experiment,):
        for config in _configurations(part):
            for need in part.method.needs(config):
                found.setdefault((need.command, need.place), need)
    return list(found.values())


def lacking_of(looked: Sequence[Looked], lacking: Lacking) -> Iterator[Missing]:
    """Variables, but for those of a need that says so itself, and packages."""
    named = {one.need.variable for one in looked}
    for name, place in lacking.variables.items():
        if name not in named:
            yield Missing("variable", place, f"export {name}=...")
    for command, reason in lacking.packages.items():
        yield Missing("package", reason, command)


def lines_of(missing: Sequence[Missing]) -> Iterator[Text]:
    """The list as it is printed: what and why, and below it what gets it."""
    width = max(len(each.kind) for each in missing) + 2
    for each in missing:
        line = Text(f"  {each.kind:<{width}}", "bold red")
        line.append(one_line(each.reason, _MOST), style="not bold default")
        yield line
        yield Text(f"  {'':<{width}}{each.command}") if each.command else Text()


def closing(experiment: Experiment, missing: Sequence[Missing]) -> str:
    """The line at the end, where there are several."""
    things = counted(len(missing), "thing")
    return (
        f"{experiment.path}: profile {experiment.profile} needs {things} that are not here; each "
        "is listed above, with what gets it"
    )


def command_of(name: str, asked: Asked) -> str:
    """``supclap NAME FILE --profile P``, as it can be typed."""
    words = ["supclap", name, str(asked.file)]
    if asked.profile != DEFAULT_PROFILE:
        words += ["--profile", asked.profile]
    for change in asked.changes:
        words += ["--set", change]
    return shlex.join(words)


def short(experiment: Experiment, asked: Asked) -> Iterator[Missing]:
    """What the resources of a run ask for and this machine does not have."""
    lacks: dict[str, None] = {}
    for part in experiment.parts or (experiment,):
        given: list[Variant | Stage] = [*part.variants]
        if part.stage is not None:
            given.append(part.stage)
        for each in given:
            lacks |= dict.fromkeys(short_of(each.resources, machine([each])))
    if lacks:
        yield Missing(
            "machine",
            f"a run asks for {'; '.join(lacks)}",
            f"{command_of('run', asked)} --address auto    "
            "(on a cluster that has it: docs/cluster/README.md)",
        )


def cells_by_needs(experiment: Experiment) -> list[Cell]:
    """A cell for each set of things that cells need and that may be there, to be asked of nodes. It
    has no signature: for that what it needs would have to be on this machine."""
    found: dict[frozenset[str], Cell] = {}
    for part in experiment.parts or (experiment,):
        for config in _configurations(part):
            needs = list(part.method.needs(config))
            if not any(need.variable for need in needs):
                cell = Cell("", 0, config, "", Resources(), method=part.method)
                found.setdefault(frozenset(need.place for need in needs), cell)
    return list(found.values())


def _configurations(part: Experiment) -> Iterator[Any]:
    if part.stage is not None and part.stage.variant is None:
        yield part.stage.config
    for variant in part.variants:
        yield variant.config
    if part.search is not None:
        yield from placeholders(part.search).values()
