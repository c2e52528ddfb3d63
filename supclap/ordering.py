"""Asks a batch order for an epoch, and holds it to what it promises."""

from __future__ import annotations

import numpy as np

from supclap.parts.calling import calling, wrong
from supclap.parts.order import BatchOrder, TrainingPairs


def ordered(
    order: BatchOrder,
    pairs: TrainingPairs,
    epoch: int,
    generator: np.random.Generator,
    steps: int = 0,
) -> np.ndarray:
    """The order's epoch: (n,) int64, indices of ``pairs``.

    Args:
        steps: batches that it must fill; 0: any number of them.

    Raises:
        PartError: it is no list of such indices, is too short for a batch, or leaves pairs out or
            repeats them though it has not declared so.
    """
    with calling(order, "order"):
        given = order.order(pairs, epoch, generator)
        found = np.asarray(given)
    where = f"epoch {epoch + 1}"
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise wrong(
            order,
            "order",
            f"{where}: expected (n,) whole numbers, found {found.dtype} of shape {found.shape}",
        )
    outside = np.flatnonzero((found < 0) | (found >= len(pairs)))
    if len(outside):
        at = outside[0]
        raise wrong(
            order,
            "order",
            f"{where}: expected pairs from 0 to {len(pairs) - 1}, found {found[at]} at {at}",
        )
    found = found.astype(np.int64)
    if len(found) < pairs.batch_size:
        raise wrong(
            order, "order", f"{where}: {len(found)} pairs do not fill a batch of {pairs.batch_size}"
        )
    filled = len(found) // pairs.batch_size
    if steps and filled != steps:
        raise wrong(
            order,
            "order",
            f"{where}: fills {filled} batches, and the first epoch {steps}; every epoch takes as "
            "many steps (np.resize repeats an order up to a length)",
        )
    times = np.bincount(found, minlength=len(pairs))
    if not order.repeats and (times != 1).any():
        absent, again = int((times == 0).sum()), int((times > 1).sum())
        raise wrong(
            order,
            "order",
            f"{where}: {absent} of {len(pairs)} pairs are left out and {again} stand more than "
            "once; an order that means this says `repeats = True` in its class",
        )
    return found
