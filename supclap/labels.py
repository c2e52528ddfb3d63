"""The names under which a loss's own parts are logged."""

from __future__ import annotations

import re

from supclap.errors import SettingError

# What runs log as train.NAME: no loss term can be called so.
LOGGED = ("base", "bias", "constraint", "gradient", "loss", "svr", "temperature")
# A name that is logged: of a loss term, and of what it wants logged.
LOGGABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_@-]{0,39}")


def check_label(label: str) -> None:
    """Raises SettingError where no loss term can be logged under a label."""
    key = "loss.terms"
    if not LOGGABLE.fullmatch(label):
        raise SettingError(
            key, f"the label {label!r} is not 1 to 40 letters, digits, '-', '_' and '@'"
        )
    if label in LOGGED:
        raise SettingError(
            key,
            f"train.{label} is logged by runs as it is; give the term another label "
            f"({', '.join(LOGGED)} are taken)",
        )
