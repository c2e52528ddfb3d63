"""What an experiment file defines under one profile, read and checked (`reader`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supclap.user_code import INSTALLED, UserCode
from supclap_platform.experiment.claims import Claim
from supclap_platform.experiment.columns import Column
from supclap_platform.experiment.keep import KEEP_ALL, KeepSection
from supclap_platform.experiment.layout import Layout
from supclap_platform.experiment.method import Method
from supclap_platform.experiment.prices import Prices
from supclap_platform.experiment.schema import PublishedSection
from supclap_platform.experiment.search import Search
from supclap_platform.experiment.seeds import Looks
from supclap_platform.experiment.settings import Settings
from supclap_platform.experiment.supclap_method import SUPCLAP
from supclap_platform.experiment.variants import Stage, Variant


@dataclass(frozen=True)
class Experiment:
    """Everything that an experiment file defines, under one profile."""

    name: str
    about: str
    path: Path
    profile: str
    changes: dict[str, Any]  # of the command line
    variants: tuple[Variant, ...]  # group by group
    seeds: tuple[int, ...]  # where they are added until all is decided: the most that there can be
    baselines: dict[str, str]  # row -> the row it is compared with
    stage: Stage | None
    columns: tuple[Column, ...]
    published: PublishedSection | None
    claims: tuple[Claim, ...]
    figures: tuple[str, ...]
    groups: tuple[str, ...] = ()  # none: every variant is a row of its own
    parts: tuple[Experiment, ...] = ()  # of a file that only includes others; all else is empty
    # Of such a file those that have no part in the profile, by their names.
    left_out: Mapping[str, Path] = field(default_factory=dict)
    search: Search | None = None  # its winner becomes a row (`search.winner.with_winner`)
    settings: Settings | None = field(default=None, repr=False, compare=False)  # knows the places
    shared: tuple[Path, ...] = ()  # the files of profiles that it names
    layout: Layout = field(default_factory=Layout)  # of its table and figures
    method: Method = SUPCLAP  # what trains its cells
    prices: Prices | None = None  # of an hour, so that time is shown as money too
    keep: KeepSection = KEEP_ALL  # which models stay, and where
    looks: Looks | None = None  # where seeds are added until the claims are decided
    # What each seed has of its own, in the method's words (`varying`); its stage: `stage.per_seed`.
    vary: tuple[str, ...] = ()
    # Variant -> seeds that it has by now (`results.looks.with_looks`); as many as the first look
    # needs where it is absent.
    reach: Mapping[str, int] | None = None
    code: UserCode = field(default=UserCode(), repr=False, compare=False)  # of the user's, loaded

    @property
    def files(self) -> tuple[Path, ...]:
        """Its own file, then all that it rests on: profiles, parts and theirs, each once."""
        below = (file for part in self.parts for file in part.files)
        return tuple(dict.fromkeys((self.path, *self.shared, *below, *self.left_out.values())))

    @property
    def code_files(self) -> dict[str, bytes]:
        """The sources of its own code and its parts', by their place from its folder."""
        found = {}
        for one in (self, *self.parts):
            above = one.path.parent.relative_to(self.path.parent)
            for place, content in one.code.files.items():
                inside = place.startswith(f"{INSTALLED}/")
                found[place if inside else (above / place).as_posix()] = content
        return found

    @property
    def without(self) -> str:
        """Which files that it includes have no part in the profile, in words; "" where none."""
        names = ", ".join(self.left_out)
        return f"no part of profile {self.profile}: {names}" if names else ""

    @property
    def rows(self) -> tuple[str, ...]:
        """The names of the table's rows."""
        return tuple(dict.fromkeys(variant.row for variant in self.variants))

    @property
    def sequential(self) -> bool:
        """Whether it, or a part of it, adds seeds until its claims are decided."""
        return self.looks is not None or any(part.sequential for part in self.parts)

    def seeds_of(self, variant: str) -> tuple[int, ...]:
        """The seeds that a variant is to have, as far as that is known by now."""
        if self.looks is None:
            return self.seeds
        return self.seeds[: (self.reach or {}).get(variant, self.looks.seeds[0])]

    def variant(self, name: str) -> Variant:
        """The variant of that name. Raises KeyError."""
        found = next((variant for variant in self.variants if variant.name == name), None)
        if found is None:
            raise KeyError(name)
        return found
