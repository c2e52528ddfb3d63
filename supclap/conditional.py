"""Writing an object only where there is none, or only where there is one: one request that a store
of objects decides, whatever others ask of it at the same time.

S3 and what speaks its language take a condition with a PUT, Google's store with an upload. pyarrow
hands none on, so these requests go another way, to the place that the folder's address names. On
other file systems, and on S3 where `supclap.s3` cannot reach it, there is a look before the write.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pyarrow.fs as pafs

from supclap.errors import InputError
from supclap.s3 import bucket_of
from supclap.secrets import is_anonymous, masked, without_password
from supclap.wording import gist

SECONDS = 60  # that Google's store may take to answer
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_EXISTS = 412  # or is gone: the condition is not met


def put(filesystem: pafs.FileSystem, place: str, path: str, content: bytes, there: bool) -> bool:
    """Writes an object on a file system that is not on this machine.

    Args:
        place: the address of any folder there, with the options that it is reached by.
        path: the object's bucket and key.
        there: write only where there is one already, which holds ``content``: it is given a new
            time. Else only where there is none.

    Returns whether it was written. Raises OSError; InputError where a package is missing.
    """
    bucket, _, key = path.lstrip("/").partition("/")
    if filesystem.type_name == "s3":
        reached = bucket_of(place, filesystem.region)
        if reached is not None:
            return reached.write_if(key, content, there)
    if filesystem.type_name == "gcs":
        return _put_at_google(place, bucket, key, content, there)
    if filesystem.get_file_info(path).is_file != there:
        return False
    with filesystem.open_output_stream(path) as stream:
        stream.write(content)
    return True


def _put_at_google(place: str, bucket: str, key: str, content: bytes, there: bool) -> bool:
    address = urlsplit(place)
    options = {name: values[-1] for name, values in parse_qs(address.query).items()}
    end = options.get("endpoint_override", "storage.googleapis.com")
    anonymous = address.username == "anonymous" or is_anonymous(place)
    condition = "ifGenerationNotMatch" if there else "ifGenerationMatch"
    try:
        answer = _session(anonymous=anonymous).post(
            f"{options.get('scheme', 'https')}://{end}/upload/storage/v1/b/{quote(bucket)}/o",
            params={"uploadType": "media", "name": key, condition: "0"},
            data=content,
            headers={"Content-Type": "application/octet-stream"},
            timeout=SECONDS,
        )
        if answer.status_code == _EXISTS:
            return False
        answer.raise_for_status()
    except ImportError as error:
        raise InputError(
            f"storage '{without_password(place)}': needs the package {error.name}: pip install "
            "'supclap[platform]'"
        ) from None
    except Exception as error:  # of the libraries between here and the store, whichever it is
        raise OSError(masked(gist(error), place)) from None
    return True


@lru_cache(maxsize=2)
def _session(anonymous: bool) -> Any:
    """What speaks to Google's store, with the rights that google-auth finds."""
    import google.auth
    import google.auth.transport.requests as transport
    import requests

    if anonymous:
        return requests.Session()
    credentials, _ = google.auth.default(scopes=[SCOPE])
    return transport.AuthorizedSession(credentials)
