"""Warm start: what finished cells of any experiment already say of settings in the space."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from supclap.errors import InputError
from supclap.run_files import CONFIG
from supclap.stored import read_values
from supclap_platform.experiment.search import value_at
from supclap_platform.experiment.search_space import Params
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.records import Result, State
from supclap_platform.ledger.staleness import CodeOf, today
from supclap_platform.search.trials import Trials, mean_values


def finished(
    trials: Trials, ledger: Ledger, code_of: CodeOf = today
) -> Iterator[tuple[Params, list[float], str]]:
    """Settings in the space that finished cells have been trained with, and what they are worth.

    A cell counts where the search would make the very same run of it: the signature says so. Left
    out are the seeds that the winner is to be judged on, as it would be chosen by what it must
    prove, and cells of another version of the code.

    Yields:
        the setting, its values (means over the seeds that were run), and its cells.
    """
    search, held_out = trials.search, set(trials.experiment.seeds)
    done = [s for s, state in ledger.overview().states.items() if state is State.DONE]
    groups: dict[str, tuple[Params, list[Result]]] = {}
    for signature, result in sorted(ledger.results(done).items()):
        found = _setting(trials, ledger, signature)
        if found is None or found[1] in held_out:
            continue
        params, seed = found
        same = trials.with_seeds(0, params, [seed])
        if same.signatures == (signature,) and result.code == code_of(same.cells[0]):
            key = json.dumps(params, sort_keys=True)
            groups.setdefault(key, (params, []))[1].append(result)
    for params, results in groups.values():
        values = mean_values(results, search.objectives, len(results))
        if values is not None:
            yield params, values, ", ".join(result.signature for result in results)


def _setting(trials: Trials, ledger: Ledger, signature: str) -> tuple[Params, int] | None:
    """A cell's setting and seed, or None where it lies outside the space."""
    try:
        values = read_values(ledger.folder(signature), CONFIG)
        config = trials.experiment.method.parse_stored(values, CONFIG)
        space = trials.search.space
        params: dict[str, Any] = {name: value_at(config, name) for name in space.parameters}
        return space.setting(params), config.seed
    except (FileNotFoundError, ValueError, InputError):  # of another version, or outside
        return None
