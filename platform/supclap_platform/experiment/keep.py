"""What stays of the models that an experiment's runs make: in the storage, and in MLflow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from supclap.section import Section

ALL, BEST, BASELINE, NONE = "all", "best", "baseline", "none"
LINK, COPY = "link", "copy"


class KeepSection(Section):
    """No part of a run's signature: results, and which runs are finished, do not depend on it."""

    # all: of every run; best: of each row, that of its best seed; baseline: those of them that
    # other rows are compared with; none: of no run. Stages that runs start from keep theirs.
    models: Literal["all", "best", "baseline", "none"] = "all"
    # link: MLflow has their place in the storage; copy: their files too. By itself a link, but a
    # copy where a server would be given the place of a folder on this machine.
    mlflow: Literal["link", "copy"] | None = None


KEEP_ALL = KeepSection()


def frees_models(keeps: Iterable[KeepSection]) -> bool:
    """Whether any run's model may go, by what the parts of an experiment keep."""
    return any(keep.models != ALL for keep in keeps)
