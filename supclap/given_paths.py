"""Paths on a command line: which are of this machine, and which may be addresses in a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from supclap.errors import InputError
from supclap.objects import in_store
from supclap.secrets import without_password


class HerePath(click.Path):
    """A path of this machine, to write to: an address, taken for a path, would make folders that
    are called like it."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and in_store(value):
            name = param.opts[0] if param is not None else "path"
            raise InputError(
                f"{name} {without_password(value)}: expected a path of this machine; what is "
                "written there can then be copied (aws s3 cp, gcloud storage cp)"
            )
        return super().convert(value, param, ctx)
