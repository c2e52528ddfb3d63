"""What a seed stands for, and so what a verdict speaks of: seeds are the replicates, and whatever
is the same for all of them is all that was tried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.method import Configuration
from supclap_platform.experiment.varying import value_at


def scope_of(experiment: Experiment, variants: Iterable[str] | None = None) -> str:
    """One or two sentences: what each seed has of its own, and what is the same for all.

    Args:
        variants: those that are spoken of; all, where there are none.
    """
    wanted = None if variants is None else set(variants)
    rows = [one for one in experiment.variants if wanted is None or one.name in wanted]
    configs = [one.config for one in rows]
    method = experiment.method
    stage = experiment.stage if any(one.from_stage for one in rows) else None
    own, shared = ["first weights", "order of the data"], []
    if stage is not None and stage.per_seed:
        own.append("stage")
    elif stage is not None or any(_starts(method.start_key, config) for config in configs):
        shared.append("this pretrained start")
    for word, what in method.vary.items():
        if word not in experiment.vary:
            shared.append(f"these {what}")
            continue
        own.append(what)
        still = dict.fromkeys(one for c in configs for one in method.shared_still(c, word))
        shared += [f"these {one}" for one in still]
    if not method.vary:
        shared.append("these data")
    text = f"Each seed has its own {listed(own)}"
    if shared:
        return f"{text}. Verdicts speak of {listed(shared)} only."
    return f"{text}, so verdicts speak of others of their kind too."


def _starts(key: str | None, config: Configuration) -> bool:
    return key is not None and value_at(config, key) is not None


def listed(words: Sequence[str]) -> str:
    """Words in a sentence: "a, b and c"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
