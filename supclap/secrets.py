"""Passwords and tokens, kept from whatever is shown, logged or stored."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote

from supclap.errors import InputError

# In any text: what stands before the @ of a URI, and the keys of a query that open something. Each
# is bounded: a file's line may be of millions of characters.
_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s/?#:'\"]{0,200}:[^\s/?#'\"]{1,500}@")
_WORDS = (
    "token|secret|password|passwd|pass|credentials?|signature|sig|"
    "api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key"
)
_SECRET = rf"(?:[A-Za-z0-9_.-]{{0,40}}[_.-])?(?:{_WORDS})(?:[_.-][A-Za-z0-9_.-]{{0,40}})?"
_QUERY = re.compile(rf"[?&;]({_SECRET})=[^\s&;'\"]+", re.IGNORECASE)
_NAME = re.compile(_SECRET, re.IGNORECASE)
STAYS_OUTSIDE = (
    "what an experiment says is stored and shown with its runs; leave it to the environment of "
    "the machines, where the libraries look for it (AWS_SECRET_ACCESS_KEY, HF_TOKEN, ...)"
)


def without_password(uri: str) -> str:
    """A URI as it may be shown: without a password, and without what stands behind a ``?``."""
    head, sign, rest = uri.partition("?")[0].partition("://")
    if not sign:
        return uri
    if head.startswith("sqlite"):  # a file's path: it has no user
        return f"{head}{sign}{rest}"
    user, at, place = rest.rpartition("@")
    return f"{head}{sign}{user.partition(':')[0]}{at}{place}"


def is_anonymous(uri: str) -> bool:
    """Whether an address says that a store is asked without credentials: ``?anonymous=true``."""
    options = dict(parse_qsl(uri.partition("?")[2]))
    return options.get("anonymous", "").lower() in ("true", "1")


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


def check_no_secret(text: str, where: str) -> None:
    """Refuses a text of a configuration that holds a secret: it would be stored with every run.

    Args:
        where: what the error begins with; the text itself is not quoted.

    Raises:
        InputError: a URI with a password, or with a token in its query.
    """
    found = secret_in(text)
    if found is not None:
        raise InputError(f"{where}: {found}: {STAYS_OUTSIDE}")


def secret_in(text: str) -> str | None:
    """What secret a text holds, in words that do not quote it; None where none is seen."""
    if _PASSWORD.search(text):
        return "a URI with a password"
    found = _QUERY.search(text) if "://" in text else None
    return None if found is None else f"a URI with '{found[1]}=' in it"


def names_secret(variable: str) -> bool:
    """Whether an environment variable is one for secrets, by its name."""
    return _NAME.fullmatch(variable) is not None
