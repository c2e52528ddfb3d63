"""The catalogue of what a run reports: which names a column or a claim may use.

Names are those of `supclap.events`. A retrieval metric without a split is the test split's:
``t2a.R@1`` is ``test.t2a.R@1``. With several languages, one may follow the split
(``test.fra.t2a.R@1``), and MRV is the rank's variance over them. ``also.NAME.`` before a name
asks for the further test set that a run calls NAME, and ``chance.also.NAME.`` for what guessing
scores there.
"""

from __future__ import annotations

from supclap import registry
from supclap.config import LANGUAGES, LossConfig, RunConfig
from supclap.errors import InputError, nearest
from supclap.events import EARLIER_NAMES, LOW, current_name
from supclap.labels import LOGGABLE, LOGGED
from supclap.metric_names import OwnName, declared_names, find, own_names
from supclap.number_schedule import NumberSchedule
from supclap_platform.experiment.measure import WHOLE as OF_ANY

SPLITS = ("test", "val", "shifted")
RECALLS = ("R@1", "R@5", "R@10", "R@50")
RANKS = ("mAP10", "medR", "meanR")
RETRIEVAL = tuple(f"{way}.{name}" for way in ("t2a", "a2t") for name in (*RECALLS, *RANKS))
CONSISTENCY = ("MRV", "a2t.MRV")  # with two languages or more

# Of the best epoch, and over the epochs: parts of the loss, and `supclap.drift.diagnose`.
_OF_A_SIDE = (
    "drift_cosine.{}",
    "push.{}.parallel",
    "push.{}.perpendicular",
    "radius.{}.mean",
    "radius.{}.std",
    "radius.{}.inside",
    "contraction.{}",
)
TRAINING = (
    *(f"train.{part}" for part in ("loss", "base", "svr", "constraint", "gradient")),
    *(name.format(side) for name in _OF_A_SIDE for side in ("text", "audio")),
    "similarity.positive",
    "similarity.negative",
    "distance",
    "temperature",
)
ZERO_SHOT = ("zero_shot.accuracy", "zero_shot.class_accuracy")
# Of the run as a whole.
WHOLE = tuple(OF_ANY)

_SHORT = (*RETRIEVAL, *CONSISTENCY)
_BY_LANGUAGE = tuple(f"{language}.{name}" for language in LANGUAGES for name in RETRIEVAL)
CATALOGUE = (
    *_SHORT,
    *TRAINING,
    *ZERO_SHOT,
    *WHOLE,
    *_BY_LANGUAGE,
    *(f"chance.{name}" for name in (*RETRIEVAL, *ZERO_SHOT)),
    *(f"{split}.{name}" for split in SPLITS for name in (*_SHORT, *_BY_LANGUAGE)),
)
ALSO = "also"
FIRST_WORDS = frozenset(name.split(".")[0] for name in CATALOGUE) | {
    ALSO,
    *(name.split(".")[0] for name in EARLIER_NAMES),
}
_LEGAL = frozenset(CATALOGUE)  # and the names of `EARLIER_NAMES`, which mean those of today
_OF_TEST = frozenset((*_SHORT, *_BY_LANGUAGE))
_LOW = (*LOW, *WHOLE)
_NEITHER = (
    *("radius", "contraction", "push", "similarity", "distance", "temperature"),
    *("chance", "best_epoch", "steps", "bias"),
)
_PERCENT = (*RECALLS, "mAP10", "accuracy", "class_accuracy")


def full_name(name: str) -> str:
    """The name under which a run reports a metric: ``t2a.R@1`` becomes ``test.t2a.R@1``, and one of
    an earlier version that of today.

    Raises InputError for a name that no run reports, with the nearest one that is.
    """
    if name.startswith((f"{ALSO}.", f"chance.{ALSO}.")):
        return _of_also(name)
    name = current_name(name)
    if name not in _LEGAL and _own(name) is not None:
        return name if name.split(".")[0] in SPLITS else f"test.{name}"
    if name not in _LEGAL and not _of_the_loss(name):
        raise InputError(
            f"no run reports '{name}'{nearest(name, (*CATALOGUE, *declared_names()))} (valid: "
            f"[val.|shifted.][LANGUAGE.]t2a|a2t.{'|'.join((*RECALLS, *RANKS))}, "
            f"{', '.join((*CONSISTENCY, *ZERO_SHOT, *WHOLE, *declared_names(), *TRAINING))})"
        )
    return f"test.{name}" if name in _OF_TEST else name


def _of_also(name: str) -> str:
    """Checks ``also.NAME.METRIC`` and ``chance.also.NAME.METRIC``, which are their own full names.

    Raises InputError as `full_name` does.
    """
    start = "chance." if name.startswith("chance.") else ""
    rest = name.removeprefix(f"{start}{ALSO}.")
    _, dot, metric = rest.partition(".")
    short = (*RETRIEVAL, *ZERO_SHOT) if start else (*_SHORT, *ZERO_SHOT)
    legal = short if start else (*short, *_BY_LANGUAGE)
    if not dot or (metric not in legal and (start or find(metric) is None)):
        raise InputError(
            f"no run reports '{name}'{nearest(metric, legal) if dot else ''} (valid: "
            f"{start}also.NAME. and {', '.join(short)})"
        )
    return name


def _of_the_loss(name: str) -> bool:
    """Whether a loss with parts or schedules of one's own may log a name: ``train.angle``,
    ``train.angle.hard``, ``train.svr.alpha``."""
    first, *rest = name.split(".")
    return first == "train" and 1 <= len(rest) <= 2 and all(map(LOGGABLE.fullmatch, rest))


def _why_not_logged(label: str, number: str, loss: LossConfig) -> str | None:
    """Why a loss does not log ``train.LABEL.NUMBER``, or ``train.LABEL``; None where it may.

    What numbers a part logs beside its value is known once it runs.
    """
    if label in loss.terms:
        return None
    if label == "base" and number and registry.own("base loss", loss.name) is not None:
        return None
    section, key = (loss.svr, number) if label == "svr" else (loss, label)
    scheduled = not number or label == "svr"
    if scheduled and isinstance(getattr(section, key, None), NumberSchedule):
        return None
    if label == "svr":
        return f"its loss.svr.{number} has no schedule"
    if number or label not in ("temperature", "bias"):
        known = [f"train.{one}" for one in (*loss.terms, *LOGGED)]
        return f"it has no loss.terms.{label}{nearest(f'train.{label}', known)}"
    return f"its loss.{label} has no schedule"


def why_not_reported(metric: str, config: RunConfig) -> str | None:
    """Why a run with this configuration cannot report a legal metric; None where it can."""
    parts = full_name(metric).split(".")
    if parts[0] == "train" and ".".join(parts) not in _LEGAL:
        return _why_not_logged(parts[1], ".".join(parts[2:]), config.loss)
    if ALSO in parts[:2]:
        own = parts[parts.index(ALSO) + 1]
        if own not in config.also:
            return f"'also' names no test set '{own}'{nearest(own, config.also)}"
        parts = parts[parts.index(own) + 1 :]
    number = find(".".join(parts[1:] if parts[0] in SPLITS else parts))
    if number is not None and number not in own_names(config.metrics):
        return f"it has no metrics.{number.label}"
    if parts[0] in ("test", "val") and getattr(config.data, parts[0]) is None:
        return f"data.{parts[0]} is null"
    if parts[0] == "chance" and "zero_shot" not in parts and config.data.test is None:
        return "data.test is null"
    if number is not None:
        return None
    language = next((part for part in parts if part in LANGUAGES), None)
    if language is not None and language not in config.data.languages:
        return f"data.languages has no {language}"
    if (language is not None or parts[-1] == "MRV") and len(config.data.languages) < 2:
        return "data.languages has only one"
    svr = config.loss.svr
    if parts[0] in ("radius", "contraction") or metric in ("train.svr", "train.constraint"):
        if svr is None:
            return "it has no loss.svr"
        if parts[1] == "audio" and svr.sides == "text":
            return "its loss.svr.sides is text"
        if metric == "train.constraint" and svr.radius == "static":
            return "its loss.svr.radius is static"
    return None


def check_select_metric(config: RunConfig) -> None:
    """Raises InputError unless the run reports the metric that its best epoch is chosen by."""
    metric = config.select.metric
    own = find(metric)
    if own is not None and own.direction is None and config.select.split != "last":
        raise InputError(
            f"select.metric: of '{metric}' neither a high nor a low number is the good one, so it "
            f"cannot choose an epoch; '{own.part}' says so in its higher and lower"
        )
    if metric not in _OF_TEST and own is None:
        raise InputError(
            f"select.metric: no run chooses its epoch by '{metric}'{nearest(metric, _SHORT)} "
            f"(valid: [LANGUAGE.]t2a|a2t.{'|'.join((*RECALLS, *RANKS))}, {', '.join(CONSISTENCY)})"
        )
    split = "test" if config.select.split == "test" else "val"
    reason = (
        None if config.select.split == "last" else why_not_reported(f"{split}.{metric}", config)
    )
    if reason:
        raise InputError(f"select.metric: the run reports no {split}.{metric}: {reason}")


def lower_is_better(metric: str) -> bool:
    """Whether a small value is the good one (ranks, seconds, losses)."""
    own = _own(metric)
    if own is not None:
        return own.direction == "lower"
    return metric.startswith("train.") or metric.split(".")[-1] in _LOW


def has_a_best(metric: str) -> bool:
    """Whether more of a metric is better or worse at all: a radius is neither."""
    own = _own(metric)
    if own is not None:
        return own.direction is not None
    parts = metric.split(".")
    if parts[0] == "train" and metric not in _LEGAL:
        return len(parts) == 2 and parts[1] not in _NEITHER  # a term, and not what it logs beside
    return parts[0] not in _NEITHER


def decimals(metric: str) -> int:
    """How many decimals a table shows: two for percentages, as the paper prints them."""
    if _own(metric) is not None:
        return 4
    last = full_name(metric).split(".")[-1]
    if last in _PERCENT:
        return 2
    return 1 if last in _LOW else 4


def _own(metric: str) -> OwnName | None:
    """The number of a metric of one's own that a short or full name means."""
    parts = metric.split(".")
    if parts[0] == ALSO:
        return find(".".join(parts[2:]))
    return find(".".join(parts[1:] if parts[0] in SPLITS else parts))
