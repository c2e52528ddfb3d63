"""Layers of settings become one checked configuration, or an error at the line that is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from supclap.document import Document, Key
from supclap.errors import InputError, NoPackage, SettingError
from supclap.overrides import covers, override
from supclap.secrets import STAYS_OUTSIDE, check_no_secret, names_secret
from supclap.wording import one_line
from supclap_platform.experiment.method import Configuration, Method
from supclap_platform.experiment.rows import DeclaredRow
from supclap_platform.experiment.schema import (
    ExperimentFile,
    Overrides,
    ProfileSection,
    ResourceChanges,
    Resources,
    fault,
)


@dataclass
class Lacking:
    """What a file asks of the machine and is not there. Whoever reads a file with one of these is
    given it in the place of an error.

    variables: environment variables that texts name and that are not set, with what there is to say
        of the first place; the texts stay as they are.
    packages: the command that installs each, with who needs it.
    """

    variables: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)


class Settings:
    """The layers below every row: the file's base, the profile's, the command line's changes."""

    def __init__(
        self,
        document: Document,
        file: ExperimentFile,
        profile_name: str,
        profile: ProfileSection,
        changes: Overrides,
        method: Method,
        lacking: Lacking | None = None,
    ) -> None:
        """
        Args:
            lacking: is given what is not there; without it the first such thing is an error.
        """
        self.lacking = lacking
        self.document = document
        self.method = method
        # What a file says of the experiment and not of its runs, as `seeds` of their seed.
        self._file_keys = ExperimentFile.model_fields.keys() - method.config.model_fields.keys()
        self.changes = changes
        self.base: Overrides = {}
        for layer in (file.base, profile.base, changes):
            self.base = override(self.base, layer)
        self.places: tuple[Key, ...] = (("base",), ("profiles", profile_name, "base"))
        self.resource_layers = [file.resources, profile.resources]
        self._resource_places: tuple[Key, ...] = (
            ("resources",),
            ("profiles", profile_name, "resources"),
        )

    def build(
        self, name: str, layers: Iterable[Overrides], places: tuple[Key, ...]
    ) -> tuple[Configuration, Resources]:
        """The configuration and resources of one row or stage, and InputError where it has none.

        Args:
            name: what an error calls it.
            layers: overrides on top of the base, the last one winning.
            places: where in the document each of them stands.
        """
        values = self.base
        for layer in layers:
            values = override(values, layer)
        values = dict(values)
        resources = self._resources(name, values.pop("resources", None), places)
        for key in values:
            if key == "seed" or key in self._file_keys:
                raise self.error(places, key, f"{name}: {_no_setting(key)}")
        values = self._expanded(values, (), places)
        try:
            config = self.method.config.model_validate(values)
        except ValidationError as error:
            problem = fault(error, self.method.config, unsettable=("seed",))
            raise self.error(places, _location(error), f"{name}: {problem}") from None
        try:
            self.method.check(config, resources.workers)
        except SettingError as error:
            if self.lacking is None or not isinstance(error, NoPackage):
                raise self.error(places, error.key, f"{name}: {error}") from None
            self.lacking.packages.setdefault(error.command, f"{name}: {error.reason}")
        return config, resources

    def check_grid(self, row: DeclaredRow) -> None:
        """Refuses a grid that would give a variant a part it does not have (InfoNCE an alpha)."""
        try:
            before, _ = self.build(row.name, row.layers[:-1], row.places)
        except InputError:
            return  # whole only with what the grid sets
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

    def error(self, places: tuple[Key, ...], dotted: str, message: str) -> InputError:
        """An error at the setting it comes from, be it in the file or on the command line."""
        given = next((key for key in self.changes if covers(key, dotted)), None)
        own = [place for place in places if place not in self.places]
        if given is not None and not self.document.names(own, dotted):  # a row's word is the last
            return InputError(f"--set {one_line(given, 100)}: {one_line(message, 600)}")
        key = self.document.setting((*self.places, *places), dotted)
        return self.document.error(key, message)

    def _resources(self, name: str, own: Any, places: tuple[Key, ...]) -> Resources:
        try:
            layers = list(self.resource_layers)
            if own is not None:
                layers.append(ResourceChanges.model_validate(own))
            merged: dict[str, Any] = {}
            for layer in layers:
                merged |= layer.model_dump(exclude_unset=True)
            return Resources.model_validate(merged)
        except ValidationError as error:
            message = f"{name}: resources: {fault(error, Resources)}"
            if own is not None:
                dotted = f"resources.{_location(error)}".rstrip(".")
                raise self.error(places, dotted, message) from None
            outside = self.document.setting(self._resource_places, _location(error))
            raise self.document.error(outside, message) from None

    def _expanded(self, value: Any, at: tuple[str, ...], places: tuple[Key, ...]) -> Any:
        """``${NAME}`` in a text, replaced by the environment variable."""
        if isinstance(value, Mapping):
            return {key: self._expanded(v, (*at, str(key)), places) for key, v in value.items()}
        if isinstance(value, list):
            return [self._expanded(item, at, places) for item in value]
        if not isinstance(value, str) or "${" not in value:
            return value

        def of(match: re.Match[str]) -> str:
            dotted = ".".join(at)
            if match[1] not in os.environ:
                message = f"{dotted}: the environment variable {match[1]} is not set"
                fault = self.error(places, dotted, message)
                if self.lacking is None:
                    raise fault
                self.lacking.variables.setdefault(match[1], str(fault))
                return match[0]
            if names_secret(match[1]):
                message = f"{dotted}: {match[1]} is a secret by its name: {STAYS_OUTSIDE}"
                raise self.error(places, dotted, message)
            try:
                check_no_secret(os.environ[match[1]], f"{dotted}: {match[1]}")
            except InputError as error:
                raise self.error(places, dotted, str(error)) from None
            return os.environ[match[1]]

        return re.sub(r"\$\{(\w+)\}", of, value)


def _no_setting(key: str) -> str:
    """Why a key of the file cannot stand among the settings of its runs."""
    if key in ("seed", "seeds"):
        return (
            f"'{key}' is no setting of a run: write the seeds at the file's top level or in a "
            "profile, 'seeds: 3' or 'seeds: [0, 1, 2]'"
        )
    if key == "base":
        return "'base' is where settings stand and none itself: give 'epochs', not 'base.epochs'"
    return f"'{key}' is no setting of a run: it stands at the file's top level"


def _location(error: ValidationError) -> str:
    return ".".join(str(part) for part in error.errors()[0]["loc"])
