"""Addresses of file systems, such as ``s3://bucket/place?region=…``: opened, and shown."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

import pyarrow.fs as pafs

from supclap.secrets import is_anonymous, without_password

# Options that hold no secret, without which the place is not found again.
_HARMLESS = ("endpoint_override", "region", "scheme", "anonymous")
_GOOGLE_PATIENCE = 30  # seconds in which a request is tried again
_UNSPELLED = re.compile(r"[^!$&-;=@-Z_a-z~%]|%(?![0-9A-Fa-f]{2})")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")  # anything else is a path, whatever it holds


def is_address(text: str) -> bool:
    """Whether a text is an address, what begins with ``letters://``, and no path."""
    return _ADDRESS.match(text) is not None


def parted(place: str) -> tuple[str, str]:
    """A path or address without its options; then these, with the sign before them."""
    start, sign, options = place.partition("?") if is_address(place) else (place, "", "")
    return start, f"{sign}{options}"


def inside(place: str, name: str) -> str:
    """The path or address of what lies in a place under a name."""
    if not is_address(place):
        return f"{place}/{name}"
    start, options = parted(place)
    return f"{start}/{quote(name)}{options}"


def shown(uri: str) -> str:
    """A URI without a user, whose key is of no use without its secret, and without what may be a
    secret among its options."""
    start, _, options = uri.partition("?")
    head, sign, rest = without_password(start.rstrip("/")).partition("://")
    kept = [
        (name, value)
        for name, value in parse_qsl(options)
        if name in _HARMLESS and "@" not in value
    ]
    user, _, place = rest.rpartition("@")
    where = rest if "/" in user else place  # of a name that holds a sign: bucket/mail@home
    return f"{head}{sign}{where}{'?' if kept else ''}{urlencode(kept, safe=':/')}"


def frugal(uri: str) -> str:
    """An address of S3 with which a small file is written in one request instead of three: what is
    wrong with the place then shows when the file is closed, which is still within `Folder.write`.
    """
    if not uri.startswith("s3://") or "allow_delayed_open=" in uri:
        return uri
    return _with_option(uri, "allow_delayed_open=true")


def connected(uri: str) -> tuple[pafs.FileSystem, str]:
    """A file system and the place in it, where ``?anonymous=true`` asks without credentials.

    Raises as `pyarrow.fs.FileSystem.from_uri`.
    """
    start, _, options = uri.partition("?")
    each = [one for one in options.split("&") if one]
    kept = [one for one in each if not one.startswith("anonymous=")]
    anonymous = is_anonymous(uri)
    rest = f"{start}{'?' if kept else ''}{'&'.join(kept)}"
    if uri.startswith(("gs://", "gcs://")):
        if "retry_limit_seconds=" not in rest:  # without keys it would ask for 15 minutes
            rest = _with_option(rest, f"retry_limit_seconds={_GOOGLE_PATIENCE}")
        if anonymous and "@" not in start:
            rest = rest.replace("://", "://anonymous@", 1)
    elif anonymous and uri.startswith("s3://"):
        given: dict[str, Any] = dict(parse_qsl("&".join(kept)))
        given["allow_delayed_open"] = given.get("allow_delayed_open") == "true"
        unknown = given.keys() - {"endpoint_override", "region", "scheme", "allow_delayed_open"}
        if unknown:
            raise ValueError(f"'{min(unknown)}' has no meaning beside 'anonymous'")
        place = unquote(start.removeprefix("s3://")).rstrip("/")
        if not given.keys() & {"region", "endpoint_override"}:
            given["region"] = pafs.resolve_s3_region(place.partition("/")[0])
        return pafs.S3FileSystem(anonymous=True, **given), place
    found: tuple[pafs.FileSystem, str] = pafs.FileSystem.from_uri(rest)
    return found


def hasty(filesystem: pafs.FileSystem, seconds: float) -> pafs.FileSystem:
    """The same file system, which gives up a question after so many seconds, without another try.

    S3's library would try for minutes, and a process cannot end before it is over; Google's has its
    own limit (`_GOOGLE_PATIENCE`).
    """
    if filesystem.type_name != "s3":
        return filesystem
    once = pafs.AwsStandardS3RetryStrategy(max_attempts=1)
    _, (options,) = filesystem.__reduce__()
    limits = {"connect_timeout": seconds, "request_timeout": seconds, "retry_strategy": once}
    return pafs.S3FileSystem(**{**options, **limits})


def quoted(uri: str) -> str:
    """A URI whose place may hold blanks, letters of any alphabet and other signs that have to be
    spelled in one, as ``%20``; what is spelled so already stays."""
    start, sign, options = uri.partition("?")
    head, slashes, rest = start.partition("://")
    bucket, slash, place = rest.partition("/")
    spelled_out = _UNSPELLED.sub(lambda found: quote(found[0]), place)
    return f"{head}{slashes}{bucket}{slash}{spelled_out}{sign}{options}"


def _with_option(uri: str, option: str) -> str:
    return f"{uri}{'&' if '?' in uri else '?'}{option}"
