"""The columns of an experiment's results as data: each is named, typed and explained here alone.

docs/results-as-data.md and the schema of an export are made of this list.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from supclap.errors import InputError
from supclap_platform.experiment.method import Method

WORD = pa.dictionary(pa.int32(), pa.string())  # one of few: pandas' "category"
TEXT = pa.string()
WHOLE = pa.int64()
SMALL = pa.int32()  # of a frame with millions of rows
NUMBER = pa.float64()
FLOAT = pa.float32()
FLAG = pa.bool_()
TIME = pa.timestamp("ms", tz="UTC")
TYPES = {
    WORD: "category",
    TEXT: "text",
    WHOLE: "integer",
    SMALL: "integer (32 bits)",
    NUMBER: "number",
    FLOAT: "number (32 bits)",
    FLAG: "yes or no",
    TIME: "time (UTC)",
}


@dataclass(frozen=True)
class FrameColumn:
    """A column of a frame.

    gaps: a row may have nothing there. pattern: it stands for any number of columns; what their
    names begin with is no part of it.
    """

    name: str
    kind: pa.DataType
    meaning: str
    unit: str = ""
    gaps: bool = False
    pattern: bool = False

    @property
    def type(self) -> str:
        """Its type in words."""
        return TYPES[self.kind]

    def named(
        self, name: str, kind: pa.DataType | None = None, unit: str | None = None
    ) -> FrameColumn:
        """One of the columns that a pattern stands for."""
        kind = self.kind if kind is None else kind
        unit = self.unit if unit is None else unit
        return FrameColumn(name, kind, self.meaning, unit, gaps=True)


def _value(name: str, meaning: str) -> FrameColumn:
    """A number in the unit of the metric that its row is about."""
    return FrameColumn(name, NUMBER, meaning, "the metric's", gaps=True)


_WHICH = (
    FrameColumn("experiment", WORD, "the experiment; of a file that includes others, the part"),
    FrameColumn("row", WORD, "the row of the table; `init` is the stage that others start from"),
    FrameColumn("group", WORD, "the group, in a file that has groups", gaps=True),
)
_RUN = (
    *_WHICH,
    FrameColumn("seed", WHOLE, "the replicate"),
    FrameColumn("signature", WORD, "what names the run in the storage, in Ray and in MLflow"),
)
_STALE = FrameColumn("stale", FLAG, "finished by code that has changed since")
_STATE = FrameColumn(
    "state", WORD, "the ledger's word: done, running, failed, resumable, to run, damaged"
)
_LATE_SEEDS = FrameColumn(
    "seeds_declared_late",
    TEXT,
    "which seeds were declared after results, and what stood before; empty: none",
)
METRIC = FrameColumn(
    "METRIC",
    NUMBER,
    "a metric under the name that the run reports it by, such as `test.t2a.R@1`; `metric.NAME` "
    "where another column has the name",
    "% where it is R@k, mAP10 or an accuracy",
    gaps=True,
    pattern=True,
)
SETTING = FrameColumn(
    "set.KEY",
    TEXT,
    "what the row changes of the base, such as `set.loss.svr.alpha`: a number where all values of "
    "the key are numbers, else text (JSON where it is no word); empty where the row leaves it",
    gaps=True,
    pattern=True,
)
SYSTEM = FrameColumn(
    "system.NAME",
    NUMBER,
    "what rank 0 used, such as `system.cpu_percent`",
    gaps=True,
    pattern=True,
)
OBJECTIVE = FrameColumn(
    "OBJECTIVE",
    NUMBER,
    "the mean over the search's seeds of an objective, under the metric's name",
    "the metric's",
    gaps=True,
    pattern=True,
)
PARAMETER = FrameColumn(
    "set.KEY",
    TEXT,
    "the trial's value of a key of the search space: a number where all values are, else text",
    gaps=True,
    pattern=True,
)

FRAMES: dict[str, tuple[FrameColumn, ...]] = {
    "runs": (
        *_RUN,
        FrameColumn("stage", FLAG, "it only trains the stage that other runs start from"),
        _STATE,
        _STALE,
        FrameColumn("stale_because", TEXT, "which modules have changed since; empty: none"),
        _LATE_SEEDS,
        FrameColumn("attempts", WHOLE, "attempts that failed", gaps=True),
        FrameColumn("error", TEXT, "what the last attempt failed with; empty: it did not"),
        FrameColumn("code", WORD, "version of the code that finished it", gaps=True),
        FrameColumn("data", WORD, "content hash of its data", gaps=True),
        FrameColumn(
            "starts_from", WORD, "signature of the run whose model it starts from", gaps=True
        ),
        FrameColumn("epochs", WHOLE, "epochs that it trained", gaps=True),
        FrameColumn("best_epoch", WHOLE, "the epoch that its metrics are of, from 1", gaps=True),
        FrameColumn("steps", WHOLE, "steps of the optimizer", gaps=True),
        FrameColumn("workers", WHOLE, "processes that trained it", gaps=True),
        FrameColumn("seconds", NUMBER, "of training and measuring", "s", gaps=True),
        FrameColumn("setup_seconds", NUMBER, "before its first step", "s", gaps=True),
        FrameColumn("peak_MB", NUMBER, "most memory that rank 0 held", "MB", gaps=True),
        FrameColumn("ended", TIME, "when it was finished", gaps=True),
        FrameColumn("python", WORD, "version of Python", gaps=True),
        FrameColumn("torch", WORD, "version of PyTorch", gaps=True),
        FrameColumn("device", WORD, "name of the device", gaps=True),
        SETTING,
        METRIC,
    ),
    "epochs": (
        *_RUN,
        _STATE,
        _STALE,
        FrameColumn("epoch", WHOLE, "from 1"),
        FrameColumn("step", WHOLE, "steps of the optimizer by its end"),
        FrameColumn("seconds", NUMBER, "that the epoch took", "s"),
        FrameColumn("ended", TIME, "when it ended"),
        SYSTEM,
        METRIC,
    ),
    "queries": (
        *_WHICH,
        FrameColumn("seed", SMALL, "the replicate"),
        FrameColumn("signature", WORD, "what names the run"),
        _STALE,
        FrameColumn("way", WORD, "`t2a`: a caption ranks all clips; `a2t`: a clip all captions"),
        FrameColumn("query", SMALL, "place of the query in the test split, from 0"),
        FrameColumn(
            "clip", SMALL, "the clip behind the query: those of one clip depend", gaps=True
        ),
        FrameColumn("rank", SMALL, "of the right answer (a2t: of the best of them), from 1"),
        FrameColumn(
            "AP10", NUMBER, "average precision within the first ten; its mean is mAP10", "%", True
        ),
        FrameColumn("similarity", FLOAT, "cosine of the caption and its own clip (t2a)", gaps=True),
    ),
    "trials": (
        FrameColumn("experiment", WORD, "the experiment"),
        FrameColumn("trial", WHOLE, "its number; unique beside `state`"),
        FrameColumn("state", WORD, "finished, stopped (early), known before (from the ledger)"),
        FrameColumn(
            "epochs", WHOLE, "epochs that it reported, its seeds one after another", gaps=True
        ),
        OBJECTIVE,
        PARAMETER,
    ),
    "verdicts": (
        FrameColumn("experiment", WORD, "the experiment; of a file that includes others, the part"),
        FrameColumn("claim", TEXT, "as the file has it"),
        FrameColumn("verdict", WORD, "supported, contradicted, negligible or undecided"),
        FrameColumn("metric", WORD, "that it is about, after an epoch where the claim names one"),
        FrameColumn("measured", TEXT, "what `effect` is the mean of"),
        _value("bound", "that the claim says `effect` lies above, below or within"),
        _value("effect", "mean over seeds of what is measured"),
        _value("low", "lower end of the 95 % interval over seeds"),
        _value("high", "its upper end"),
        FrameColumn("p", NUMBER, "of the t test over seeds; none: it cannot be judged", gaps=True),
        FrameColumn("corrected", NUMBER, "p corrected over all claims of the file", gaps=True),
        FrameColumn("permutation", NUMBER, "p of the sign-flip permutation test", gaps=True),
        FrameColumn("seeds", WHOLE, "that it rests on"),
        FrameColumn("seeds_wanted", WHOLE, "that are declared"),
        FrameColumn("queries", WHOLE, "behind the wide interval", gaps=True),
        _value("wide_low", "lower end of the interval over seeds and queries"),
        _value("wide_high", "its upper end"),
        FrameColumn("seeds_needed", TEXT, "seeds that would decide it, about; empty: not known"),
        FrameColumn("cannot_be_judged", TEXT, "why; empty: it can"),
        FrameColumn("remarks", TEXT, "what else a reader must know"),
        FrameColumn("declared_late", TEXT, "what of it was declared after results; empty: nothing"),
        FrameColumn("stale_runs", WHOLE, "of the runs behind it, those of earlier code"),
        FrameColumn("signatures", TEXT, "the runs behind it: SEED:SIGNATURE, with blanks between"),
        _value("matters", "the smallest difference that matters"),
        FrameColumn("look", WHOLE, "the look that decided it, or the last one", gaps=True),
        FrameColumn("looks", TEXT, "seeds of all looks; empty: the number of seeds is fixed"),
        FrameColumn("path", TEXT, "the looks so far: SEEDS:EFFECT, with blanks between"),
        FrameColumn("scope", TEXT, "what each seed has of its own, and what it speaks of"),
        FrameColumn(
            "adjusted",
            NUMBER,
            "the effect, adjusted for its being decided at a look",
            "the metric's",
            gaps=True,
        ),
    ),
    "table": (
        *_WHICH,
        FrameColumn("column", WORD, "the column, as the table calls it"),
        FrameColumn("metric", WORD, "what runs report under it"),
        _value("mean", "over the finished runs"),
        _value("std", "sample standard deviation; none with one run"),
        FrameColumn("n", WHOLE, "finished runs that report the metric"),
        FrameColumn("wanted", WHOLE, "runs that are declared"),
        FrameColumn("failed", WHOLE, "of those, failed or damaged ones"),
        FrameColumn("unfinished", WHOLE, "of those, the others without a result"),
        FrameColumn("stale", WHOLE, "of the finished runs, those of earlier code"),
        FrameColumn("best", FLAG, "the best of its column among rows with all their runs"),
        FrameColumn("lower_is_better", FLAG, "a small value of the metric is the good one"),
        _value("published", "the paper's number"),
        FrameColumn("baseline", WORD, "the row that it is compared with", gaps=True),
        _value("difference", "mean over the shared seeds of the differences to it"),
        FrameColumn("difference_seeds", WHOLE, "seeds that both have", gaps=True),
        _value("published_difference", "of the paper's numbers"),
        _LATE_SEEDS,
        FrameColumn("label", TEXT, "what stands for the row in tables"),
        FrameColumn("column_label", TEXT, "what stands at the head of the column"),
    ),
}


def metric_column(name: str, metric: str, method: Method) -> FrameColumn:
    """The column of a metric, with its unit and which way it is better."""
    try:
        measure = method.measure(metric)
        better = "lower is better" if measure.low else "higher is better"
        meaning = f"the metric {metric}" + (f"; {better}" if measure.ranked else "")
    except InputError:  # reported, and by another version of the method's catalogue
        meaning = f"the metric {metric}"
    return FrameColumn(name, NUMBER, meaning, unit_of(metric), gaps=True)


def unit_of(metric: str) -> str:
    """The unit of a metric, by its name."""
    last = metric.rpartition(".")[2]
    if last.startswith(("R@", "mAP")) or last.endswith("accuracy"):
        return "%"
    return "rank, from 1" if last in ("medR", "meanR") else ""


def described(columns: Iterable[FrameColumn]) -> list[dict[str, Any]]:
    """Columns as plain values: name, type, unit, meaning, and whether a row may lack one."""
    return [
        {"name": c.name, "type": c.type, "unit": c.unit, "meaning": c.meaning, "gaps": c.gaps}
        for c in columns
    ]


def columns_page() -> str:
    """The columns of every frame as Markdown: what docs/results-as-data.md has of them."""
    lines = []
    for name, columns in FRAMES.items():
        lines += [f"### {name}", "", "| column | type | meaning |", "|---|---|---|"]
        for column in columns:
            words = column.type + (", may be absent" if column.gaps and not column.pattern else "")
            unit = f" ({column.unit})" if column.unit else ""
            lines.append(f"| `{column.name}` | {words} | {column.meaning}{unit} |")
        lines.append("")
    return "\n".join(lines)
