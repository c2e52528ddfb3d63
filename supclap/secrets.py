"""Passwords in URIs, kept from whatever is shown, logged or stored."""

from __future__ import annotations

import re
from urllib.parse import unquote


def without_password(uri: str) -> str:
    """A URI as it may be shown: without a password, and without what stands behind a ``?``."""
    head, sign, rest = uri.partition("?")[0].partition("://")
    if not sign:
        return uri
    if head.startswith("sqlite"):  # a file's path: it has no user
        return f"{head}{sign}{rest}"
    user, at, place = rest.rpartition("@")
    return f"{head}{sign}{user.partition(':')[0]}{at}{place}"


def masked(text: str, uri: str) -> str:
    """A message, such as a library's own, without the secrets of a URI that it may quote."""
    for secret in sorted(_secrets(uri), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def has_secret(uri: str) -> bool:
    """Whether a URI holds what is not to be shown."""
    return bool(_secrets(uri))


def _secrets(uri: str) -> set[str]:
    _, sign, rest = uri.partition("://")
    if not sign:
        return set()
    place, _, query = rest.partition("?")
    password = place.rpartition("@")[0].partition(":")[2]
    values = [one.partition("=")[2] for one in re.split("[&;]", query)]
    found = {secret for secret in (password, query, *values) if len(secret) > 2}
    return found | {unquote(secret) for secret in found}
