"""What a part of one's own is derived from, and what registers it (docs/ideas.md)."""

from supclap.parts.part import Part
from supclap.registry import register

__all__ = ["Part", "register"]
