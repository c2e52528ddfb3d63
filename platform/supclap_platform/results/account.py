"""What an experiment says at a moment, as the description of its run in MLflow.

The question, the verdicts, the table, what to do next: in Markdown, no longer than MLflow takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from supclap.wording import counted
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.journal import Account
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.records import State
from supclap_platform.ledger.snapshot import Snapshot
from supclap_platform.results.conclusion import Conclusion, concluded
from supclap_platform.results.formats import markdown_grid
from supclap_platform.results.text import escaped

LONGEST = 7_800  # signs; MLflow takes 8,000 of a tag


def account_now(experiment: Experiment, ledger: Ledger) -> Account:
    """The account from what the ledger holds now."""
    seen = Snapshot(ledger)
    parts = experiment.parts or (experiment,)
    return account_of(experiment, [concluded(part, seen, mixed=True) for part in parts])


def account_of(experiment: Experiment, conclusions: Sequence[Conclusion]) -> Account:
    """The account of what was concluded from each part of an experiment."""
    heads = [escaped(experiment.about)] if experiment.about else []
    end = ["", "**Next**", "", *(f"- {line}" for line in _next(experiment, conclusions))]
    left = LONGEST - sum(len(line) + 1 for line in (*heads, *end))
    body: list[str] = []
    for one in conclusions:
        title = [f"### {escaped(one.name)}"] if experiment.parts else []
        for block in (title, _claims(one), markdown_grid(one.table)):
            shown = _fitting(block, left)
            body += ["", *shown] if shown else []
            left -= sum(len(line) + 1 for line in shown) + 1
    counts: dict[str, int] = {}
    for one in conclusions:
        for verdict in one.verdicts:
            counts[verdict.outcome] = counts.get(verdict.outcome, 0) + 1
    return Account("\n".join([*heads, *body, *end]).strip(), _all_outcomes(counts, conclusions))


def _all_outcomes(counts: dict[str, int], conclusions: Sequence[Conclusion]) -> dict[str, int]:
    """With a zero for each outcome that there could be and is not."""
    verdicts = [verdict for one in conclusions for verdict in one.verdicts]
    if not verdicts:
        return {}
    from supclap_platform.results.verdict_formats import outcomes_of  # SciPy: a second to import

    return {str(outcome): counts.get(outcome, 0) for outcome in outcomes_of(verdicts)}


def _claims(one: Conclusion) -> list[str]:
    """A Markdown table of the verdicts; nothing where the file has no claims."""
    if not one.verdicts:
        return []
    from supclap_platform.results.verdict_formats import short_markdown  # SciPy, as above

    return short_markdown(one.verdicts)


def _fitting(lines: list[str], left: int) -> list[str]:
    """The first lines that fit, and how many do not."""
    said = f"(… {len(lines)} more lines: see the artifacts)"
    if sum(len(line) + 1 for line in lines) <= left:
        return lines
    found: list[str] = []
    left -= len(said) + 2
    for line in lines:
        left -= len(line) + 1
        if left < 0:
            break
        found.append(line)
    return [*found, "", f"(… {len(lines) - len(found)} more lines: see the artifacts)"]


def _next(experiment: Experiment, conclusions: Sequence[Conclusion]) -> Iterator[str]:
    """What is there to do."""
    file = experiment.path.name
    states = {
        run.signature: run.state
        for one in conclusions
        for row in one.table.rows
        for run in row.runs
    }
    failed = sum(state is State.FAILED for state in states.values())
    done = sum(state is State.DONE for state in states.values())
    left = len(states) - done - failed
    if left:
        yield f"{done} of {counted(len(states), 'run')} are done; `supclap run {file}` goes on"
    if failed:
        yield (
            f"{counted(failed, 'run')} failed (its tag `error` says why); `supclap run {file}` "
            "tries again"
        )
    stale = sum(len(entry.cells) for one in conclusions for entry in one.table.stale)
    if stale:
        yield (
            f"{counted(stale, 'run')} of earlier code; `supclap run {file} --rerun-stale` trains "
            "anew"
        )
    yield from _undecided(conclusions)
    if not (left or failed):
        yield f"`supclap report {file}` writes the page with figures; `table.tex` is in Artifacts"


def _undecided(conclusions: Sequence[Conclusion]) -> Iterator[str]:
    """How many seeds would decide the claims that are not decided."""
    verdicts = [verdict for one in conclusions for verdict in one.verdicts]
    if not verdicts:
        return
    from supclap_platform.results.verdict_formats import seeds_to_decide

    for number, verdict in enumerate(verdicts, 1):
        seeds = seeds_to_decide(verdict)
        if seeds:
            yield f"claim {number} is undecided; seeds that would decide it: {seeds}"
