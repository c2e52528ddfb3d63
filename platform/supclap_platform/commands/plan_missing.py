"""What a plan finds missing: data, weights and devices, each with the command that gets it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.text import Text

from supclap.progress import activity
from supclap.wording import counted, one_line
from supclap_platform.commands.options import Asked
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.search import placeholders
from supclap_platform.experiment.variants import Stage, Variant
from supclap_platform.running.machine import machine, short_of

_MOST = 400  # characters of a reason


@dataclass(frozen=True)
class Missing:
    """Something that the runs of an experiment need and that is not here."""

    kind: str  # data, weights, machine, variable
    reason: str
    command: str


def missing_from(asked: Asked) -> tuple[Experiment, list[Missing]]:
    """The experiment that is asked for, and all that it needs and that is not on this machine.

    Environment variables that its file names and that are not set are no error here: they are
    among what is missing.

    Raises:
        InputError: the file itself has a mistake.
    """
    unset: dict[str, str] = {}
    experiment = asked.experiment(unset=unset)
    found: dict[tuple[str, str], Missing] = {}
    with activity("looking for data and weights"):
        for part in experiment.parts or (experiment,):
            for config in _configurations(part):
                for need in part.method.needs(config):
                    known = (need.command, need.place)
                    if known in found:
                        continue
                    if need.variable is not None:
                        unset.pop(need.variable, None)
                    found[known] = Missing(need.kind, need.fault() or "", need.command)
    missing = sorted((m for m in found.values() if m.reason), key=lambda each: each.kind)
    for name, place in unset.items():
        missing.append(Missing("variable", place, f"export {name}=..."))
    return experiment, [*missing, *_short(experiment, asked)]


def lines_of(missing: list[Missing]) -> Iterator[Text]:
    """The list as it is printed: what and why, and below it what gets it."""
    width = max(len(each.kind) for each in missing) + 2
    for each in missing:
        line = Text(f"  {each.kind:<{width}}", "bold red")
        line.append(one_line(each.reason, _MOST), style="not bold default")
        yield line
        yield Text(f"  {'':<{width}}{each.command}") if each.command else Text()


def closing(experiment: Experiment, missing: list[Missing]) -> str:
    """The line at the end, where there are several."""
    things = counted(len(missing), "thing")
    return (
        f"{experiment.path}: profile {experiment.profile} needs {things} that are not here; each "
        "is listed above, with what gets it"
    )


def _configurations(part: Experiment) -> Iterator[object]:
    if part.stage is not None and part.stage.variant is None:
        yield part.stage.config
    for variant in part.variants:
        yield variant.config
    if part.search is not None:
        yield from placeholders(part.search).values()


def _short(experiment: Experiment, asked: Asked) -> Iterator[Missing]:
    """What the resources of a run ask for and this machine does not have."""
    short: dict[str, None] = {}
    for part in experiment.parts or (experiment,):
        given: list[Variant | Stage] = [*part.variants]
        if part.stage is not None:
            given.append(part.stage)
        for each in given:
            short |= dict.fromkeys(short_of(each.resources, machine([each])))
    if short:
        profile = f" --profile {experiment.profile}" * (experiment.profile != "laptop")
        command = f"supclap run {asked.file}{profile} --address auto"
        yield Missing(
            "machine",
            f"a run asks for {'; '.join(short)}",
            f"{command}    (on a cluster that has it: docs/cluster/README.md)",
        )
