"""The catalogue of what a run reports: which names a column or a claim may use.

Names are those of `supclap.events`. A retrieval metric without a split is the test split's:
``t2a.R@1`` is ``test.t2a.R@1``; a language may follow the split: ``test.fra.t2a.R@1``.
"""

from __future__ import annotations

from supclap.config import LANGUAGES
from supclap.errors import InputError, nearest

SPLITS = ("test", "val", "shifted")
DIRECTIONS = ("t2a", "a2t")
RETRIEVAL = ("R@1", "R@5", "R@10", "R@50", "mAP10", "medR", "meanR")

# Per epoch and of the best epoch: parts of the loss, drift and radius (METHOD: drift, radius).
TRAINING = (
    "train.loss",
    "train.base",
    "train.svr",
    "train.constraint",
    "drift.text",
    "drift.audio",
    "radius.text.mean",
    "radius.text.std",
    "radius.audio.mean",
    "radius.audio.std",
    "similarity.positive",
    "similarity.negative",
    "temperature",
)
# Of the run as a whole.
WHOLE = ("zero_shot.accuracy", "seconds", "seconds_per_epoch", "best_epoch", "steps")

_LOWER = ("medR", "meanR", "MRV", "seconds", "seconds_per_epoch", "best_epoch", "steps")


def catalogue() -> tuple[str, ...]:
    """Every legal name, short forms first."""
    short = [f"{way}.{name}" for way in DIRECTIONS for name in RETRIEVAL] + ["MRV"]
    named = [f"{split}.{name}" for split in SPLITS for name in short]
    spoken = [
        f"{split}.{language}.{way}.{name}"
        for split in SPLITS
        for language in LANGUAGES
        for way in DIRECTIONS
        for name in RETRIEVAL
    ]
    return (*short, *TRAINING, *WHOLE, *named, *spoken)


_CATALOGUE = catalogue()
_LEGAL = frozenset(_CATALOGUE)


def full_name(name: str) -> str:
    """The name under which a run reports a metric: ``t2a.R@1`` becomes ``test.t2a.R@1``.

    Raises InputError for a name that no run reports, with the nearest one that is.
    """
    if name not in _LEGAL:
        raise InputError(
            f"no run reports '{name}'{nearest(name, _CATALOGUE)} (valid: [val.|shifted.]t2a|a2t. "
            f"{', '.join(RETRIEVAL)}; {', '.join((*WHOLE, *TRAINING))})"
        )
    if name.split(".")[0] in DIRECTIONS or name == "MRV":
        return f"test.{name}"
    return name


def lower_is_better(name: str) -> bool:
    """Whether a small value is the good one (ranks, seconds, losses)."""
    return name.startswith("train.") or name.split(".")[-1] in _LOWER
