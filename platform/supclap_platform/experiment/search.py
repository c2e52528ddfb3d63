"""A search as its file declares it, checked as a whole: every mistake before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from supclap.document import Document, Key
from supclap.errors import InputError
from supclap.explaining import default_at, explain
from supclap.wording import shown
from supclap_platform.experiment.columns import AT
from supclap_platform.experiment.method import Configuration
from supclap_platform.experiment.search_section import (
    BudgetSection,
    Direction,
    PrunerSection,
    SamplerSection,
    SearchSection,
    merged,
)
from supclap_platform.experiment.search_space import (
    MOST_POINTS,
    Params,
    Space,
    SpaceError,
    count_points,
)
from supclap_platform.experiment.settings import Lacking, Settings

SECTION = "search"


@dataclass(frozen=True)
class Objective:
    """A metric that a trial is judged by, and which way is better."""

    metric: str
    direction: Direction

    def better(self, one: float, other: float) -> bool:
        return one > other if self.direction == "maximize" else one < other

    def __str__(self) -> str:
        return f"{self.metric} ({'max' if self.direction == 'maximize' else 'min'})"


@dataclass(frozen=True)
class Search:
    """What a search asks. `search.trials` makes runs of it."""

    name: str  # of the study
    space: Space
    base: Mapping[str, Any]  # what every trial changes of the experiment's base, keys dotted
    objectives: tuple[Objective, ...]
    trials: int
    seeds: tuple[int, ...]
    sampler: SamplerSection
    pruner: PrunerSection
    budget: BudgetSection
    start: tuple[Params, ...]
    warm_start: bool
    winner: str
    controls: Mapping[str, Mapping[str, Any]]  # row -> what it changes of the winner
    settings: Settings  # builds the configuration of a setting

    @property
    def single(self) -> bool:
        """Whether there is one objective, and so one best trial."""
        return len(self.objectives) == 1

    @property
    def rows(self) -> tuple[str, ...]:
        """The names of the rows that the search adds: the winner's, and its controls'."""
        return (self.winner, *self.controls)

    def build(
        self, label: str, params: Mapping[str, Any], control: str | None = None
    ) -> tuple[Configuration, Any]:
        """Configuration and resources of a setting, or of a control of it.

        Raises InputError where it has none.
        """
        layers = [dict(self.base), dict(params)]
        places: list[Key] = [(SECTION, "base"), (SECTION, "space")]
        if control is not None:
            layers.append(dict(self.controls[control]))
            places.append((SECTION, "controls", control))
        config, resources = self.settings.build(label, layers, tuple(places))
        return config, resources


def read_search(
    document: Document,
    section: SearchSection | None,
    profile: Mapping[str, Any],
    profile_name: str,
    settings: Settings,
    name: str,
    seeds: tuple[int, ...],
    rows: tuple[str, ...],
) -> Search | None:
    """The search of a file under a profile, or None where it has none.

    Args:
        profile: what the profile says of the search, in the place of what the file says.
        settings: builds configurations.
        name: of the experiment.
        seeds: of the experiment: the winner and what it is compared with.
        rows: names of the experiment's rows.

    Raises InputError at the line that is wrong.
    """
    if section is None:
        if profile:
            raise document.error(
                ("profiles", profile_name, SECTION), "the file has no search to change"
            )
        return None
    if profile:
        values = merged(document.values[SECTION], profile)
        try:
            section = SearchSection.model_validate(values)
        except ValidationError as error:
            at = [str(part) for part in error.errors()[0]["loc"]]
            raise document.error(
                ("profiles", profile_name, SECTION, *at), f"search: {explain(error, SearchSection)}"
            ) from None
    reader = _Reader(document, section, settings)
    search = Search(
        name=section.study or name,
        space=reader.space,
        base=section.base,
        objectives=reader.objectives(),
        trials=section.trials,
        seeds=section.seeds,
        sampler=section.sampler,
        pruner=section.pruner,
        budget=section.budget,
        start=(),
        warm_start=section.warm_start,
        winner=section.winner,
        controls=section.controls,
        settings=settings,
    )
    reader.check(search, seeds, rows)
    start = tuple(reader.start(search, at) for at in range(len(section.start)))
    return Search(**{**search.__dict__, "start": start})


class _Reader:
    def __init__(self, document: Document, section: SearchSection, settings: Settings) -> None:
        self.document = document
        self.section = section
        self.settings = settings
        try:
            self.space = Space(section.space)
        except SpaceError as error:
            raise document.error((SECTION, "space", *error.key), str(error)) from None

    def objectives(self) -> tuple[Objective, ...]:
        found = []
        for metric, direction in self.section.objective.items():
            key: Key = (SECTION, "objective", metric)
            try:
                measure = self.settings.method.measure(metric)
            except InputError as error:
                raise self.document.error(key, f"objective: {error}") from None
            if measure.held_out:
                hint = f"; give {measure.instead}" if measure.instead else ""
                raise self.document.error(
                    key,
                    f"objective: '{metric}' is measured on what the winner is judged by, so that "
                    f"choosing by it would prove nothing{hint}",
                )
            if direction is None and not measure.clear:
                raise self.document.error(
                    key,
                    f"objective: say which way '{metric}' is better: "
                    f"{{{metric}: minimize}} or {{{metric}: maximize}}",
                )
            way: Direction = "minimize" if measure.low else "maximize"
            found.append(Objective(measure.name, direction or way))
        return tuple(found)

    def check(self, search: Search, seeds: tuple[int, ...], rows: tuple[str, ...]) -> None:
        """What can only be seen with everything in hand. Raises InputError."""
        section = self.section
        if not search.single and section.pruner.name != "none":
            raise self.document.error(
                (SECTION, "pruner"),
                "with several objectives no trial can be said to fall behind: 'pruner: none'",
            )
        shared = sorted(set(section.seeds) & set(seeds))
        if shared:
            raise self.document.error(
                (SECTION, "seeds"),
                f"the search has the seed {shared[0]} in common with the experiment: its winner "
                "would be judged by luck that it was chosen for; give others",
            )
        self._check_names(rows)
        self._check_settings(search)
        if section.sampler.name == "grid" and count_points(self.space) >= MOST_POINTS:
            raise self.document.error(
                (SECTION, "sampler"), f"the grid has {MOST_POINTS} settings or more"
            )
        _check_installed(self.document, section, self.settings.lacking)

    def _check_names(self, rows: tuple[str, ...]) -> None:
        keys: dict[Key, str] = {(SECTION, "winner"): self.section.winner}
        keys |= {(SECTION, "controls", name): name for name in self.section.controls}
        for key, name in keys.items():
            if name in rows or (len(key) > 2 and name == self.section.winner):
                raise self.document.error(key, f"two rows are called '{name}'")
            if not name.strip() or not name.isprintable() or len(name) > 100 or AT in name:
                raise self.document.error(
                    key, "expected a row's name of 1 to 100 printable characters"
                )
        study = self.section.study
        if study is not None and (not study.strip() or not study.isprintable()):
            raise self.document.error((SECTION, "study"), "expected a printable name")

    def _check_settings(self, search: Search) -> None:
        """Every edge of the space is a configuration, and reports what the search looks at."""
        for name in self.space.parameters:
            if name == "seed" or name.split(".")[0] == "resources":
                raise self.document.error(
                    (SECTION, "space", name),
                    f"'{name}' is no parameter of a run: seeds and resources stand elsewhere",
                )
        tried: dict[str, list[tuple[Configuration, Any]]] = {}
        for name, params in self.space.probes():
            config, _ = search.build(SECTION, params)
            self._refuse_twins(name, config, params[name], tried.setdefault(name, []))
            for control in search.controls:
                search.build(control, params, control)
            for objective in search.objectives:
                reason = self.settings.method.why_not_reported(objective.metric, config)
                if reason:
                    raise self.document.error(
                        (SECTION, "objective", objective.metric),
                        f"objective: with {name} = {params[name]} no run reports "
                        f"'{objective.metric}': {reason}",
                    )

    def _refuse_twins(
        self, name: str, config: Configuration, value: Any, tried: list[tuple[Configuration, Any]]
    ) -> None:
        """Refuses two values of a parameter that are one run, as a grid's are refused."""
        for other, before in tried:
            if other != config:
                continue
            fault = f"its values {shown(before)} and {shown(value)} are the same run"
            if self.space.parameters[name].kind == "choice":
                fault = f"'choice' names one setting twice: {shown(before)} and {shown(value)}"
            raise self.document.error((SECTION, "space", name), f"'{name}': {fault}")
        tried.append((config, value))

    def start(self, search: Search, position: int) -> Params:
        """A start point: what it names, and the base's own values for the rest."""
        given = self.section.start[position]
        key: Key = (SECTION, "start", str(position))
        for name in given:
            if name not in self.space.parameters:
                raise self.document.error(
                    (*key, name),
                    f"start: '{name}' is no parameter of the space "
                    f"(parameters: {', '.join(self.space.parameters)})",
                )
        config, _ = search.build("start", {})
        values = {n: value_at(config, n) for n in self.space.parameters} | given
        try:
            params = self.space.setting(values)
        except InputError as error:
            raise self.document.error(key, f"start: {error}") from None
        for name in given:
            if name not in params:
                raise self.document.error(
                    (*key, name), f"start: '{name}' does not apply there: its condition is not met"
                )
        return params


def value_at(config: Configuration, dotted: str) -> Any:
    """The value of a dotted key; the field's default where a part above it is absent."""
    node: Any = config
    parts = dotted.split(".")
    for at, part in enumerate(parts):
        below = node.get(part) if isinstance(node, Mapping) else getattr(node, part, None)
        if below is None and at < len(parts) - 1:
            return default_at(type(config), parts)
        node = below
    return node


def _check_installed(document: Document, section: SearchSection, lacking: Lacking | None) -> None:
    import importlib.util

    needed = {"cmaes": "cmaes", "gp": "torch"}.get(section.sampler.name)
    if needed is not None and importlib.util.find_spec(needed) is None:
        fault = f"the sampler {section.sampler.name} needs the package {needed}"
        command = f"pip install {needed}"
        if lacking is None:
            raise document.error((SECTION, "sampler"), f"{fault}: {command}")
        lacking.packages.setdefault(command, fault)


def placeholders(search: Search) -> dict[str, Configuration]:
    """Configurations for the rows of the winner, not known yet, to check what is asked of them."""
    params = search.start[0] if search.start else next(search.space.probes())[1]
    found = {search.winner: search.build(search.winner, params)[0]}
    return found | {name: search.build(name, params, name)[0] for name in search.controls}
