"""Keys of built-in pretrained encoders: what stands in their section beside ``folder``."""

from __future__ import annotations

from typing import Literal

from supclap.section import Section


class Pooled(Section):
    """Of a text encoder of transformers.

    Attributes:
        pooling: what of the last layer's states is the text's output: their mean over all tokens,
            the first ("cls"), or the last.
        prefix: put before each text, as some models want it ("query: ").
    """

    pooling: Literal["mean", "cls", "last"] = "mean"
    prefix: str = ""


class Prefixed(Section):
    """Of a folder that sentence-transformers wrote.

    Attributes:
        prefix: put before each text; None: the folder's default prompt, where it names one.
    """

    prefix: str | None = None


class Heard(Section):
    """Of an audio model that takes so many samples at once.

    Attributes:
        longer: what is heard of a longer clip: all of it in pieces side by side, the last one
            ending where the clip ends, with the mean of their outputs ("windows"), or its beginning
            ("cut").
    """

    longer: Literal["windows", "cut"] = "windows"
