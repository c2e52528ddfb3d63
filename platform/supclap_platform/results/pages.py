"""HTML pages from the templates in ``page/``: each needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template


def resource(name: str) -> str:
    """A file of ``page/``."""
    return files("supclap_platform.results").joinpath("page", name).read_text("utf-8")


def template(name: str, **filters: Callable[..., Any]) -> Template:
    """A template of ``page/``: what it is given is escaped, and what it lacks is an error."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= filters
    return environment.from_string(resource(name))


def policy_hash(content: str) -> str:
    """What the page's own policy allows its one style, or its one script, by."""
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
