"""What the rest of a plan takes of memory and disk, beside what there is."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from supclap.data.cache import cache_folder, free_bytes
from supclap.wording import counted, size
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Plan
from supclap_platform.ledger.room import Room

MB = 1_000_000


def room_lines(needed: Room, plan: Plan, ledger: Ledger, at_once: int) -> Iterator[Text]:
    """A line on memory and one on disk; what does not fit says so, with what helps."""
    if needed.memory:
        yield _memory(needed, plan, at_once)
    elif needed.least:
        yield _least(needed, plan)
    if needed.disk or needed.kept or needed.made:
        yield disk_line(needed, ledger)


def _memory(needed: Room, plan: Plan, at_once: int) -> Text:
    basis = f"at most in {counted(needed.measured, 'finished cell')}"
    if not needed.measured:
        basis = "an estimate from one step"
    each = f"memory: {size(round(needed.memory * MB))} a worker ({basis})"
    if any(cell.resources.devices for cell in plan.to_run):
        have, where = _device()
        if have is None:
            return Text(f"{each}, on its GPU")
        fits = needed.memory * MB <= have
        text = f"{each}, of {size(have)} on {where}"
        help_ = "; lower batch_size, or set chunk or model.audio.recompute"
    else:
        import psutil

        have = psutil.virtual_memory().available
        fits = needed.together * MB <= have
        side = min(at_once, len(plan.to_run))
        text = f"{each}, {size(round(needed.together * MB))} with {side} at once"
        text += f", of {size(have)} that are free here"
        help_ = "; fewer at once (run --cpus 1), or lower batch_size, or set chunk"
    return Text(text) if fits else Text(f"{text}: it does not fit{help_}", "yellow")


def _least(needed: Room, plan: Plan) -> Text:
    """Of runs of which no step was timed."""
    size_ = round(needed.least * MB)
    text = f"memory: at least {size(size_)} a worker"
    on_device = any(cell.resources.devices for cell in plan.to_run)
    text += " on its GPU" if on_device else ""
    text += " (weights, gradients and the optimizer's state; a step takes more)"
    have = _device()[0] if on_device else None
    if have is None or size_ <= have:
        return Text(text)
    return Text(
        f"{text}: it does not fit into {size(have)}; freeze a part, or adapt it (lora)", "yellow"
    )


def _device() -> tuple[int | None, str]:
    import torch

    if not torch.cuda.is_available():
        return None, ""
    found = torch.cuda.get_device_properties(0)
    return int(found.total_memory), str(found.name)


def smallest_card(plan: Plan) -> float | None:
    """The memory of this machine's smallest device, in MB; None where there is none, or nothing of
    a plan may share one."""
    if not any(cell.resources.auto for cell in plan.to_run):
        return None
    from supclap.device_share import cards

    return min(cards(), default=None)


def no_room(needed: Room | None, ledger: Ledger) -> str | None:
    """Why what is left has no room on this machine's disks, in words; None where it has, or where
    it is not known."""
    if needed is None:
        return None
    asked = [(needed.disk, ledger.storage.local), (needed.kept + needed.made, cache_folder())]
    wanted = [
        f"{size(round(amount * MB))} in {place}, which has {size(free)}"
        for amount, place in asked
        if place is not None and amount * MB > (free := free_bytes(place))
    ]
    return f"it writes {'; '.join(wanted)}" if wanted else None


def disk_line(needed: Room, ledger: Ledger, name: str = "disk") -> Text:
    """What the storage and the cache take, in a line; ``name``: what it is of."""
    fits, parts = True, []
    if needed.disk:
        of = f" ({counted(needed.models, 'model')}, and checkpoints while cells run)"
        text = f"{size(round(needed.disk * MB))}{of if needed.models else ''}"
        text += f" in {ledger.storage.uri}"
        local = ledger.storage.local
        if local is not None:
            free = free_bytes(local)
            fits = needed.disk * MB <= free
            text += f", of {size(free)} that are free"
        parts.append(text)
    for taken, of in _in_cache(needed):
        cache = cache_folder()
        free = free_bytes(cache)
        fits = fits and (needed.kept + needed.made) * MB <= free
        parts.append(f"{size(round(taken * MB))}{of} in {cache}, of {size(free)}")
    line = f"{name}: {'; '.join(parts)}"
    if fits:
        return Text(line)
    return Text(f"{line}: it does not fit; `supclap clean`, or --storage ELSEWHERE", "yellow")


def _in_cache(needed: Room) -> Iterator[tuple[float, str]]:
    """What the cache is to take, in MB, with what it is of."""
    if needed.kept:
        yield needed.kept, ""
    if needed.made:
        yield needed.made, f" (made clips of {counted(needed.collections, 'collection')})"
