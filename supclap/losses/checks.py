"""What the losses demand of their input, each reported as a ValueError with argument and value."""

from __future__ import annotations

from weakref import WeakSet

import torch
from torch import Tensor, nn

# Room for embeddings that were normalised in bfloat16 (8 bits of mantissa).
NORM_TOLERANCE = 1e-2


_seen: WeakSet[nn.Module] = WeakSet()  # losses whose first embeddings on a GPU were in order


def check_embeddings(
    audio: Tensor, text: Tensor, smallest: int = 2, by: nn.Module | None = None
) -> None:
    """Raises ValueError unless ``audio`` and ``text`` are L2-normalised pairs.

    Args:
        audio, text: (N, d) floating point, N >= ``smallest``, every row of norm 1 within
            `NORM_TOLERANCE`.
        by: the loss that asks. On a GPU it would wait at each call for all work that is queued,
            so there the norms are looked at in its calls up to the first that is in order, and in
            later ones shapes and types alone. On a CPU, and without ``by``, always.

    One pass over the N x d numbers and one transfer of a scalar: nothing beside the N x N products.
    """
    for name, value in (("audio", audio), ("text", text)):
        if not isinstance(value, Tensor) or value.ndim != 2:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{name}: expected embeddings of shape (N, d), got {found}")
        if not value.is_floating_point():
            raise ValueError(f"{name}: expected floating point embeddings, got {value.dtype}")
    if audio.shape != text.shape:
        raise ValueError(
            "audio and text: expected one text per audio, of equal width, got shapes "
            f"{tuple(audio.shape)} and {tuple(text.shape)}"
        )
    if len(audio) < smallest:
        raise ValueError(
            f"audio and text: expected a batch of at least {smallest} pairs, as a single pair has "
            f"no negative to contrast with, got {len(audio)}"
        )
    if not len(audio) or (by in _seen and _waits(audio.device)):
        return
    with torch.no_grad():
        norms = torch.stack([torch.linalg.vector_norm(x, dim=1).float() for x in (audio, text)])
        deviation = (norms - 1).abs()
        worst = deviation.max().item()  # NaN and infinity survive max()
    if worst <= NORM_TOLERANCE:
        if by is not None and _waits(audio.device):
            _seen.add(by)
        return
    for name, value, off in (("audio", audio, deviation[0]), ("text", text, deviation[1])):
        finite = torch.isfinite(value).all(dim=1)
        if not finite.all():
            row = int((~finite).nonzero()[0])
            raise ValueError(f"{name}: expected finite embeddings, row {row} holds NaN or infinity")
        row = int(off.argmax())
        if off[row] > NORM_TOLERANCE:
            norm = torch.linalg.vector_norm(value[row].float()).item()
            raise ValueError(
                f"{name}: expected L2-normalised embeddings (norm 1 within {NORM_TOLERANCE}), row "
                f"{row} has norm {norm:.6g}; pass them through torch.nn.functional.normalize first"
            )


def _waits(device: torch.device) -> bool:
    """Whether a number is read from there only after all work that is queued."""
    return device.type != "cpu"


def check_clip_ids(clip_ids: Tensor | None, pairs: int) -> None:
    """Raises ValueError unless ``clip_ids`` is None or (N,) integers."""
    if clip_ids is None:
        return
    if not isinstance(clip_ids, Tensor) or clip_ids.shape != (pairs,):
        found = tuple(clip_ids.shape) if isinstance(clip_ids, Tensor) else type(clip_ids).__name__
        raise ValueError(f"clip_ids: expected shape ({pairs},), one per pair, got {found}")
    if clip_ids.is_floating_point() or clip_ids.is_complex() or clip_ids.dtype == torch.bool:
        raise ValueError(f"clip_ids: expected integers, got {clip_ids.dtype}")


def check_number(
    name: str,
    value: float,
    *,
    above: float | None = None,
    at_least: float = -1e30,
    at_most: float = 1e30,
) -> float:
    """``value`` as a float. Raises ValueError outside the bounds, and for NaN and infinities."""
    number = float(value)
    fits = at_least <= number <= at_most and (above is None or number > above)
    if not fits:
        low = f"above {above:g}" if above is not None else f"at least {at_least:g}"
        low = "finite" if above is None and at_least == -1e30 else low
        high = f" and at most {at_most:g}" if at_most < 1e30 else ""
        raise ValueError(f"{name}: expected a number {low}{high}, got {value!r}")
    return number
