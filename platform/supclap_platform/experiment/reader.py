"""An experiment file, read and checked as a whole: every mistake is found before anything starts.

Layers, from the bottom: the defaults of RunConfig, `base`, the profile's `base`, changes of the
command line (``--set``), the group's overrides and the profile's of it, then a row's own (and its
place in the grid).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from supclap.document import Document, Key, read_document
from supclap.errors import InputError
from supclap.user_code import UserCode
from supclap_platform.experiment.checks import (
    check_baselines,
    check_claims,
    check_published,
    with_matters,
)
from supclap_platform.experiment.columns import check_columns
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.groups import groups_of, placed_in
from supclap_platform.experiment.include import check_names, check_part, included
from supclap_platform.experiment.layout import check_layout
from supclap_platform.experiment.method import Configuration, Method
from supclap_platform.experiment.own_code import CodePolicy, load_code_of
from supclap_platform.experiment.own_method import method_in
from supclap_platform.experiment.prices import EXAMPLE, Prices
from supclap_platform.experiment.profile import DEFAULT_PROFILE, profile_of
from supclap_platform.experiment.rows import DeclaredRow, rows_of
from supclap_platform.experiment.schema import (
    MOST_CELLS,
    ExperimentFile,
    Overrides,
    fault,
)
from supclap_platform.experiment.search import Search, placeholders, read_search
from supclap_platform.experiment.seeds import Looks, UntilDecided
from supclap_platform.experiment.settings import Lacking, Settings
from supclap_platform.experiment.shared_profiles import with_profiles
from supclap_platform.experiment.stage import read_stage, starting_from
from supclap_platform.experiment.supclap_method import SUPCLAP
from supclap_platform.experiment.variants import Variant, changes_of, refuse_duplicates
from supclap_platform.experiment.varying import check_vary, stage_of_each


def load_experiment(
    path: Path,
    profile: str = DEFAULT_PROFILE,
    changes: Mapping[str, Any] | None = None,
    policy: CodePolicy | None = None,
    lacking: Lacking | None = None,
) -> Experiment:
    """The experiment in a file, under a profile, with ``changes`` (dotted keys) of its base.

    The profile "laptop" exists in every file: where it is not written, it changes nothing. Files
    that it names under ``code`` are run in this process.

    Args:
        policy: whether they may be, and where to look for those that are not there.
        lacking: is given what the file asks of the machine and is not there (`Settings`); else the
            first such thing is an error.

    Raises:
        InputError: one line with file, line, key, what is valid and the nearest valid name.
    """
    document, file, shared = _read(path)
    policy = policy or CodePolicy()
    if "include" in document.values:
        return _including(document, file, profile, dict(changes or {}), policy, lacking)
    code = load_code_of(document, file, policy)
    return _Reader(document, file, profile, dict(changes or {}), shared, code, lacking).experiment()


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
    lacking: Lacking | None,
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
        reader = _Reader(inner, section, profile, changes, shared, code, lacking)
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
        lacking: Lacking | None = None,
    ) -> None:
        self.shared = shared
        self.code = code
        self.document = document
        self.file = file
        self.changes = changes
        self.profile_name = profile
        self.profile = profile_of(document, file, profile, bool(shared))
        self.method = SUPCLAP if file.method is None else self._own_method(file.method)
        self.settings = Settings(
            document, file, profile, self.profile, changes, self.method, lacking
        )

    def experiment(self) -> Experiment:
        file = self.file
        named = (self.profile_name, self.profile)
        groups = groups_of(self.document, file, named, self.method.first_words)
        rows = rows_of(file, self.document, self.settings.base, self.method)
        placed = [
            (group, placed_in(self.document, file, named, row, group))
            for group in groups or (None,)
            for row in rows
        ]
        seeds, looks, vary = self._seeds()
        if len(placed) * len(seeds) > MOST_CELLS:
            raise self.document.error(("seeds",), f"more than {MOST_CELLS} cells")
        variants = [self._variant(row, group) for group, row in placed]
        names = [row.name for row in rows]
        stage = read_stage(
            self.document,
            file.init,
            named,
            self.settings,
            variants,
            groups,
            stage_of_each(self.document, (*self._place("seeds"), "vary"), vary, file.init),
        )
        if stage is not None:
            rows_placed = [row for _, row in placed]
            variants = starting_from(stage, variants, rows_placed, self.settings)
        refuse_duplicates(self.document, variants, self.method.no_part_of_a_result)
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

    def _variant(self, row: DeclaredRow, group: str | None) -> Variant:
        config, resources = self.settings.build(row.name, row.layers, row.places)
        if row.places[-1] == ("grid",):
            self.settings.check_grid(row)
        return Variant(
            row.name, config, resources, changes_of(row.layers), group=group, places=row.places
        )
