"""What a plan finds missing: data, weights, packages and devices, each with what gets it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from supclap.progress import activity
from supclap.wording import counted, one_line
from supclap_platform.commands.options import Asked
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.method import Need
from supclap_platform.experiment.search import placeholders
from supclap_platform.experiment.settings import Lacking
from supclap_platform.experiment.variants import Stage, Variant
from supclap_platform.running.machine import machine, short_of

_MOST = 400  # characters of a reason


@dataclass(frozen=True)
class Missing:
    """Something that the runs of an experiment need and that is not here."""

    kind: str  # data, weights, variable, package, machine, room
    reason: str
    command: str


def missing_from(asked: Asked) -> tuple[Experiment, list[Missing]]:
    """The experiment that is asked for, and all that it needs and that is not on this machine.

    Environment variables that its file names and that are not set, and packages that are not
    installed, are no error here: they are among what is missing.

    Raises:
        InputError: the file itself has a mistake.
    """
    lacking = Lacking()
    experiment = asked.experiment(lacking=lacking)
    with activity("looking for data and weights"):
        missing = [
            Missing(need.kind, fault, need.command)
            for need in needs_of(experiment)
            if (fault := need.fault()) is not None
        ]
    missing.sort(key=lambda each: each.kind)
    return experiment, [*missing, *lacking_of(experiment, lacking), *short(experiment, asked)]


def needs_of(experiment: Experiment) -> list[Need]:
    """What lies outside of an experiment's files and its runs cannot do without, each once."""
    found: dict[tuple[str, str], Need] = {}
    for part in experiment.parts or (experiment,):
        for config in _configurations(part):
            for need in part.method.needs(config):
                found.setdefault((need.command, need.place), need)
    return list(found.values())


def lacking_of(experiment: Experiment, lacking: Lacking) -> Iterator[Missing]:
    """Variables, but for those of a need that says so itself, and packages."""
    named = {need.variable for need in needs_of(experiment)}
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
    words = ["supclap", name, shlex.quote(str(asked.file))]
    if asked.profile != "laptop":
        words += ["--profile", shlex.quote(asked.profile)]
    for change in asked.changes:
        words += ["--set", shlex.quote(change)]
    return " ".join(words)


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


def _configurations(part: Experiment) -> Iterator[object]:
    if part.stage is not None and part.stage.variant is None:
        yield part.stage.config
    for variant in part.variants:
        yield variant.config
    if part.search is not None:
        yield from placeholders(part.search).values()
