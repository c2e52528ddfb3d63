"""What a part of one's own is derived from, and what registers it (docs/ideas.md).

Each name is imported when it is first asked for: a run loads the protocols that it uses.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supclap.parts.augmentation import Augmentation, Example
    from supclap.parts.calling import PartError
    from supclap.parts.encoder import AudioEncoder, Source, TextEncoder
    from supclap.parts.head import Head
    from supclap.parts.losses import BaseLoss, LossTerm, Pairs, Radius
    from supclap.parts.metric import Embeddings, Metric
    from supclap.parts.optimizer import Optimizer, Schedule
    from supclap.parts.order import BatchOrder, TrainingPairs
    from supclap.parts.part import Part, Place
    from supclap.parts.source import DataSource, Item
    from supclap.registry import register

_PLACES = {
    "supclap.parts.augmentation": ("Augmentation", "Example"),
    "supclap.parts.calling": ("PartError",),
    "supclap.parts.encoder": ("AudioEncoder", "Source", "TextEncoder"),
    "supclap.parts.head": ("Head",),
    "supclap.parts.losses": ("BaseLoss", "LossTerm", "Pairs", "Radius"),
    "supclap.parts.metric": ("Embeddings", "Metric"),
    "supclap.parts.optimizer": ("Optimizer", "Schedule"),
    "supclap.parts.order": ("BatchOrder", "TrainingPairs"),
    "supclap.parts.part": ("Part", "Place"),
    "supclap.parts.source": ("DataSource", "Item"),
    "supclap.registry": ("register",),
}
__all__ = [
    "AudioEncoder",
    "Augmentation",
    "BaseLoss",
    "BatchOrder",
    "DataSource",
    "Embeddings",
    "Example",
    "Head",
    "Item",
    "LossTerm",
    "Metric",
    "Optimizer",
    "Pairs",
    "Part",
    "PartError",
    "Place",
    "Radius",
    "Schedule",
    "Source",
    "TextEncoder",
    "TrainingPairs",
    "register",
]


def __getattr__(name: str) -> Any:
    for module, names in _PLACES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'supclap.parts' has no attribute '{name}'")
