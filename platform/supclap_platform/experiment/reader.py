"""An experiment file, read and checked as a whole: every mistake is found before anything starts.

Layers, from the bottom: the defaults of RunConfig, `base`, the profile's `base`, changes of the
command line (``--set``), the group's overrides and the profile's of it, then a row's own (and its
place in the grid).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from supclap.document import Document, Key, read_document
from supclap.errors import InputError, nearest
from supclap.overrides import flat
from supclap.user_code import INSTALLED, UserCode
from supclap_platform.experiment.checks import (
    check_baselines,
    check_claims,
    check_published,
    with_matters,
)
from supclap_platform.experiment.claims import Claim
from supclap_platform.experiment.columns import AT, Column, check_columns, in_group
from supclap_platform.experiment.include import check_names, check_part, included
from supclap_platform.experiment.keep import KEEP_ALL, KeepSection
from supclap_platform.experiment.layout import Layout, check_layout
from supclap_platform.experiment.method import Configuration, Method
from supclap_platform.experiment.own_code import CodePolicy, load_code_of
from supclap_platform.experiment.own_method import method_in
from supclap_platform.experiment.prices import EXAMPLE, Prices
from supclap_platform.experiment.rows import DeclaredRow, rows_of
from supclap_platform.experiment.schema import (
    MOST_CELLS,
    ExperimentFile,
    Overrides,
    ProfileSection,
    PublishedSection,
    fault,
)
from supclap_platform.experiment.search import Search, placeholders, read_search
from supclap_platform.experiment.seeds import Looks, UntilDecided
from supclap_platform.experiment.settings import Settings
from supclap_platform.experiment.shared_profiles import KEY, with_profiles
from supclap_platform.experiment.stage import read_stage, starting_from
from supclap_platform.experiment.supclap_method import SUPCLAP
from supclap_platform.experiment.variants import Stage, Variant
from supclap_platform.experiment.varying import check_vary, stage_of_each

DEFAULT_PROFILE = "laptop"


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


def load_experiment(
    path: Path,
    profile: str = DEFAULT_PROFILE,
    changes: Mapping[str, Any] | None = None,
    policy: CodePolicy | None = None,
    unset: dict[str, str] | None = None,
) -> Experiment:
    """The experiment in a file, under a profile, with ``changes`` (dotted keys) of its base.

    The profile "laptop" exists in every file: where it is not written, it changes nothing. Files
    that it names under ``code`` are run in this process.

    Args:
        policy: whether they may be, and where to look for those that are not there.
        unset: is given the environment variables that the file names and that are not set
            (`Settings`); else the first is an error.

    Raises:
        InputError: one line with file, line, key, what is valid and the nearest valid name.
    """
    document, file, shared = _read(path)
    policy = policy or CodePolicy()
    if "include" in document.values:
        return _including(document, file, profile, dict(changes or {}), policy, unset)
    code = load_code_of(document, file, policy)
    return _Reader(document, file, profile, dict(changes or {}), shared, code, unset).experiment()


def _read(path: Path) -> tuple[Document, ExperimentFile, tuple[Path, ...]]:
    """A file with the profiles that it names, checked key by key, and the files of those."""
    document, shared = with_profiles(read_document(path))
    try:
        return document, ExperimentFile.model_validate(document.values), shared
    except ValidationError as error:
        location = [str(part) for part in error.errors()[0]["loc"]]
        raise document.error(location, fault(error, ExperimentFile)) from None


def _including(
    document: Document,
    file: ExperimentFile,
    profile: str,
    changes: Overrides,
    policy: CodePolicy,
    unset: dict[str, str] | None,
) -> Experiment:
    """An experiment that only includes others, each read under the same profile and changes."""
    parts, left_out = [], {}
    for key, path in included(document, file):
        inner, section, shared = _read(path)
        check_part(document, key, inner, section)
        if profile in section.profiles and section.profiles[profile] is None:
            left_out[section.experiment] = path
            continue
        code = load_code_of(inner, section, policy)
        reader = _Reader(inner, section, profile, changes, shared, code, unset)
        parts.append((key, reader.experiment()))
    check_names(document, file.experiment, [(key, part.name) for key, part in parts])
    if not parts:
        raise document.error(
            ("include",), f"include: no file of it has a part in the profile '{profile}'"
        )
    return Experiment(
        name=file.experiment,
        about=" ".join(file.about.split()),
        path=document.path,
        profile=profile,
        changes=changes,
        variants=(),
        seeds=(),
        baselines={},
        stage=None,
        columns=(),
        published=None,
        claims=(),
        figures=(),
        parts=tuple(part for _, part in parts),
        left_out=left_out,
    )


class _Reader:
    """Turns a checked file into an Experiment; holds what every step needs."""

    def __init__(
        self,
        document: Document,
        file: ExperimentFile,
        profile: str,
        changes: Overrides,
        shared: tuple[Path, ...],
        code: UserCode,
        unset: dict[str, str] | None = None,
    ) -> None:
        self.shared = shared
        self.code = code
        self.document = document
        self.file = file
        self.changes = changes
        self.profile_name = profile
        self.profile = self._profile(profile)
        self.method = SUPCLAP if file.method is None else self._own_method(file.method)
        self.settings = Settings(document, file, profile, self.profile, changes, self.method, unset)

    def experiment(self) -> Experiment:
        file = self.file
        groups = self._groups()
        rows = rows_of(file, self.document, self.settings.base, self.method)
        placed = [
            (group, self._in_group(row, group)) for group in groups or (None,) for row in rows
        ]
        seeds, looks, vary = self._seeds()
        if len(placed) * len(seeds) > MOST_CELLS:
            raise self.document.error(("seeds",), f"more than {MOST_CELLS} cells")
        variants = [self._variant(row, group) for group, row in placed]
        names = [row.name for row in rows]
        stage = read_stage(
            self.document,
            file.init,
            (self.profile_name, self.profile),
            self.settings,
            variants,
            groups,
            stage_of_each(self.document, (*self._place("seeds"), "vary"), vary, file.init),
        )
        if stage is not None:
            rows_placed = [row for _, row in placed]
            variants = starting_from(stage, variants, rows_placed, self.settings)
        self._no_duplicates(variants, [row for _, row in placed])
        prices = file.prices if self.profile.prices is None else self.profile.prices
        search = self._search(seeds, names, groups)
        if search is not None:
            self._check_money(search, prices)
        at = self._place("table")
        table = self.profile.table or file.table
        claimed = self._place("claims")
        claims = file.claims if self.profile.claims is None else self.profile.claims
        if looks is not None and not claims:
            raise self.document.error(
                (*self._place("seeds"), "until"),
                "seeds: 'until: decided' needs claims, which there are none of; declare some, or "
                "give a number of seeds",
            )
        of_groups: dict[str, dict[str, Configuration]] = {}
        for variant in variants:
            of_groups.setdefault(variant.group or "", {})[variant.row] = variant.config
        configs = {variant.name: variant.config for variant in variants}
        if search is not None:
            names += search.rows
            configs |= placeholders(search)
            of_groups[""] |= placeholders(search)
        varied = check_vary(
            self.document,
            (*self._place("seeds"), "vary"),
            vary or (),
            file.init,
            configs,
            self.method,
        )
        declared = [(column.metric, column.label or "") for column in table.columns]
        place: Key = (*at, "columns")
        columns = check_columns(self.document, place, declared, groups, of_groups, self.method)
        layout = check_layout(self.document, at, table, file.figures, names, self.method)
        judged = check_claims(self.document, claimed, claims, configs, groups, self.method)
        return Experiment(
            name=file.experiment,
            about=" ".join(file.about.split()),
            path=self.document.path,
            shared=self.shared,
            code=self.code,
            profile=self.profile_name,
            changes=self.changes,
            variants=tuple(variants),
            seeds=tuple(seeds),
            looks=looks,
            vary=varied,
            baselines=check_baselines(
                self.document,
                file.baseline,
                names,
                {row.name: row.multiplied for row in rows if row.multiplied},
            ),
            stage=stage,
            columns=columns,
            published=check_published(self.document, at, table.published, names, columns),
            claims=with_matters(
                self.document,
                (self._place("matters"), self._matters()),
                claimed,
                judged,
                groups,
                self.method,
                self.profile.claims is not None and self.profile.matters is None,
            ),
            figures=tuple(layout.figures),
            layout=layout,
            groups=groups,
            search=search,
            settings=self.settings,
            method=self.method,
            prices=prices,
            keep=self.profile.keep or file.keep,
        )

    def _seeds(self) -> tuple[tuple[int, ...], Looks | None, tuple[str, ...] | None]:
        """All seeds that the experiment may come to have, the looks where it adds them, and what
        each is said to have of its own (None: nothing is said)."""
        chosen = self.file.seeds if self.profile.seeds is None else self.profile.seeds
        if isinstance(chosen, UntilDecided):
            return tuple(range(chosen.asked.at_most)), chosen.asked, chosen.vary
        return chosen, None, None

    def _matters(self) -> dict[str, float]:
        return self.file.matters if self.profile.matters is None else self.profile.matters

    def _search(
        self, seeds: Sequence[int], rows: Sequence[str], groups: Sequence[str]
    ) -> Search | None:
        if self.file.search is not None and groups:
            raise self.document.error(("search",), "a search has no groups; give it a file")
        return read_search(
            self.document,
            self.file.search,
            self.profile.search,
            self.profile_name,
            self.settings,
            self.file.experiment,
            tuple(seeds),
            tuple(rows),
        )

    def _check_money(self, search: Search, prices: Prices | None) -> None:
        """Raises InputError where a search may spend money, and its workers have no price."""
        if search.budget.money is None:
            return
        _, resources = search.build("search", {})
        if prices is None or not prices.hour(resources, 1):
            above = ("profiles", self.profile_name) if "budget" in self.profile.search else ()
            what = "a GPU" if resources.gpu else "cpu"
            raise self.document.error(
                (*above, "search", "budget", "money"),
                f"search.budget.money: nothing says what {what} costs; give prices, such as "
                f"{EXAMPLE}",
            )

    def _own_method(self, named: str) -> Method:
        try:
            return method_in(self.code, named)
        except InputError as error:
            raise self.document.error(("method",), f"method: {error}") from None

    def _place(self, part: str) -> Key:
        """Where a part stands that a profile may put in the place of the file's."""
        if getattr(self.profile, part) is None:
            return (part,)
        return ("profiles", self.profile_name, part)

    def _groups(self) -> tuple[str, ...]:
        """The groups' names: the file's without those that the profile takes away, then its own."""
        own = self.profile.groups
        for name, changes in own.items():
            if changes is None and name not in self.file.groups:
                raise self.document.error(
                    ("profiles", self.profile_name, "groups", name),
                    f"no group '{name}' to take away{nearest(name, self.file.groups)}",
                )
        names = dict.fromkeys([*self.file.groups, *own])
        for name in names:
            if name in self.method.first_words:
                place = () if name in self.file.groups else ("profiles", self.profile_name)
                key: Key = (*place, "groups", name)
                raise self.document.error(
                    key,
                    f"{'.'.join(key)}: '{name}' begins the names of metrics; call the group "
                    "another name",
                )
        kept = tuple(name for name in names if name not in own or own[name] is not None)
        if names and not kept:
            raise self.document.error(
                ("profiles", self.profile_name, "groups"), "the profile takes every group away"
            )
        return kept

    def _in_group(self, row: DeclaredRow, group: str | None) -> DeclaredRow:
        if group is None:
            return row
        if AT in row.name:
            raise self.document.error(
                row.places[-1], f"'{row.name}': '{AT}' stands between a row and its group"
            )
        place: Key = ("profiles", self.profile_name, "groups", group)
        layers = (self.file.groups.get(group) or {}, self.profile.groups.get(group) or {})
        return DeclaredRow(
            in_group(row.name, group),
            (*layers, *row.layers),
            (("groups", group), place, *row.places),
        )

    def _profile(self, name: str) -> ProfileSection:
        found = self.file.profiles.get(name)
        if found is not None:
            return found
        if name in self.file.profiles:
            raise self.document.error(
                ("profiles", name), f"the file has no part in the profile '{name}'; choose another"
            )
        if name == DEFAULT_PROFILE:
            return ProfileSection()
        valid = sorted({DEFAULT_PROFILE, *(n for n, p in self.file.profiles.items() if p)})
        raise self.document.error(
            (KEY if self.shared else "profiles",),
            f"no profile '{name}'{nearest(name, valid)} (profiles: {', '.join(valid)})",
        )

    def _variant(self, row: DeclaredRow, group: str | None) -> Variant:
        config, resources = self.settings.build(row.name, row.layers, row.places)
        if row.places[-1] == ("grid",):
            self.settings.check_grid(row)
        changes: dict[str, Any] = {}
        for layer in row.layers:
            for key, value in flat(layer).items():
                changes = {k: v for k, v in changes.items() if not _undone(k, v, key, value)}
                changes[key] = value
        return Variant(row.name, config, resources, changes, group=group, places=row.places)

    def _no_duplicates(self, variants: list[Variant], rows: list[DeclaredRow]) -> None:
        """Refuses rows that are one run. In two groups they may be: one that changes nothing."""
        seen: dict[str, str] = {}
        for variant, row in zip(variants, rows, strict=True):
            config = variant.config.model_dump(
                mode="json", exclude=set(self.method.no_part_of_a_result)
            )
            what = [config, variant.resources.workers, variant.from_stage, variant.group]
            content = json.dumps(what, sort_keys=True)
            if content in seen:
                raise self.document.error(
                    row.places[-1],
                    f"the variants '{seen[content]}' and '{variant.name}' are the same run: "
                    "their configurations do not differ",
                )
            seen[content] = variant.name


def _undone(key: str, value: Any, later: str, by: Any) -> bool:
    """Whether a later word takes a part away that an earlier one was about, or brings it back."""
    gone = by is None and key.startswith(f"{later}.")
    return gone or (value is None and later.startswith(f"{key}."))
