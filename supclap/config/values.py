"""Values that several sections of a configuration share, and their short forms."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

# The paper's eight languages, as ISO 639-3 codes.
LANGUAGES = ("eng", "fra", "deu", "spa", "nld", "cat", "jpn", "zho")
FEATURES = "features"  # names the data source, and the two encoders that pass its vectors on
Share = Annotated[float, Field(ge=0, lt=1)]
Size = Annotated[int, Field(ge=1, lt=2**31)]  # of a part of a model
# Of a clip: the log-mels' window reaches 256 samples (0.016 s) into a clip from both of its ends,
# and mirrors them; an hour is beyond what fits in a batch.
Seconds = Annotated[float, Field(ge=0.02, le=3600)]


def _usable(path: str) -> str:
    names = [os.fsencode(name) for name in path.split("/")]
    if not path.strip() or "\0" in path:
        raise ValueError("expected the path of a folder")
    if len(path) > 4_000 or any(len(name) > 255 for name in names):
        raise ValueError("a name in it is longer than a file system takes")
    return path


Place = Annotated[str, AfterValidator(_usable)]
Language = Literal["eng", "fra", "deu", "spa", "nld", "cat", "jpn", "zho"]


def by_name(value: object) -> object:
    """Lets ``audio: cnn`` stand for ``audio: {name: cnn}``."""
    return {"name": value} if isinstance(value, str) else value


def by_label(value: object) -> object:
    """Lets ``{angle: {margin: 0.2}}`` stand for ``{angle: {name: angle, margin: 0.2}}``; a part
    that is null is taken away."""
    if not isinstance(value, Mapping):
        return value
    return {
        name: {"name": name, **part} if isinstance(part, Mapping) else part
        for name, part in value.items()
        if part is not None
    }


def one_or_more(value: object) -> object:
    """Lets ``events: folder`` stand for ``events: [folder]``."""
    return (value,) if isinstance(value, str) else value
