"""The report: one HTML page on an experiment that needs nothing but itself, from the ledger.

No script, no font, no picture from elsewhere; the page forbids itself any connection, and any
script but its own, which sorts and filters tables. The same content of the ledger gives the same
bytes. Template, style and script lie beside, in ``page/``.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from supclap.progress import activity
from supclap.wording import counted, duration, seed_list
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.columns import in_group
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.profile import DEFAULT_PROFILE
from supclap_platform.ledger.bill import Costs
from supclap_platform.ledger.history import Histories, History, seeds_of
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import profile_key
from supclap_platform.ledger.records import State
from supclap_platform.ledger.snapshot import Snapshot
from supclap_platform.mirror.store import Store
from supclap_platform.mirror.tracked import Tracked, tracked_runs
from supclap_platform.results.caption import few_of
from supclap_platform.results.conclusion import Conclusion, conclude_parts
from supclap_platform.results.costs import costs_of, trials_cost
from supclap_platform.results.facts import Facts, RunFact, gather_facts, versions
from supclap_platform.results.fragment import as_html
from supclap_platform.results.marks import interval
from supclap_platform.results.pages import policy_hash, resource, template
from supclap_platform.results.paths import HEADS as STEPS
from supclap_platform.results.paths import path_figure, rows_of
from supclap_platform.results.pictures import Figure, pictures_of
from supclap_platform.results.slots import slots_of
from supclap_platform.results.soonest import Rival
from supclap_platform.results.verdict_formats import (
    HEADS,
    account_of,
    legend_of,
    outcomes_of,
    seeds_to_decide,
    words_of,
)
from supclap_platform.results.verdicts import Outcome, Verdict

if TYPE_CHECKING:
    from supclap_platform.results.figures import Drawing

# Columns of figures beside the rows' names that fit a sheet upright, and a sheet on its side, on A4
# and on Letter. A table of more than fit upright is printed on sheets on their side.
UPRIGHT, SIDEWAYS = 6, 12
REPORT = "report.html"
SIGNS = {
    Outcome.SUPPORTED: "✓",
    Outcome.CONTRADICTED: "✗",
    Outcome.NEGLIGIBLE: "≈",
    Outcome.UNDECIDED: "?",
}


@dataclass(frozen=True)
class Chapter:
    """What the page shows of one experiment: one that includes others has several."""

    conclusion: Conclusion
    figures: tuple[Figure, ...]
    facts: Facts

    @property
    def experiment(self) -> Experiment:
        return self.conclusion.experiment

    @property
    def name(self) -> str:
        return self.experiment.name

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        return [_verdict(place, one) for place, one in enumerate(self.conclusion.verdicts, 1)]

    @property
    def legend(self) -> list[str]:
        found = self.conclusion.verdicts
        return list(legend_of(found)) if found else []

    @property
    def sideways(self) -> bool:
        """Whether the table is too wide for a sheet of paper that stands upright."""
        return sum(map(len, slots_of(self.conclusion.table))) > UPRIGHT

    @property
    def table(self) -> Markup:
        own = anchor(self.name)
        sheet = SIDEWAYS if self.sideways else UPRIGHT
        return Markup(
            as_html(self.conclusion.table, lambda run: f"#{own}:run:{run.signature}", sheet)
        )

    @property
    def setup(self) -> dict[str, str]:
        """The experiment's frame: everything that is no setting of a run."""
        own = self.experiment
        facts = {"profile": own.profile, "seeds": seeds_of(own)}
        facts |= {f"--set {key}": str(value) for key, value in sorted(own.changes.items())}
        if own.groups:
            facts["groups"] = ", ".join(own.groups)
        if own.baselines:
            facts["baselines"] = ", ".join(dict.fromkeys(own.baselines.values()))
        if own.stage is not None:
            row = own.stage.variant
            kind = f"the cells of {row}" if row else "a stage of their own"
            shared = "one for each seed" if own.stage.per_seed else "one for all"
            facts["starts from"] = f"{kind}, {shared}"
        return facts

    @cached_property
    def waiting(self) -> list[tuple[str, str, str]]:
        """Runs without a result that did not fail: row, state, seeds."""
        seeds: dict[tuple[str, str], list[int]] = {}
        for run in self.facts.troubles:
            if run.state is not State.FAILED:
                seeds.setdefault((called(run), str(run.state)), []).append(run.seed)
        return [(name, state, seed_list(of)) for (name, state), of in seeds.items()]

    @cached_property
    def failed(self) -> list[RunFact]:
        return [run for run in self.facts.troubles if run.state is State.FAILED]


@activity("writing the report")
def build_report(
    experiment: Experiment,
    ledger: Ledger,
    mixed: bool = False,
    store: Store | None = None,
    ended: int | None = None,
    concluded: Sequence[Conclusion] = (),
    drawings: Mapping[str, Sequence[Drawing]] | None = None,
) -> bytes:
    """The page, in UTF-8, from what the ledger holds now. Nothing is trained or written.

    Args:
        mixed: allow finished runs of several code versions or data, and say so.
        store: where MLflow keeps its runs; the page leads to them.
        ended: when the run that writes the page ended, in milliseconds since 1970, if that is not
            in the ledger yet.
        concluded: the conclusions of its parts from this same `Snapshot`, where they are made.
        drawings: part -> its declared figures with their PDF, where they are drawn from the same.

    Raises:
        InputError: as `tables.build_table`.
    """
    snapshot = ledger if isinstance(ledger, Snapshot) else Snapshot(ledger)
    tracked = tracked_runs(store, experiment.name)
    concluded = concluded or conclude_parts(experiment, snapshot, mixed)
    parts = [_part(one, snapshot, tracked, (drawings or {}).get(one.name)) for one in concluded]
    history = _history(experiment, ledger)
    if history is not None and ended is not None:
        # A run that had nothing to train changes no time: `Histories.end` keeps it, too.
        history = replace(history, ended=history.resting or ended)
    style, script = resource("report.css"), resource("table.js")
    page = template("report.html", duration=duration, anchor=anchor, called=called).render(
        experiment=experiment,
        title=experiment.about or experiment.name,
        parts=parts,
        including=bool(experiment.parts),
        counts=_counts(parts),
        steps=STEPS,
        cost=_cost(experiment, ledger, parts, history),
        costs=[found for part in parts for found in costs_of(part.conclusion)],
        versions=_versions(parts),
        here=versions(),
        style=Markup(style),
        style_hash=policy_hash(style),
        script=Markup(script),
        script_hash=policy_hash(script),
        changes=profile_key(experiment),
        command=_command(experiment, mixed),
    )
    return page.encode()


def called(run: RunFact) -> str:
    """What the page calls a run's row."""
    if run.stage:
        return "the stage of init"
    return in_group(run.variant, run.group)


def anchor(part: str) -> str:
    """The page's name for a part's place; with ``:`` no part can be called like a place in it."""
    return f"part:{part}"


def _part(
    one: Conclusion,
    ledger: Ledger,
    tracked: dict[str, Tracked],
    drawings: Sequence[Drawing] | None,
) -> Chapter:
    return Chapter(
        one,
        pictures_of(one.experiment, ledger, one.evidence, drawings),
        gather_facts(one.experiment, ledger, one.evidence.cells, tracked),
    )


def _verdict(place: int, one: Verdict) -> dict[str, Any]:
    """What the page shows of a verdict, in the words and numbers of verdicts.txt."""
    cells = dict(zip(HEADS, words_of(place, one), strict=True))
    return {
        "place": place,
        "claim": one.claim.text,
        "outcome": str(one.outcome),
        "sign": SIGNS[one.outcome],
        "effect": cells["effect"],
        "path": path_figure(one),
        "steps": rows_of(one),
        "rivals": [_rival(rival, one) for rival in one.rivals],
        "adjusted": "" if one.adjusted is None else cells["adjusted"],
        "interval": cells["95 % interval"],
        "p": cells["p"],
        "corrected": cells["corrected"],
        "seeds": cells["seeds"],
        "queries": cells["queries"],
        "decide": seeds_to_decide(one),
        "drawn": interval(one),
        "account": account_of(one),
    }


def _rival(rival: Rival, one: Verdict) -> list[str]:
    """A row of the table on which metric would decide soonest."""
    digits = max(2, rival.measure.decimals)
    own = rival.measure.name == one.claim.metric
    effect = f"{rival.effect:+.{digits}f}".replace("-", "−")
    name = f"{rival.name} (the claim's own)" if own else rival.name
    return [name, effect, f"{rival.spread:.{digits}f}", str(rival.seeds), rival.shown]


def _counts(parts: Iterable[Chapter]) -> list[tuple[str, str, int]]:
    """Sign, word and number of each outcome, over all parts."""
    every = [one for part in parts for one in part.conclusion.verdicts]
    possible = outcomes_of(every)
    return [(SIGNS[o], str(o), sum(one.outcome is o for one in every)) for o in possible]


def _history(experiment: Experiment, ledger: Ledger) -> History | None:
    key = profile_key(experiment)
    found = Histories(ledger).of(experiment.name)
    return next((history for history in found if history.profile == key), None)


def _cost(
    experiment: Experiment, ledger: Ledger, parts: Iterable[Chapter], history: History | None
) -> list[tuple[str, str]]:
    """What it took; runs that several parts share count once."""
    runs = {run.signature: run for part in parts for run in part.facts.runs}
    results = [run.result for run in runs.values() if run.result is not None]
    worked = sum(result.seconds * result.workers for result in results)
    facts = [
        ("Runs finished", f"{len(results):,} of {len(runs):,}"),
        ("Worker-hours of the finished runs", f"{worked / 3600:.2f}"),
    ]
    costs = Costs(experiment)
    if costs:
        cells = cells_of(experiment)
        once = {result.signature: result for result in results}
        facts.append(("Cost of the finished runs", costs.bill(cells, once).text or "nothing yet"))
        if experiment.search is not None:
            count, cost = trials_cost(experiment, ledger)
            facts.append((f"Cost of {counted(count, 'finished run')} of the search", cost))
    if results:
        facts.append(
            ("A run, on average", duration(sum(r.seconds for r in results) / len(results)))
        )
    if history is not None:
        facts.append(("First started", _moment(history.began)))
        if history.ended is not None:
            facts.append(("Last ended", _moment(history.ended)))
            span = duration((history.ended - history.began) / 1000)
            facts.append(("Wall time, from first start to last end, pauses included", span))
    return facts


def _versions(parts: Iterable[Chapter]) -> dict[str, str]:
    """What the finished runs were made with; several values side by side."""
    found: dict[str, set[str]] = {"code": set(), "data": set()}
    for result in (run.result for part in parts for run in part.facts.runs):
        if result is not None:
            made_with = {"code": result.code, "data": result.data, **result.made_with}
            for name, value in made_with.items():
                found.setdefault(name, set()).add(value)
    return {name: few_of(sorted(values)) or "–" for name, values in found.items()}


def _command(experiment: Experiment, mixed: bool) -> str:
    """What makes this page again."""
    words = ["supclap", "report", experiment.path.name]
    if experiment.profile != DEFAULT_PROFILE:
        words += ["--profile", experiment.profile]
    for key, value in experiment.changes.items():
        words += ["--set", f"{key}={json.dumps(value, ensure_ascii=False)}"]
    return shlex.join([*words, *(["--mixed"] if mixed else [])])


def _moment(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M} UTC"
