"""The platform. `import supclap_platform` costs nothing; `open` brings what it needs::

import supclap_platform as sp

results = sp.open("experiments/table3_ablation.yaml")
results.runs().groupby("row")["test.t2a.R@1"].describe()
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supclap_platform.results.opened import Results


def open(
    experiment: str | Path,
    storage: str | Path | None = None,
    profile: str = "laptop",
    changes: Mapping[str, Any] | None = None,
    code: str | None = None,
    no_code: bool = False,
) -> Results:
    """The results of an experiment, to go on with. Nothing is trained and nothing is written.

    Args:
        experiment: its file, or the name of one that has been run in the storage, which keeps its
            file.
        storage: folder or URI (s3://, gs://) of all results; by default $SUPCLAP_STORAGE, else
            supclap-results.
        profile: one of the file's profiles.
        changes: of the file's base, as `--set` makes them: ``{"epochs": 5}``.
        code: a version of the code, as `runs` names it: what its runs have reported, those too that
            were trained anew since; or "earlier": what each run reported before it last was.
        no_code: refuse a file that names code of its own to run.

    Raises:
        InputError: in one line, what cannot be used.
    """
    from supclap_platform.commands.opening import open_results

    return open_results(experiment, storage, profile, changes, code, no_code)
