"""Why a file gives no sound."""

from __future__ import annotations


class Unreadable(Exception):
    """The file holds no usable sound; the message is the reason."""


class Silent(Unreadable):
    """Every sample is the same: silence, which no caption can be about."""
