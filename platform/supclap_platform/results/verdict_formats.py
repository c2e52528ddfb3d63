"""Verdicts as text, Markdown and CSV."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Sequence

from supclap.csv_text import csv_text
from supclap_platform.experiment.claims import Greater, Trend, Within, asked_of
from supclap_platform.results.formats import WIDTH
from supclap_platform.results.inference import CONFIDENCE, LEVEL
from supclap_platform.results.power import MOST, POWER
from supclap_platform.results.text import NONE, aligned, escaped, p_text, pipes, runs_line
from supclap_platform.results.verdicts import Outcome, Verdict

HEADS = (
    *("", "verdict", "effect", "adjusted", "95 % interval", "p", "corrected", "seeds", "queries"),
    "claim",
)
ADJUSTED = HEADS.index("adjusted")  # shown where a look has decided one of the claims
COLUMNS = (  # of CSV
    *("claim", "verdict", "metric", "measured", "bound", "effect", "low", "high", "p", "corrected"),
    *("permutation", "seeds", "seeds_wanted", "queries", "wide_low", "wide_high", "seeds_needed"),
    *("cannot_be_judged", "remarks", "signatures"),
)
# Of CSV, where one of the claims has something of them.
FURTHER = ("matters", "look", "looks", "path", "scope", "adjusted")
SHORT = ("verdict", "effect", "95 % interval", "seeds", "claim")  # of `HEADS`


def verdicts_as_text(verdicts: Sequence[Verdict]) -> str:
    """Aligned columns for a terminal, then a paragraph on each claim."""
    if not verdicts:
        return ""
    grid = grid_of(verdicts)
    notes: list[str] = []
    for place, one in enumerate(verdicts, 1):
        notes += textwrap.wrap(f"{place}. {account_of(one)}", WIDTH, subsequent_indent="   ")
    rest = [line for note in legend_of(verdicts) for line in textwrap.wrap(note, WIDTH)]
    return "\n".join([counts_of(verdicts), "", *aligned(grid), "", *notes, "", *rest]) + "\n"


def verdicts_as_markdown(verdicts: Sequence[Verdict]) -> str:
    """A Markdown table, a list of accounts, and the runs behind each claim."""
    if not verdicts:
        return ""
    heads, *rows = grid_of(verdicts)
    lines = [f"**{escaped(counts_of(verdicts))}**", "", pipes(heads), pipes(["---"] * len(heads))]
    for one, words in zip(verdicts, rows, strict=True):
        cells = [escaped(cell) for cell in words]
        cells[1] = f"**{cells[1]}**" if one.outcome is not Outcome.UNDECIDED else cells[1]
        lines.append(pipes(cells))
    lines += ["", *(f"{at}. {escaped(account_of(one))}" for at, one in enumerate(verdicts, 1)), ""]
    lines += [f"- {escaped(note)}" for note in legend_of(verdicts)]
    lines += ["", "Runs behind each claim (variant, seed: signature):", ""]
    for place, one in enumerate(verdicts, 1):
        runs = [f"{escaped(name)}, {run.seed}: `{run.signature}`" for name, run in one.runs]
        lines.append(f"{place}. {runs_line(runs, '; ')}")
    return "\n".join(lines) + "\n"


def short_markdown(verdicts: Sequence[Verdict]) -> list[str]:
    """The lines of a Markdown table of the verdicts alone, with the columns that matter most."""
    lines = [pipes(SHORT), pipes(["---"] * len(SHORT))]
    for place, one in enumerate(verdicts, 1):
        own = dict(zip(HEADS, words_of(place, one), strict=True))
        outcome, *cells = (escaped(own[head]) for head in SHORT)
        lines.append(pipes([f"**{outcome}**", *cells]))
    return lines


def verdicts_as_csv(verdicts: Sequence[Verdict]) -> str:
    """One line for each claim, ten significant digits, with the runs behind it."""
    columns = columns_of(verdicts)
    return csv_text([columns, *(values_of(one)[: len(columns)] for one in verdicts)])


def columns_of(verdicts: Iterable[Verdict]) -> tuple[str, ...]:
    """The columns of CSV: `COLUMNS`, and `FURTHER` where they are of use."""
    used = any(one.look is not None or matters_of(one) is not None for one in verdicts)
    return (*COLUMNS, *FURTHER) if used else COLUMNS


def matters_of(one: Verdict) -> float | None:
    """The smallest difference that matters to its claim, where one is declared."""
    return one.claim.matters if isinstance(one.claim, Greater) else None


def values_of(one: Verdict) -> list[object]:
    """What a verdict shows of each of `COLUMNS` and `FURTHER`, as CSV has it."""
    return [_exact(value) if isinstance(value, float) else value for value in numbers_of(one)]


def numbers_of(one: Verdict) -> list[object]:
    """What a verdict has of each of `COLUMNS` and `FURTHER`: numbers as they are, "" where there is
    nothing."""
    low, high = one.interval or (None, None)
    wide_low, wide_high = one.wide or (None, None)
    found: list[object] = [
        one.claim.text,
        one.outcome,
        asked_of(one.claim),
        one.measured,
        *(one.bound, one.effect, low, high, one.p, one.corrected, one.permutation),
        one.seeds,
        one.wanted,
        one.queries,
        wide_low,
        wide_high,
        seeds_to_decide(one),
        "; ".join(one.reasons),
        "; ".join(one.remarks),
        " ".join(f"{run.seed}:{run.signature}" for _, run in one.runs),
        matters_of(one),
        None if one.look is None else one.look.number,
        "" if one.look is None else " ".join(map(str, one.look.seeds)),
        "" if one.look is None else " ".join(f"{s.seeds}:{s.effect:.10g}" for s in one.look.path),
        one.scope,
        one.adjusted,
    ]
    return ["" if value is None else value for value in found]


VERDICT_FORMATS: dict[str, Callable[[Sequence[Verdict]], str]] = {
    "txt": verdicts_as_text,
    "md": verdicts_as_markdown,
    "csv": verdicts_as_csv,
}


def verdict_files(verdicts: Sequence[Verdict]) -> dict[str, bytes]:
    """Every format by file name, and JSON in the form that MLflow shows as a table."""
    if not verdicts:
        return {}
    heads, *rows = grid_of(verdicts)
    shape = {"columns": ["claim no.", *heads[1:]], "data": rows}
    files = {f"verdicts.{end}": render(verdicts) for end, render in VERDICT_FORMATS.items()}
    files["verdicts-table.json"] = json.dumps(shape, ensure_ascii=False)
    return {name: text.encode() for name, text in files.items()}


def counts_of(verdicts: Sequence[Verdict]) -> str:
    """How many verdicts there are of each outcome."""
    counts = (f"{sum(v.outcome is o for v in verdicts)} {o}" for o in outcomes_of(verdicts))
    return f"Claims: {', '.join(counts)}"


def outcomes_of(verdicts: Iterable[Verdict]) -> list[Outcome]:
    """The outcomes that are possible: none is negligible where it is not said what matters."""
    small = any(matters_of(one) is not None for one in verdicts)
    return [outcome for outcome in Outcome if small or outcome is not Outcome.NEGLIGIBLE]


def grid_of(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """The head and a row for each verdict, without the columns that none has anything in."""
    grid = [list(HEADS), *(words_of(place, one) for place, one in enumerate(verdicts, 1))]
    if all(one.adjusted is None for one in verdicts):
        grid = [[*row[:ADJUSTED], *row[ADJUSTED + 1 :]] for row in grid]
    return grid


def words_of(place: int, one: Verdict) -> list[str]:
    """What a verdict shows under each of `HEADS`."""
    return [
        str(place),
        str(one.outcome),
        NONE if one.effect is None else number_text(one, one.effect, sign=True),
        NONE if one.adjusted is None else number_text(one, one.adjusted, sign=True),
        interval_text(one, one.interval),
        p_text(one.p),
        p_text(one.corrected),
        _seeds(one),
        NONE if one.queries is None else str(one.queries),
        one.claim.text,
    ]


def account_of(one: Verdict) -> str:
    """What was measured, what the claim says of it, and what else is known."""
    parts = [] if one.bound is None else [f"{one.measured} is claimed {_claimed(one, one.bound)}."]
    matters = matters_of(one)
    if matters is not None:
        parts.append(f"Below {number_text(one, matters)}, either way, it is negligible.")
    if one.outcome is Outcome.NEGLIGIBLE and not _around_zero(one):
        parts.append("It is certainly not zero all the same.")
    parts += _at_looks(one)
    if one.reasons:
        parts.append(f"Cannot be judged: {'; '.join(one.reasons)}.")
    parts += [f"Note: {remark}." for remark in one.remarks]
    if one.permutation is not None:
        parts.append(f"Sign-flip permutation p {p_text(one.permutation)}.")
    if one.wide is not None:
        over = "queries alone" if one.seeds < 2 else "seeds and queries"
        parts.append(f"Interval over {over} {interval_text(one, one.wide)}.")
        if one.outcome is not Outcome.UNDECIDED and _reopens(one, *one.wide):
            parts.append("That interval leaves it open: other queries may say otherwise.")
    if seeds_to_decide(one):
        parts.append(f"Seeds to decide it: {seeds_to_decide(one)}.")
    return " ".join(parts)


def _seeds(one: Verdict) -> str:
    """How many seeds a verdict rests on, and at which look it was given."""
    text = str(one.seeds) if one.seeds == one.wanted else f"{one.seeds}/{one.wanted}"
    if one.look is None or one.look.number is None:
        return text
    return f"{text}, look {one.look.number} of {len(one.look.seeds)}"


def _at_looks(one: Verdict) -> Iterable[str]:
    """The way of a claim through the looks."""
    look = one.look
    if look is None:
        return
    if one.outcome is not Outcome.UNDECIDED:
        yield f"Decided at look {look.number} of {len(look.seeds)}, with {one.seeds} seeds."
        if one.adjusted is not None:
            yield f"Adjusted for that, the effect is {number_text(one, one.adjusted, sign=True)}."
    elif look.waiting:
        yield f"The next look is at {look.seeds[look.number or 0]} seeds."
    elif look.number == len(look.seeds):
        yield f"No look has decided it, up to {look.seeds[-1]} seeds."
    if look.path:
        steps = (
            f"{step.seeds} seeds {number_text(one, step.effect, sign=True)} "
            f"{interval_text(one, step.interval)}"
            for step in look.path
        )
        yield f"At the looks: {'; '.join(steps)}."


def _around_zero(one: Verdict) -> bool:
    return one.interval is None or one.interval[0] <= 0 <= one.interval[1]


def _reopens(one: Verdict, low: float, high: float) -> bool:
    """Whether the wider interval reaches over the bound that decided the verdict."""
    if one.bound is None:
        return False
    bounds = (one.bound, -one.bound) if isinstance(one.claim, Within) else (one.bound,)
    matters = matters_of(one)
    if one.outcome is Outcome.NEGLIGIBLE and matters is not None:
        bounds = (matters, -matters)
    return any(low < bound < high for bound in bounds)


def _claimed(one: Verdict, bound: float) -> str:
    if isinstance(one.claim, Trend):
        return "below 0" if one.claim.way == "falls" else "above 0"
    if isinstance(one.claim, Within):
        return f"within ±{number_text(one, bound)} ({one.claim.percent:g} % of {one.claim.other})"
    return f"above {bound:g}"


def seeds_to_decide(one: Verdict) -> str:
    """Seeds that would decide an undecided claim, as text; nothing where that is not known."""
    goes_on = one.look is not None and one.look.waiting
    if one.p is None or goes_on or one.outcome is not Outcome.UNDECIDED:
        return ""
    return f"more than {MOST:,}" if one.undecided_until is None else str(one.undecided_until)


def legend_of(verdicts: Sequence[Verdict]) -> Iterable[str]:
    """What the columns mean, as far as these verdicts use them."""
    judged = sum(one.p is not None for one in verdicts)
    sequential = any(one.look is not None for one in verdicts)
    yield (
        f"{judged} of {len(verdicts)} claims could be judged. Effects are means over seeds, paired "
        "seed by seed; p is of the t test over seeds (n - 1 degrees of freedom; for 'within', two "
        f"one-sided tests), corrected over the {len(verdicts)} claims by Holm's method. A claim "
        f"is decided where the corrected p is at most {LEVEL:g}."
    )
    if sequential:
        yield from _scopes(verdicts)
        yield (
            "Seeds were added look by look, until a claim was decided. p is the smallest level "
            "at which the design would have ended by that look, and intervals are repeated "
            "ones: the chance of an error is that of all looks together, however many there "
            "were. An effect at which a claim is decided early tends to be larger than the true "
            "one. Adjusted, it is the effect with which the mean that was seen is the one to "
            "expect of experiments that are decided this way (Whitehead 1986); where the first "
            "look decides, it is still more often too large than too small."
        )
    if any(matters_of(one) is not None for one in verdicts):
        yield (
            "Negligible: certainly smaller, either way, than what is declared to matter (two "
            "one-sided tests). A claim that may be so asks two questions, of which one at most can "
            "be answered wrongly; it counts in the correction until both are answered."
        )
    yield (
        "The permutation test cannot fall below 2 / 2^n with n seeds (0.25 with 3), so it stands "
        "beside the t test and decides nothing."
    )
    if any(one.wide is not None for one in verdicts):
        yield (
            f"Intervals are of {CONFIDENCE:.0%} confidence. One over seeds alone speaks of these "
            "test queries; one over seeds and queries, a crossed bootstrap of the kept ranks, of "
            "others like them.".replace("%", " %")
        )
    if any(seeds_to_decide(one) for one in verdicts):
        yield (
            f"Seeds to decide: in all, for a chance of {POWER:.0%} at the level "
            f"{LEVEL:g} / {len(verdicts)}, if the effect and spread are those seen here; with few "
            "seeds both are rough.".replace("%", " %")
        )


def _scopes(verdicts: Sequence[Verdict]) -> Iterable[str]:
    """What the verdicts speak of; where that is not the same for all, of which ones."""
    found: dict[str, list[int]] = {}
    for place, one in enumerate(verdicts, 1):
        if one.scope:
            found.setdefault(one.scope, []).append(place)
    for scope, places in found.items():
        of = "" if len(found) == 1 else f"{', '.join(map(str, places))}. "
        yield of + scope


def number_text(one: Verdict, value: float, sign: bool = False) -> str:
    """A number in the metric's unit; a slope needs significant digits, as it may be tiny."""
    digits = max(2, one.claim.measure.decimals)  # one more than a table has of ranks
    form = ".3g" if isinstance(one.claim, Trend) else f".{digits}f"
    text = format(value, ("+" if sign else "") + form)
    return text.replace("-", "−") if sign else text


def interval_text(one: Verdict, ends: tuple[float, float] | None) -> str:
    """An interval in the metric's unit."""
    if ends is None:
        return NONE
    return "[" + ", ".join(number_text(one, end, sign=True) for end in ends) + "]"


def _exact(value: float) -> str:
    return format(value, ".10g")
