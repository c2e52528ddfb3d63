"""Which code a run depends on, and its version: a hash that no comment changes.

A run depends on the modules that its training loop imports, directly or not, but for those of parts
that its configuration does not use: another loss, another encoder, another source of data. Each is
hashed over its syntax tree without docstrings, comments and layout. The modules are derived from
the imports, not listed; listed are only the parts (`PARTS`) and the few modules that cannot change
a number (`NO_EFFECT`). `tests/method/test_code.py` holds the outcome, and watches real runs: they
execute no function of a module that their version leaves out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supclap.known_syntax import KnownSyntax
from supclap.registry import Registered
from supclap.syntax import Parsed
from supclap.user_code.identity import imported_by, parts_in, parts_of

if TYPE_CHECKING:
    from supclap.config import DataConfig, RunConfig

PACKAGE = "supclap"
LOOP = "supclap.training"  # holds `fit`, from where the imports are followed

# A module, or a package with all below it -> whether a configuration uses it. Of two entries that
# fit a module the longer one counts.
PARTS: dict[str, Callable[[RunConfig], bool]] = {
    "supclap.data.soundscenes": lambda c: any(d.name == "soundscenes" for d in _data(c)),
    "supclap.data.soundscenes.recorded": lambda c: any(d.events for d in _data(c)),
    "supclap.data.soundscenes.recordings": lambda c: any(d.events for d in _data(c)),
    "supclap.data.sources": lambda c: any(d.events for d in _data(c)) or _own_data(c),
    "supclap.data.sources.files": lambda c: _listed(c),
    "supclap.data.sources.listing": lambda c: _listed(c),
    "supclap.data.sources.tables": lambda c: _listed(c),
    "supclap.data.sources.own": lambda c: _own_data(c),
    "supclap.data.features": lambda c: _features(c),
    "supclap.feature_inputs": lambda c: _features(c),
    "supclap.model.given": lambda c: _features(c),
    "supclap.data.decode": lambda c: any(d.events for d in _data(c)) or _own_data(c),
    "supclap.data.prepare": lambda c: _own_data(c),
    "supclap.data.shards": lambda c: _own_data(c),
    "supclap.parts.source": lambda c: _own_data(c),
    "supclap.hard_negatives": lambda c: c.data.hard_negatives > 0,
    "supclap.ordering": lambda c: c.data.order is not None or c.data.hard_negatives > 0,
    "supclap.augmenting": lambda c: bool(c.data.augment),
    "supclap.parts.augmentation": lambda c: bool(c.data.augment),
    "supclap.noise": lambda c: c.data.noise > 0,
    "supclap.number_schedule": lambda c: c.loss.has_schedule,
    "supclap.losses.infonce": lambda c: c.loss.name == "infonce",
    "supclap.losses.siglip": lambda c: c.loss.name == "siglip",
    "supclap.losses.svr": lambda c: c.loss.svr is not None,
    "supclap.losses.static_radius": lambda c: _radius(c) == "static",
    "supclap.losses.dynamic_radius": lambda c: _radius(c) == "dynamic",
    "supclap.losses.multilingual": lambda c: c.loss.multilingual is not None,
    "supclap.losses.accumulation": lambda c: c.chunk is not None,
    "supclap.own_metrics": lambda c: bool(c.metrics),
    "supclap.evaluation.geometry": lambda c: any(
        metric.name == "geometry" for metric in c.metrics.values()
    ),
    "supclap.model.head": lambda c: None in (c.model.audio.head, c.model.text.head),
    "supclap.model.cnn": lambda c: c.model.audio.name == "cnn",
    "supclap.model.audio_transformer": lambda c: c.model.audio.name == "transformer",
    "supclap.model.ced": lambda c: c.model.audio.name == "ced",
    "supclap.model.text": lambda c: c.model.text.name == "transformer",
    "supclap.model.sonar": lambda c: c.model.text.name == "sonar",
    "supclap.model.lora": lambda c: c.model.audio.lora is not None or c.model.text.lora is not None,
    "supclap.model.hf.audio": lambda c: c.model.audio.name == "huggingface",
    "supclap.model.hf.text": lambda c: (
        c.model.text.name in ("huggingface", "sentence_transformers")
    ),
    "supclap.model.hf.sentence": lambda c: c.model.text.name == "sentence_transformers",
}
# What they do cannot change a number: words, places, files as such, measuring, this module itself,
# and the reading of a configuration, as a run is named by what it resolves to.
NO_EFFECT = {
    "supclap.addresses",
    "supclap.code",
    "supclap.config",
    "supclap.config.data",
    "supclap.config.loss",
    "supclap.config.measured",
    "supclap.config.model",
    "supclap.config.optimizer",
    "supclap.config.pretrained",
    "supclap.config.run",
    "supclap.config.values",
    "supclap.copies",
    "supclap.data.cache",
    "supclap.data.json_keys",
    "supclap.data.places",
    "supclap.device_share",
    "supclap.document",
    "supclap.encoder_keys",
    "supclap.errors",
    "supclap.explaining",
    "supclap.feasibility",
    "supclap.fetching",
    "supclap.hub",
    "supclap.known_syntax",
    "supclap.later_keys",
    "supclap.local_files",
    "supclap.objects",
    "supclap.open_section",
    "supclap.overrides",
    "supclap.part_keys",
    "supclap.parts.calling",
    "supclap.progress",
    "supclap.registry",
    "supclap.conditional",
    "supclap.regular",
    "supclap.rehearsal",
    "supclap.run_files",
    "supclap.s3",
    "supclap.scalars",
    "supclap.scratch",
    "supclap.secrets",
    "supclap.section",
    "supclap.storage",
    "supclap.stored",
    "supclap.syntax",
    "supclap.usage",
    "supclap.user_code",
    "supclap.user_code.folder",
    "supclap.user_code.identity",
    "supclap.user_code.imports",
    "supclap.user_code.loading",
    "supclap.user_code.outline",
    "supclap.user_code.travel",
    "supclap.version",
    "supclap.wording",
}


# What every part imports: its protocol is in the version where the run's own code calls it.
ALWAYS_THERE = {"supclap", "supclap.parts"}


def code_version(config: RunConfig) -> str:
    """The version of the code that a run depends on, 12 hexadecimal digits."""
    return version_of(own_code().modules(config))


def version_of(modules: Mapping[str, str]) -> str:
    """One version for several modules, from the hash of each."""
    text = "".join(f"{name}\0{modules[name]}\n" for name in sorted(modules))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@cache
def own_code() -> Code:
    """The code of this process."""
    return Code(Path(__file__).parent)


class Code:
    """The modules of a copy of the package; each is read once, when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parsed: dict[str, Parsed | None] = {}
        self._syntax = KnownSyntax()
        self._versions: dict[tuple[Any, ...], dict[str, str]] = {}

    def modules(self, config: RunConfig) -> dict[str, str]:
        """Each module that a run of the configuration depends on, with its hash; then each part of
        the user's that it names (`supclap.user_code.identity`)."""
        parts = parts_in(config)
        return {**self._own(config, parts), **parts_of(config, parts)}

    def _own(self, config: RunConfig, parts: list[Registered]) -> dict[str, str]:
        used = {name: fits(config) for name, fits in PARTS.items()}
        imported = imported_by(parts) - ALWAYS_THERE
        key = (*used.values(), imported)
        if key not in self._versions:
            roots = [LOOP, *(name for name, yes in used.items() if yes)]
            below = [module for root in roots for module in self._below(root)]
            self._versions[key] = self._closure(
                [m for m in below if _used(m, used)] + list(self._known(sorted(imported))), used
            )
        return self._versions[key]

    def under(self, package: str) -> dict[str, str]:
        """The same of a module, or of all in a package, and nothing that they import."""
        found = {name: self._read(name).version for name in self._below(package)}
        self._syntax.keep()
        return found

    def reached(self, names: Iterable[str]) -> dict[str, str]:
        """The same of each module that the names lead to, whatever a configuration uses."""
        return self._closure(list(self._known(sorted(names))), {})

    def _closure(self, left: list[str], used: Mapping[str, bool]) -> dict[str, str]:
        """What some modules reach, themselves included, through no part that is not used."""
        left = list(left)
        found: dict[str, str] = {}
        while left:
            module = left.pop()
            if module in found or module in NO_EFFECT:
                continue
            parsed = self._read(module)
            found[module] = parsed.version
            left += [name for name in self._known(parsed.imports) if _used(name, used)]
        self._syntax.keep()
        return found

    def _below(self, module: str) -> list[str]:
        """A module; of a package all of its modules, as it may import them by name."""
        path = self.folder.joinpath(*module.split(".")[1:])
        if not path.is_dir():
            return [module]
        files = sorted(path.rglob("*.py"))
        below = (file.relative_to(self.folder).with_suffix("").parts for file in files)
        return [".".join([PACKAGE, *(p for p in parts if p != "__init__")]) for parts in below]

    def _known(self, names: Iterable[str]) -> Iterator[str]:
        """Those names that are modules of this package."""
        for name in names:
            if name not in self._parsed:
                self._parsed[name] = self._parse(name)
            if self._parsed[name] is not None:
                yield name

    def _read(self, module: str) -> Parsed:
        (name,) = self._known([module])
        parsed = self._parsed[name]
        assert parsed is not None
        return parsed

    def _parse(self, module: str) -> Parsed | None:
        package, *parts = module.split(".")
        if package != PACKAGE:
            return None
        path = self.folder.joinpath(*parts)
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        try:
            return self._syntax.parse(file.read_bytes())
        except FileNotFoundError:  # a name within a module
            return None


def _used(module: str, used: Mapping[str, bool]) -> bool:
    """What the longest entry says that fits the module; a module of the core is always used."""
    name = module
    while name:
        if name in used:
            return used[name]
        name = name.rpartition(".")[0]
    return True


def _data(config: RunConfig) -> Iterator[DataConfig]:
    """The data of a run, and of its further test sets."""
    yield config.data
    yield from (also.data for also in config.also.values() if also.data is not None)


def _own_data(config: RunConfig) -> bool:
    return any(d.name not in ("soundscenes", "collection", "features") for d in _data(config))


def _listed(config: RunConfig) -> bool:
    """Whether a table or a listing is read; of features it may have been before the run."""
    return any(d.events for d in _data(config)) or _own_data(config) or _features(config)


def _features(config: RunConfig) -> bool:
    return config.data.name == "features"  # and then so are all further test sets


def _radius(config: RunConfig) -> str | None:
    return None if config.loss.svr is None else config.loss.svr.radius
