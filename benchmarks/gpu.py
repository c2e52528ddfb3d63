"""What a card is worth here: losses, memory and the paper's Table 14, checked against the CPU.

    python -m benchmarks.gpu            # at most 8 minutes on one card
    python -m benchmarks.gpu --small    # its smallest form, on the CPU too, in seconds

First every form of the loss is compared with the literal form in float64 on the CPU, and a step
with itself; then the losses are timed on bfloat16 embeddings of d = 1,024 in turns with open_clip's
ClipLoss (written out where it is not installed) and a plain InfoNCE; then steps of CED-Base's and
SONAR's shapes with random weights on ten-second clips, batch 24, with the three losses of Table 14
in turns. The exit code is 1 where a number is not equal. What the paper's card took stands beside.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.losses import Loss, open_clip_loss, total
from benchmarks.machine import describe, print_table
from benchmarks.table14 import table14
from supclap.losses import (
    DynamicRadius,
    InfoNCE,
    StaticRadius,
    SupCLAPLoss,
    SupportVectorRegularization,
)
from supclap.losses.literal import literal_loss
from supclap.memory import asked_for
from supclap.precision import products_in
from supclap.workers import Workers

WIDTH = 1024
SCALE = 1 / 0.07
BOUND = {"float32": 1e-5, "tf32": 2e-2}  # of a gradient against its largest number
KEPT = 16_384  # pairs up to which whole products are kept


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    equal: tuple[int, int]  # pairs at which numbers are compared, and rows of a tile there
    pairs: tuple[int, ...]
    width: int
    seconds: float  # for all rivals at one number of pairs, but for one round
    tile: int
    small: bool


FULL = Size((500, 128), (24, 128, 512, 2048, 8192, 16_384, 65_536), WIDTH, 8.0, 1024, False)
SMALL = Size((30, 16), (24, 96), 64, 0.1, 16, True)
LIMIT = 400.0  # seconds after which no other number of pairs is begun


def main(given: list[str] | None = None) -> int:
    """Prints every figure; 1 where a number is not equal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--small", action="store_true", help="small sizes, on the CPU too")
    size = SMALL if parser.parse_args(given).small else FULL
    if not torch.cuda.is_available() and not size.small:
        print("no card that PyTorch can use; --small runs on the CPU", file=sys.stderr)
        return 2
    device = Workers.current().device  # with the algorithms that training asks for
    print(f"{card(device)}; {describe()}")
    began = time.monotonic()
    wrong = equality(size, device)
    for precision in ("tf32", "bf16"):
        with products_in(precision):
            wrong += table14(size.small, device, precision)
    for precision in ("float32", "tf32"):
        with products_in(precision):
            losses(size, device, precision, began + LIMIT)
    print(f"\n{time.monotonic() - began:.0f} s in all; {len(wrong)} not equal {', '.join(wrong)}")
    return 1 if wrong else 0


def card(device: torch.device) -> str:
    """The card's name and memory."""
    if device.type != "cuda":
        return "no card: figures of the CPU, which are none of a card's"
    found = torch.cuda.get_device_properties(device)
    return f"{found.name}, {found.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"


def embeddings(pairs: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(N, d) audio and text of length 1, bfloat16; the same numbers on every device."""
    numbers = torch.Generator().manual_seed(0)
    raw = torch.randn(2, pairs, width, generator=numbers)
    audio, text = F.normalize(raw[0], dim=1), F.normalize(raw[1] + 0.5 * raw[0], dim=1)
    return audio.to(device, torch.bfloat16), text.to(device, torch.bfloat16)


def regularized(radius: StaticRadius | DynamicRadius, tile: int | None = None) -> SupCLAPLoss:
    return SupCLAPLoss(InfoNCE(), SupportVectorRegularization(radius, "both"), tile)


def forms(pairs: int, tile: int | None) -> dict[str, SupCLAPLoss]:
    """Our losses by name; equal ones begin with equal weights."""
    torch.manual_seed(0)
    name = "" if tile is None else f", tiles of {tile}"
    return {
        f"InfoNCE{name}": SupCLAPLoss(InfoNCE(), tile=tile),
        f"bi-StaticSVR{name}": regularized(StaticRadius(), tile),
        f"bi-DynamicSVR, batch order{name}": regularized(DynamicRadius(pairs, "batch"), tile),
        f"bi-DynamicSVR{name}": regularized(DynamicRadius(pairs), tile),
    }


# ---- equality ----------------------------------------------------------------------------------


def equality(size: Size, device: torch.device) -> list[str]:
    """Compares every form with the literal one in float64 on the CPU; the names of those that
    differ by more than the bound, or from their own repetition."""
    pairs, tiled = size.equal
    audio, text = embeddings(pairs, size.width, torch.device("cpu"))
    rows, wrong = [], []
    for tile in (None, tiled):
        for name, loss in forms(pairs, tile).items():
            expected = gradients(
                partial(literal_loss, loss.double()), audio.double(), text.double()
            )
            loss = loss.float().to(device)
            given = [side.to(device).float() for side in (audio, text)]
            cells = []
            for precision, bound in BOUND.items():
                with products_in(precision):
                    found = gradients(loss, *given)
                    again = gradients(loss, *given)
                error = max(difference(*pair) for pair in zip(found, expected, strict=True))
                same = all(map(torch.equal, found, again))
                cells.append(f"{error:.1e}{'' if same else ', not repeated'}")
                if not error < bound or not same:
                    wrong.append(f"{name} in {precision}")
            rows.append([name, *cells])
    print(f"\nGreatest difference from the literal form in float64 on the CPU, N = {pairs:,},")
    print(f"as a share of the largest number; bounds {BOUND}")
    print_table(["", *BOUND], rows)
    return wrong


def gradients(
    function: Callable[..., object], audio: Tensor, text: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, and its gradients at the embeddings, on the CPU in float64."""
    leaves = [side.detach().requires_grad_() for side in (audio, text)]
    value: Tensor = function(*leaves).total  # type: ignore[attr-defined]
    found = torch.autograd.grad(value, leaves)
    first, second = (one.detach().cpu().double() for one in found)
    return value.detach().cpu().double(), first, second


def difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


# ---- losses ------------------------------------------------------------------------------------


def plain_infonce(audio: Tensor, text: Tensor) -> Tensor:
    """One product in float32, two cross-entropies."""
    logits = SCALE * audio.float() @ text.float().T
    targets = torch.arange(len(audio), device=audio.device)
    return F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)


def clip_loss_written_out(audio: Tensor, text: Tensor) -> Tensor:
    """open_clip's ClipLoss on one card: both logit matrices, in the embeddings' precision."""
    of_audio, of_text = SCALE * audio @ text.T, SCALE * text @ audio.T
    targets = torch.arange(len(audio), device=audio.device)
    return (F.cross_entropy(of_audio, targets) + F.cross_entropy(of_text, targets)) / 2


def rivals(pairs: int, size: Size, device: torch.device) -> dict[str, Loss]:
    """What is timed at a number of pairs; whole products are kept up to `KEPT` of them."""
    theirs = open_clip_loss(device)
    named: dict[str, Loss] = {"InfoNCE, plain": plain_infonce}
    if theirs is None:
        named["ClipLoss, written out (no open_clip)"] = clip_loss_written_out
    else:
        named["open_clip ClipLoss"] = theirs
    tiles = [None, size.tile] if pairs <= KEPT else [size.tile]
    for tile in tiles:
        if tile is None or tile < pairs:
            named |= {n: total(loss.to(device)) for n, loss in forms(pairs, tile).items()}
    return named


def losses(size: Size, device: torch.device, precision: str, limit: float) -> None:
    """Time and peak memory, forward and backward, at each number of pairs until ``limit``."""
    print(
        f"\nForward and backward, d = {size.width:,}, bfloat16 embeddings; our products and those"
    )
    print(
        f"of the plain InfoNCE in {precision}, ClipLoss's in bfloat16; of InfoNCE: its own form's"
    )
    heads = ["", "ms", "of InfoNCE", "of ClipLoss", "memory, MB"]
    for pairs in size.pairs:
        if time.monotonic() > limit:
            print(f"\nN = {pairs:,}: left out, the time is over")
            continue
        audio, text = embeddings(pairs, size.width, device)
        audio.requires_grad_()
        text.requires_grad_()
        measured: dict[str, tuple[list[float], float]] = {}
        calls = rivals(pairs, size, device)
        for name in list(calls):
            peak = tried(partial(step, calls[name], audio, text), device)
            if peak is None:
                del calls[name]
            else:
                measured[name] = ([], peak)
        until = time.monotonic() + size.seconds
        rounds = 0
        while rounds < 200 and (not rounds or time.monotonic() < until):
            for name, call in calls.items():
                measured[name][0].append(timed(partial(step, call, audio, text), device))
            rounds += 1
        print(f"\nN = {pairs:,}, {rounds} rounds")
        middle = {name: statistics.median(times) for name, (times, _) in measured.items()}
        rows = []
        for name, (_, peak) in measured.items():
            own = next(n for n in middle if n.startswith("InfoNCE") and same_form(n, name))
            clip = next((middle[name] / middle[n] for n in middle if "ClipLoss" in n), None)
            share = "" if clip is None else f"{clip:.2f}"
            cells = [f"{1e3 * middle[name]:.3g}", f"{middle[name] / middle[own]:.2f}", share]
            rows.append([name, *cells, f"{peak / 1e6:,.0f}"])
        print_table(heads, rows)


def same_form(infonce: str, name: str) -> bool:
    """Whether an InfoNCE is the one that a loss's time is a multiple of: tiled, if that is."""
    if infonce == "InfoNCE, plain":
        return False
    return ("tiles" in infonce) == ("tiles" in name) or "SVR" not in name


def step(loss: Loss, audio: Tensor, text: Tensor) -> None:
    audio.grad = text.grad = None
    loss(audio, text).backward()


def tried(call: Callable[[], object], device: torch.device) -> float | None:
    """Bytes beyond what was there, at their peak in a call (after one that compiles); None where
    there is no memory for it. 0 on a CPU, which keeps no account."""
    try:
        call()
        if device.type != "cuda":
            return 0.0
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return float(torch.cuda.max_memory_allocated() - before)
    except (RuntimeError, MemoryError) as error:
        if asked_for(error) is None:
            raise
    torch.cuda.empty_cache()
    return None


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call, with what it has started."""
    with synchronized(device):
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began


@contextlib.contextmanager
def synchronized(device: torch.device) -> Iterator[None]:
    if device.type == "cuda":
        torch.cuda.synchronize()
    yield


if __name__ == "__main__":
    sys.exit(main())
