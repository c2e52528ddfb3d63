"""An experiment file, read and checked as a whole: every mistake is found before anything starts.

Layers, from the bottom: the defaults of RunConfig, `base`, the profile's `base`, changes of the
command line (``--set``), then a row's own overrides (and its place in the grid).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from supclap.config import RunConfig, explain, override
from supclap.errors import InputError, nearest
from supclap_platform.claims import Claim, parse_claim
from supclap_platform.document import Document, Key, read_document
from supclap_platform.metrics import full_name, why_not_reported
from supclap_platform.results.published import published_table
from supclap_platform.rows import Row, rows_of
from supclap_platform.schema import (
    FIGURES,
    MOST_CELLS,
    ExperimentFile,
    Overrides,
    ProfileSection,
    PublishedSection,
    ResourceChanges,
    Resources,
)

DEFAULT_PROFILE = "laptop"


@dataclass(frozen=True)
class Variant:
    """A row of the table: one configuration, to be trained once for each seed."""

    name: str
    config: RunConfig  # with seed 0; a start from the init stage is filled in for each cell
    resources: Resources
    changes: dict[str, Any]  # dotted key -> value: what it overrides of the base
    from_init: bool = False  # starts from the stage that `init` declares


@dataclass(frozen=True)
class Init:
    """The stage that the cells start from: a configuration of its own, or a variant's cells."""

    config: RunConfig
    resources: Resources
    per_seed: bool
    variant: str | None


@dataclass(frozen=True)
class Experiment:
    """Everything that an experiment file defines, under one profile."""

    name: str
    about: str
    path: Path
    profile: str
    changes: dict[str, Any]  # of the command line
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    baseline: str | None
    init: Init | None
    columns: tuple[str, ...]  # as declared; `metrics.full_name` gives what a run reports
    published: PublishedSection | None
    claims: tuple[Claim, ...]
    figures: tuple[str, ...]

    def variant(self, name: str) -> Variant:
        """The variant of that name. Raises KeyError."""
        found = next((variant for variant in self.variants if variant.name == name), None)
        if found is None:
            raise KeyError(name)
        return found


def load_experiment(
    path: Path, profile: str = DEFAULT_PROFILE, changes: Mapping[str, Any] | None = None
) -> Experiment:
    """The experiment in a file, under a profile, with ``changes`` (dotted keys) of its base.

    The profile "laptop" exists in every file: where it is not written, it changes nothing.

    Raises:
        InputError: one line with file, line, key, what is valid and the nearest valid name.
    """
    document = read_document(path)
    try:
        file = ExperimentFile.model_validate(document.values)
    except ValidationError as error:
        location = [str(part) for part in error.errors()[0]["loc"]]
        raise document.error(location, explain(error, ExperimentFile)) from None
    return _Reader(document, file, profile, dict(changes or {})).experiment()


class _Reader:
    """Turns a checked file into an Experiment; holds what every step needs."""

    def __init__(
        self, document: Document, file: ExperimentFile, profile: str, changes: Overrides
    ) -> None:
        self.document = document
        self.file = file
        self.changes = changes
        self.profile_name = profile
        self.profile = self._profile(profile)
        self.base = override(override(file.base, self.profile.base), changes)
        self.places: tuple[Key, ...] = (("base",), ("profiles", profile, "base"))

    def experiment(self) -> Experiment:
        file = self.file
        rows = rows_of(file, self.document, self.base)
        seeds = self.profile.seeds or file.seeds
        if len(rows) * len(seeds) > MOST_CELLS:
            raise self.document.error(("seeds",), f"more than {MOST_CELLS} cells")
        variants = [self._variant(row) for row in rows]
        self._no_duplicates(variants, rows)
        names = [variant.name for variant in variants]
        self._known(file.baseline, names, ("baseline",))
        init = self._init(variants)
        if init is not None:
            variants = self._starting(variants, rows, init)
        return Experiment(
            name=file.experiment,
            about=" ".join(file.about.split()),
            path=self.document.path,
            profile=self.profile_name,
            changes=self.changes,
            variants=tuple(variants),
            seeds=tuple(seeds),
            baseline=file.baseline,
            init=init,
            columns=self._columns(variants),
            published=self._published(names),
            claims=self._claims(variants),
            figures=self._figures(),
        )

    def _profile(self, name: str) -> ProfileSection:
        found = self.file.profiles.get(name)
        if found is not None:
            return found
        if name == DEFAULT_PROFILE:
            return ProfileSection()
        valid = sorted({DEFAULT_PROFILE, *self.file.profiles})
        raise self.document.error(
            ("profiles",),
            f"no profile '{name}'{nearest(name, valid)} (profiles: {', '.join(valid)})",
        )

    def _variant(self, row: Row) -> Variant:
        values = self.base
        for layer in row.layers:
            values = override(values, layer)
        places = (*self.places, *row.places)
        config, resources = self._config(values, places, row.name)
        changed = {key: value for layer in row.layers for key, value in _flat(layer)}
        if ("grid",) in row.places:
            self._grid_fits(row, config)
        return Variant(row.name, config, resources, changed)

    def _config(
        self, values: Overrides, places: tuple[Key, ...], name: str
    ) -> tuple[RunConfig, Resources]:
        values = dict(values)
        resources = self._resources(values.pop("resources", None), places, name)
        if "seed" in values:
            raise self._at(places, "seed", f"{name}: seeds are set by 'seeds', not by 'seed'")
        values = self._expanded(values, (), places)
        try:
            return RunConfig.model_validate(values), resources
        except ValidationError as error:
            dotted = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise self._at(places, dotted, f"{name}: {explain(error, RunConfig)}") from None

    def _resources(self, own: Any, places: tuple[Key, ...], name: str) -> Resources:
        layers: list[ResourceChanges] = [self.file.resources, self.profile.resources]
        try:
            if own is not None:
                layers.append(ResourceChanges.model_validate(own))
            merged: dict[str, Any] = {}
            for layer in layers:
                merged |= layer.model_dump(exclude_unset=True)
            return Resources.model_validate(merged)
        except ValidationError as error:
            dotted = ".".join(["resources", *(str(part) for part in error.errors()[0]["loc"])])
            where = (("resources",), ("profiles", self.profile_name, "resources"), *places)
            raise self._at(
                where, dotted, f"{name}: resources: {explain(error, Resources)}"
            ) from None

    def _at(self, places: Iterable[Key], dotted: str, message: str) -> InputError:
        """An error at the setting it comes from, be it in the file or on the command line."""
        given = next((key for key in self.changes if _covers(key, dotted)), None)
        if given is not None:
            line = " ".join(f"--set {given}: {message}".split())
            return InputError(line)
        return self.document.error(self.document.setting(places, dotted), message)

    def _expanded(self, value: Any, at: tuple[str, ...], places: tuple[Key, ...]) -> Any:
        """``${NAME}`` in a text replaced by the environment variable."""
        if isinstance(value, Mapping):
            return {key: self._expanded(v, (*at, str(key)), places) for key, v in value.items()}
        if not isinstance(value, str) or "${" not in value:
            return value

        def of(match: re.Match[str]) -> str:
            if match[1] not in os.environ:
                dotted = ".".join(at)
                raise self._at(
                    places, dotted, f"{dotted}: the environment variable {match[1]} is not set"
                )
            return os.environ[match[1]]

        return re.sub(r"\$\{(\w+)\}", of, value)

    def _grid_fits(self, row: Row, config: RunConfig) -> None:
        """Refuses a grid that would give a variant a part it does not have (InfoNCE an alpha)."""
        values = self.base
        for layer in row.layers[:-1]:
            values = override(values, layer)
        before, _ = self._config(values, (*self.places, *row.places), row.name)
        for key in row.layers[-1]:
            part: Any = before
            for name in key.split(".")[:-1]:
                part = getattr(part, name, part)
                if part is None:
                    raise self.document.error(
                        ("grid", key),
                        f"{row.name}: has no {name} for '{key}' to set; name the variants that "
                        "the grid multiplies: grid: {variants: [...]}",
                    )

    def _no_duplicates(self, variants: list[Variant], rows: list[Row]) -> None:
        seen: dict[str, str] = {}
        for variant, row in zip(variants, rows, strict=True):
            content = json.dumps(
                [variant.config.model_dump(mode="json"), variant.resources.workers], sort_keys=True
            )
            if content in seen:
                raise self.document.error(
                    row.places[-1],
                    f"the variants '{seen[content]}' and '{variant.name}' are the same run: "
                    "their configurations do not differ",
                )
            seen[content] = variant.name

    def _known(self, name: str | None, names: list[str], key: Key) -> None:
        if name is not None and name not in names:
            raise self.document.error(
                key,
                f"{key[-1]}: no variant '{name}'{nearest(name, names)} "
                f"(variants: {', '.join(names)})",
            )

    def _init(self, variants: list[Variant]) -> Init | None:
        section = self.file.init
        if section is None:
            if self.profile.init:
                raise self.document.error(
                    ("profiles", self.profile_name, "init"), "the file has no init stage to change"
                )
            return None
        if section.variant is not None:
            if self.profile.init:
                raise self.document.error(
                    ("profiles", self.profile_name, "init"),
                    f"the init stage is the variant '{section.variant}'; change it there",
                )
            self._known(section.variant, [v.name for v in variants], ("init", "variant"))
            found = next(v for v in variants if v.name == section.variant)
            return Init(found.config, found.resources, section.per_seed, found.name)
        values = override(override(self.base, section.base or {}), self.profile.init)
        places = (*self.places, ("init", "base"), ("profiles", self.profile_name, "init"))
        config, resources = self._config(values, places, "init")
        return Init(config, resources, section.per_seed, None)

    def _starting(self, variants: list[Variant], rows: list[Row], init: Init) -> list[Variant]:
        """Which variants start from the stage: all but itself and those that name a start."""
        result = []
        for variant, row in zip(variants, rows, strict=True):
            if variant.name == init.variant or "model.start" in variant.changes:
                result.append(variant)
                continue
            different = _other_model(variant.config, init.config)
            if different:
                raise self._at(
                    (*self.places, *row.places),
                    different,
                    f"{variant.name}: its {different} differs from the init stage's, so it cannot "
                    "start from there; 'model.start: null' lets it start anew",
                )
            result.append(
                Variant(variant.name, variant.config, variant.resources, variant.changes, True)
            )
        return result

    def _columns(self, variants: list[Variant]) -> tuple[str, ...]:
        columns = self.file.table.columns
        seen: set[str] = set()
        for position, column in enumerate(columns):
            key: Key = ("table", "columns", str(position))
            try:
                name = full_name(column)
            except InputError as error:
                raise self.document.error(key, str(error)) from None
            if name in seen:
                raise self.document.error(key, f"the column '{column}' stands twice")
            seen.add(name)
            reasons = [why_not_reported(name, variant.config) for variant in variants]
            if all(reasons):
                raise self.document.error(
                    key, f"no variant reports '{column}': {variants[0].name}: {reasons[0]}"
                )
        return columns

    def _published(self, names: list[str]) -> PublishedSection | None:
        section = self.file.table.published
        if section is None:
            return None
        key: Key = ("table", "published")
        try:
            table = published_table(section.table)
        except InputError as error:
            raise self.document.error(key, str(error)) from None
        for ours, theirs in section.rows.items():
            self._known(ours, names, (*key, "rows", ours))
            self._of_table(theirs, table.rows, (*key, "rows", ours), "row")
        for ours, theirs in section.columns.items():
            self._of_table(ours, self.file.table.columns, (*key, "columns", ours), "table column")
            self._of_table(theirs, table.columns, (*key, "columns", ours), "published column")
        return section

    def _of_table(self, name: str, valid: Iterable[str], key: Key, what: str) -> None:
        valid = list(valid)
        if name not in valid:
            raise self.document.error(
                key, f"no {what} '{name}'{nearest(name, valid)} (valid: {', '.join(valid)})"
            )

    def _claims(self, variants: list[Variant]) -> tuple[Claim, ...]:
        claims: list[Claim] = []
        configs = {variant.name: variant.config for variant in variants}
        for position, text in enumerate(self.file.claims):
            key: Key = ("claims", str(position))
            try:
                claim = parse_claim(text, list(configs))
            except InputError as error:
                raise self.document.error(key, str(error)) from None
            for name in claim.variants:
                reason = why_not_reported(claim.metric, configs[name])
                if reason:
                    raise self.document.error(
                        key, f"claim '{claim.text}': {name} reports no {claim.metric}: {reason}"
                    )
            if claim in claims:
                raise self.document.error(key, f"the claim '{claim.text}' stands twice")
            claims.append(claim)
        return tuple(claims)

    def _figures(self) -> tuple[str, ...]:
        for position, name in enumerate(self.file.figures):
            self._of_table(name, FIGURES, ("figures", str(position)), "figure")
        return tuple(dict.fromkeys(self.file.figures))


def parse_changes(items: Iterable[str]) -> dict[str, Any]:
    """``KEY=VALUE`` of the command line, the value read as YAML. Raises InputError."""
    changes: dict[str, Any] = {}
    for item in items:
        key, sign, text = item.partition("=")
        if not sign or not key.strip():
            raise InputError(f"--set {item}: expected KEY=VALUE, such as epochs=3")
        try:
            changes[key.strip()] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):
            raise InputError(f"--set {item}: the value is not valid YAML") from None
    return changes


def _flat(changes: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in changes.items():
        dotted = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{dotted}.")
        else:
            yield dotted, value


def _covers(given: str, dotted: str) -> bool:
    return f"{dotted}.".startswith(f"{given}.") or f"{given}.".startswith(f"{dotted}.")


def _other_model(first: RunConfig, second: RunConfig) -> str | None:
    """The dotted key in which two models differ in shape, if they do."""
    for part in ("audio", "text"):
        one = getattr(first.model, part).model_dump(exclude={"freeze"})
        other = getattr(second.model, part).model_dump(exclude={"freeze"})
        for key in one:
            if one[key] != other.get(key):
                return f"model.{part}.{key}"
    return None if first.model.dim == second.model.dim else "model.dim"
