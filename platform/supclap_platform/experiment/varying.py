"""What each seed has of its own, besides first weights and the order of the data: `seeds.vary`.

The stage of `init` is the platform's to vary; all else is the method's (`Method.vary`). What stays
the same for all seeds is what a verdict speaks of, and nothing beyond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from supclap.document import Document, Key
from supclap.errors import nearest
from supclap_platform.experiment.method import STAGE, Configuration, Method
from supclap_platform.experiment.schema import InitSection


def check_vary(
    document: Document,
    key: Key,
    words: Sequence[str],
    init: InitSection | None,
    configs: Mapping[str, Configuration],
    method: Method,
) -> tuple[str, ...]:
    """Those of the words that are the method's to vary.

    Args:
        key: where they stand.
        configs: what each row trains, by its name.

    Raises InputError for a word that nobody knows or that stands twice, for a stage where there is
    none, and for a row that has nothing of the kind that could be another for each seed.
    """
    valid = [STAGE, *method.vary] if method.start_key is not None else list(method.vary)
    for word in words:
        if word not in valid:
            can = f"valid: {', '.join(valid)}" if valid else "it offers nothing to vary"
            raise document.error(
                key,
                f"seeds.vary: the method {method.name} cannot vary '{word}'"
                f"{nearest(word, valid)} ({can})",
            )
        if words.count(word) > 1:
            raise document.error(key, f"seeds.vary: '{word}' stands twice")
    if STAGE in words and init is None:
        raise document.error(
            key,
            f"seeds.vary: there is no stage that a seed could have of its own: the file has no "
            f"'init'; declare one, or leave '{STAGE}' out",
        )
    own = tuple(word for word in method.vary if word in words)
    for word in own:
        for name, config in configs.items():
            reason = method.why_not_varied(word, config)
            if reason is not None:
                raise document.error(
                    key, f"seeds.vary: {name} has no {word} to vary: {reason}; leave '{word}' out"
                )
    return own


def stage_of_each(
    document: Document, key: Key, words: Sequence[str] | None, init: InitSection | None
) -> bool:
    """Whether each seed has a stage of its own: `seeds.vary` says so, or where it is not there
    `init.per_seed`.

    Raises InputError where both stand in the file itself and say the opposite.
    """
    if init is None:
        return False
    if words is None:
        return init.per_seed
    own = STAGE in words
    if key[0] == "seeds" and "per_seed" in init.model_fields_set and init.per_seed != own:
        raise document.error(
            ("init", "per_seed"),
            f"init: 'per_seed: {str(init.per_seed).lower()}' and 'seeds.vary' "
            f"{'with' if own else 'without'} '{STAGE}' say the opposite; leave 'per_seed' out",
        )
    return own


def value_at(config: Configuration, dotted: str) -> object:
    """What a configuration has at a dotted key; None where a part of it is absent."""
    found = config
    for name in dotted.split("."):
        found = getattr(found, name, None)
    return found
