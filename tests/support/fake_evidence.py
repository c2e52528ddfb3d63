"""Finished cells whose results, epochs and ranks a test chooses."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from fake_runs import finish
from supclap_platform.experiment.cells import Cell
from supclap_platform.ledger.ledger import Ledger

from supclap.events import EpochEnded, to_line


def leave(
    ledger: Ledger,
    cell: Cell,
    metrics: Mapping[str, float],
    epochs: Sequence[Mapping[str, float]] = (),
    ranks: Mapping[str, np.ndarray] | None = None,
    data: str = "data-a",
) -> None:
    """Writes what a finished run leaves: metrics of each epoch, ranks, the result last."""
    folder = ledger.folder(cell.signature)
    if ranks is not None:
        packed = io.BytesIO()
        np.savez(packed, **ranks)
        folder.write("ranks.npz", packed.getvalue())
    finish(ledger, cell, dict(metrics), data=data)
    lines = [to_line(EpochEnded(e, 10 * e, 1.0, dict(m))) for e, m in enumerate(epochs, 1)]
    folder.write("events.jsonl", "".join(f"{line}\n" for line in lines).encode())


def t2a_ranks(hits: Sequence[Sequence[bool]]) -> dict[str, np.ndarray]:
    """Ranks of captions, clip by clip: 0 where a caption hits, else 20."""
    flat = [0 if hit else 20 for clip in hits for hit in clip]
    clips = [place for place, clip in enumerate(hits) for _ in clip]
    return {"t2a_ranks": np.array(flat), "t2a_clips": np.array(clips)}
