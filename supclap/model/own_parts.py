"""A saved model names the parts of somebody's own that it needs; it never imports them itself.

model.json then has ``parts``, each with the version of its source (`supclap.user_code.identity`),
and ``user_code``, what a storage keeps that source as.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supclap.config import ModelConfig
from supclap.errors import InputError
from supclap.registry import all_parts
from supclap.user_code import needed_by, parts_of


def needed(config: ModelConfig) -> dict[str, Any]:
    """What of the user's code a model needs, for its index; nothing, where it needs none."""
    parts = parts_of(config)
    return {"parts": parts, "user_code": needed_by(config).hash} if parts else {}


def refuse_unknown(folder: Path, parts: Mapping[str, str], user_code: str) -> None:
    """Raises InputError where a part that a model needs is not loaded: it says what to give."""
    known = {part.name for part in all_parts()}
    missing = [label for label in parts if label.partition(": ")[2] not in known]
    if missing:
        file = missing[0].partition(": ")[0]
        kept = f"; a storage keeps it as code/{user_code}" if user_code else ""
        raise InputError(
            f"{folder}: needs {_named(missing, parts)}, and nothing is loaded for it by itself; "
            f'give supclap.load(folder, code="{file}"), or --code {file}{kept}'
        )


def refuse_other(
    folder: Path, config: ModelConfig, parts: Mapping[str, str], user_code: str
) -> None:
    """Raises InputError where what is loaded is of another version than the model was saved with:
    it would take the weights for something else, and give other numbers in silence."""
    now = parts_of(config)
    other = [label for label in parts if now.get(label) != parts[label]]
    if other:
        found = ", ".join(now.get(label, "of another file") for label in other)
        kept = f", which a storage keeps as code/{user_code}" if user_code else ""
        raise InputError(
            f"{folder}: was saved with {_named(other, parts)}, and what is loaded is another "
            f"version ({found}); give the one that it was saved with{kept}"
        )


def _named(labels: list[str], versions: Mapping[str, str]) -> str:
    return ", ".join(f"{label} (version {versions[label]})" for label in labels)
