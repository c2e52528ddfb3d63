"""The same runs without the platform: a pool of processes, each run in a folder of its own.

    python -m benchmarks.bare_loop PLACE AT_ONCE CONFIG...

It imports nothing that a plain training script would not.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from supclap.config import RunConfig
from supclap.storage import Folder


def loop(place: str, at_once: str, *configs: str) -> None:
    """Trains each configuration (JSON) in ``PLACE/loop-NUMBER``, so many at once."""
    with ProcessPoolExecutor(int(at_once), mp_context=get_context("spawn")) as pool:
        folders = [f"{place}/loop-{number}" for number in range(len(configs))]
        list(pool.map(train, configs, folders))


def train(config: str, folder: str) -> None:
    """One run, as the training loop alone makes it."""
    import torch

    from supclap.training import fit

    torch.set_num_threads(1)
    for _ in fit(RunConfig.model_validate_json(config), Folder.at(folder)):
        pass


if __name__ == "__main__":
    loop(*sys.argv[1:])
