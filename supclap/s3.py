"""Objects of S3 by botocore: one request for what takes pyarrow several.

pyarrow asks for an object's size before it reads it, asks what it removes and then marks the folder
above it, and its listings do not name the ETags. `supclap.storage` comes here for these; for all
else, and where the keys or options of an address are none that botocore has, it stays with pyarrow.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from supclap.regular import NotAFile
from supclap.secrets import masked
from supclap.wording import gist

LARGE = 2**26  # bytes from which on an object is written in parts, several at once, as pyarrow does
TRIES = 5  # where the store says that another request for the same object is under way
# What an address may say and botocore is given, or has no need of.
_OPTIONS = {
    *("region", "scheme", "endpoint_override", "allow_delayed_open"),
    *("allow_bucket_creation", "allow_bucket_deletion"),
}


class Listed(NamedTuple):  # there are thousands in a listing, and a dataclass is made slowly
    """A file of a listing. ``tag``: the store's hash of its content, where it names one."""

    size: int
    time: datetime | None
    tag: str | None = None


class Bucket:
    """One bucket. Every method raises OSError where the store is away or refuses."""

    def __init__(self, client: Any, name: str, address: str) -> None:
        self._client = client
        self._name = name
        self._address = address  # whose secrets no message may name

    def read(self, key: str, most: int | None = None) -> bytes:
        """Raises FileNotFoundError; NotAFile where it has more than ``most`` bytes."""
        with self._errors(key):
            answer = self._client.get_object(Bucket=self._name, Key=key)
            if most is not None and answer["ContentLength"] > most:
                answer["Body"].close()
                raise NotAFile(f"{answer['ContentLength']:,} bytes")
            content: bytes = answer["Body"].read()
        return content

    def write(self, key: str, content: bytes) -> None:
        with self._errors(key):
            self._client.put_object(Bucket=self._name, Key=key, Body=content)

    def write_if(self, key: str, content: bytes, there: bool) -> bool:
        """Writes in one step that the store decides, whatever others ask of it at the same time.

        Args:
            there: only where there is an object, which holds this content: it is given a new time.
                Else only where there is none.

        Returns whether it was written.
        """
        with self._errors(key):
            if not there:
                return self._put_if(key, content, IfNoneMatch="*")
            tag = f'"{md5(content)}"'
            if self._put_if(key, content, IfMatch=tag):
                return True
            known = self._tag(key)  # of a store that encrypts by a key of its own
            return known not in (None, tag) and self._put_if(key, content, IfMatch=known)

    def _put_if(self, key: str, content: bytes, **condition: Any) -> bool:
        from botocore.exceptions import ClientError

        for left in range(TRIES, -1, -1):
            try:
                self._client.put_object(Bucket=self._name, Key=key, Body=content, **condition)
                return True
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code in ("PreconditionFailed", "NoSuchKey"):
                    return False
                if code != "ConditionalRequestConflict" or not left:
                    raise
        raise AssertionError

    def _tag(self, key: str) -> str | None:
        from botocore.exceptions import ClientError

        try:
            return str(self._client.head_object(Bucket=self._name, Key=key)["ETag"])
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise

    def delete(self, key: str) -> None:
        """Nothing happens where there is no such object."""
        with self._errors(key):
            self._client.delete_object(Bucket=self._name, Key=key)

    def listing(self, prefix: str) -> Iterator[tuple[str, Listed]]:
        """Every object whose key begins so, but for the markers of folders: key and what it is."""
        asked: dict[str, Any] = {"Bucket": self._name, "Prefix": prefix}
        while True:
            with self._errors(prefix):
                page = self._client.list_objects_v2(**asked)
            for one in page.get("Contents", ()):
                if not one["Key"].endswith("/"):
                    tag = one["ETag"].strip('"')
                    yield one["Key"], Listed(one["Size"], one["LastModified"], tag)
            if not page.get("NextContinuationToken"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                raise FileNotFoundError(errno.ENOENT, "there is no such object", key) from None
            raise OSError(masked(gist(error), self._address)) from None
        except BotoCoreError as error:
            raise OSError(masked(gist(error), self._address)) from None


def md5(content: bytes) -> str:
    """The ETag of an object that was written in one piece, where the store encrypts by no key of
    its own: the hash by which a listing tells what an object holds."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def bucket_of(place: str, region: str) -> Bucket | None:
    """The bucket of an address ``s3://…``; None where pyarrow alone can reach it."""
    address = urlsplit(place)
    return _bucket(f"{address.scheme}://{address.netloc}?{address.query}", region)


@lru_cache(maxsize=16)
def _bucket(address: str, region: str) -> Bucket | None:
    import botocore.session
    from botocore.config import Config

    found = urlsplit(address)
    options = {name: values[-1] for name, values in parse_qs(found.query).items()}
    if not options.keys() <= _OPTIONS or not found.hostname:
        return None
    session = botocore.session.get_session()
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
    given: dict[str, Any] = {}
    if found.username:
        given["aws_access_key_id"] = unquote(found.username)
        given["aws_secret_access_key"] = unquote(found.password or "")
    elif session.get_credentials() is None:
        return None
    end = options.get("endpoint_override")
    if end:
        whole = end if "://" in end else f"{options.get('scheme', 'https')}://{end}"
        given["endpoint_url"] = whole
    client = session.create_client(
        "s3",
        region_name=region or None,
        config=Config(
            retries={"mode": "standard", "max_attempts": 3},
            s3={"addressing_style": "path" if end else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=32,
        ),
        **given,
    )
    return Bucket(client, found.netloc.rpartition("@")[2], address)


def _moment(text: str) -> datetime:
    """A time as listings (ISO 8601) or headers (RFC 5322) give it; botocore's own way to read it
    takes half of the time of a listing."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return parsedate_to_datetime(text)
