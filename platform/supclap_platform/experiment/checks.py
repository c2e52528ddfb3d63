"""What an experiment file asks of its runs beside columns, checked against them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from supclap.document import Document, Key
from supclap.errors import InputError, nearest
from supclap_platform.experiment.claims import Claim, Greater, Trend, parse_claim
from supclap_platform.experiment.columns import AT, Column, split_group
from supclap_platform.experiment.measure import WHOLE
from supclap_platform.experiment.method import Configuration, Method
from supclap_platform.experiment.published import published_table
from supclap_platform.experiment.schema import PublishedSection


def check_baselines(
    document: Document,
    baseline: str | Mapping[str, Sequence[str]] | None,
    rows: Sequence[str],
    multiplied: Mapping[str, tuple[str, str]],
) -> dict[str, str]:
    """Row -> the row it is compared with.

    A baseline that a grid multiplies is one for each of the grid's settings: every row is compared
    with that of its own.

    Args:
        multiplied: rows that a grid has made -> the name before, and the settings.

    Raises InputError for a name that is no row's, for a row with two baselines or with itself, and
    for one that the grid leaves alone while it multiplies what it is to be compared with.
    """
    if baseline is None:
        return {}
    before = {name for name, _ in multiplied.values()}
    if isinstance(baseline, str):
        if baseline in before and baseline not in rows:
            return _of_settings(document, baseline, rows, multiplied)
        _known(document, ("baseline",), "baseline: no variant", baseline, rows)
        return {row: baseline for row in rows if row != baseline}
    result: dict[str, str] = {}
    for name, compared in baseline.items():
        if name in before and name not in rows:
            own = ", ".join(f"'{row}'" for row in multiplied if multiplied[row][0] == name)
            raise document.error(
                ("baseline", name), f"baseline: the grid multiplies '{name}'; name one of {own}"
            )
        _known(document, ("baseline", name), "baseline: no variant", name, rows)
        if not compared:
            raise document.error(("baseline", name), f"baseline: '{name}' names no row to compare")
        for place, row in enumerate(compared):
            key: Key = ("baseline", name, str(place))
            _known(document, key, "baseline: no variant", row, rows)
            if row in result:
                raise document.error(key, f"baseline: '{row}' has two, {result[row]} and {name}")
            if row == name:
                raise document.error(key, f"baseline: '{row}' is compared with itself")
            result[row] = name
    return result


def _of_settings(
    document: Document,
    baseline: str,
    rows: Sequence[str],
    multiplied: Mapping[str, tuple[str, str]],
) -> dict[str, str]:
    """Each row that a grid has made, compared with the baseline of the same settings."""
    found: dict[str, str] = {}
    for row in rows:
        name, settings = multiplied.get(row, (row, None))
        if name == baseline:
            continue
        if settings is None:
            own = [one for one, (stem, _) in multiplied.items() if stem == baseline]
            raise document.error(
                ("baseline",),
                f"baseline: the grid multiplies '{baseline}' and not '{row}', which can be "
                f"compared with one of its rows alone: {{'{own[0]}': [{row}]}}",
            )
        found[row] = f"{baseline}, {settings}"
    return found


def check_published(
    document: Document,
    place: Key,
    section: PublishedSection | None,
    rows: Iterable[str],
    columns: Sequence[Column],
) -> PublishedSection | None:
    """The published table to stand beside, its names known on both sides. Raises InputError."""
    if section is None:
        return None
    key: Key = (*place, "published")
    rows, names = list(rows), [column.name for column in columns]
    try:
        published = published_table(section.table)
    except InputError as error:
        raise document.error(key, str(error)) from None
    for ours, theirs in section.rows.items():
        _known(document, (*key, "rows", ours), "no variant", ours, rows)
        _known(document, (*key, "rows", ours), "no published row", theirs, published.rows)
    for ours, theirs in section.columns.items():
        _known(document, (*key, "columns", ours), "no table column", ours, names)
        _known(document, (*key, "columns", ours), "no published column", theirs, published.columns)
    return section


def check_claims(
    document: Document,
    place: Key,
    claims: Iterable[str],
    configs: Mapping[str, Configuration],
    groups: Sequence[str],
    method: Method,
) -> tuple[Claim, ...]:
    """The claims, each about variants that exist and a metric they report. Raises InputError."""
    result: list[Claim] = []
    for position, text in enumerate(claims):
        key: Key = (*place, str(position))
        try:
            claim = parse_claim(text, list(configs), groups, method)
        except InputError as error:
            raise document.error(key, str(error)) from None
        for name in claim.variants:
            reason = method.why_not_reported(claim.metric, configs[name])
            if reason:
                raise document.error(
                    key, f"claim '{claim.text}': {name} reports no {claim.metric}: {reason}"
                )
            reason = _why_not_then(claim, configs[name])
            if reason:
                raise document.error(key, f"claim '{claim.text}': {reason}")
        if claim in result:
            raise document.error(key, f"the claim '{claim.text}' stands twice")
        result.append(claim)
    return tuple(result)


def _why_not_then(claim: Claim, config: Configuration) -> str | None:
    """Why a run has no such number after the epoch that a claim asks for; None where it can."""
    if isinstance(claim, Trend) or claim.epoch is None:
        return None
    if claim.epoch > config.epochs:
        return f"its runs end after epoch {config.epochs}"
    if claim.measure.name in WHOLE:
        return f"{claim.metric} is of a whole run; no epoch has it"
    if claim.measure.held_out:
        instead = claim.measure.instead
        only = f"{claim.metric} is measured at the end alone"
        return f"{only}; each epoch has {instead}" if instead else only
    return None


def with_matters(
    document: Document,
    matters: tuple[Key, Mapping[str, float]],
    claimed: Key,
    claims: Sequence[Claim],
    groups: Sequence[str],
    method: Method,
    lenient: bool = False,
) -> tuple[Claim, ...]:
    """The claims, each that compares two rows with what matters on its metric; its own word stays.

    Args:
        matters: where it stands, and metric, of a group or of all -> the smallest difference.
        claimed: where the claims stand.
        lenient: allow metrics that no claim is on (a profile has other claims than the file).

    Raises InputError for a metric that no claim is on, and for a claim whose margin lies beyond
    what matters, so that a negligible difference would contradict it before.
    """
    found = list(claims)
    place, by_metric = matters
    asked: dict[tuple[str | None, str], str] = {}  # group and metric -> as the file names it
    for name in by_metric:
        key: Key = (*place, name)
        try:
            group, metric = split_group(name, groups, method)
            metric = method.measure(metric).name
        except InputError as error:
            raise document.error(key, f"matters: {error}") from None
        other = asked.setdefault((group, metric), name)
        if other != name:
            raise document.error(key, f"matters: '{name}' and '{other}' are the same metric")
    # What is said of one group goes above what is said of all.
    for (group, metric), name in sorted(asked.items(), key=lambda one: one[0][0] is not None):
        own = [
            number
            for number, claim in enumerate(claims)
            if isinstance(claim, Greater)
            and claim.metric == metric
            and (group is None or all(v.endswith(f"{AT}{group}") for v in claim.variants))
        ]
        if not own and not lenient:
            raise document.error(
                (*place, name), f"matters: no claim 'A > B on {name}' that it could be about"
            )
        for number in own:
            claim = claims[number]
            assert isinstance(claim, Greater)
            if claim.matters is None:
                found[number] = replace(claim, matters=by_metric[name])
    for number, claim in enumerate(found):
        if isinstance(claim, Greater) and claim.matters and claim.margin >= claim.matters:
            raise document.error(
                (*claimed, str(number)),
                f"claim '{claim.text}': 'by at least {claim.margin:g}' is no less than what "
                f"matters ({claim.matters:g}), so it could never be negligible: a difference so "
                "small contradicts it; write 'matters from' with a larger number",
            )
    return tuple(found)


def _known(document: Document, key: Key, what: str, name: str, valid: Iterable[str]) -> None:
    valid = list(valid)
    if name not in valid:
        raise document.error(
            key, f"{what} '{name}'{nearest(name, valid)} (valid: {', '.join(valid)})"
        )
