"""What a part of one's own is derived from, and what registers it (docs/ideas.md)."""

from supclap.parts.calling import PartError
from supclap.parts.losses import BaseLoss, LossTerm, Pairs, Radius
from supclap.parts.part import Part, Place
from supclap.registry import register

__all__ = ["BaseLoss", "LossTerm", "Pairs", "Part", "PartError", "Place", "Radius", "register"]
