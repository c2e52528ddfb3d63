"""Time and memory of the losses: forward and backward at the embeddings, d = 1,024.

    python -m benchmarks.losses                  # about 4 minutes on 2 cores
    python -m benchmarks.losses --sizes 24 512   # in seconds

Every figure is a ratio within one run, the median over rounds in which the rivals take turns.
open_clip's ClipLoss is among them where `pip install --no-deps open_clip_torch` has been run.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.machine import describe, interleaved, median_ratio, print_table
from supclap.losses import (
    DynamicRadius,
    InfoNCE,
    StaticRadius,
    SupCLAPLoss,
    SupportVectorRegularization,
)
from supclap.losses.dynamic_radius import positive_first
from supclap.losses.literal import literal_loss

WIDTH = 1024
TILE = 256
LARGE = 16_384
Loss = Callable[[Tensor, Tensor], Tensor]


def embeddings(pairs: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(2, pairs, WIDTH, generator=generator)
    audio, text = F.normalize(raw[0], dim=1), F.normalize(raw[1] + 0.5 * raw[0], dim=1)
    return audio.requires_grad_(), text.requires_grad_()


def regularized(radius: StaticRadius | DynamicRadius, tile: int | None = None) -> SupCLAPLoss:
    return SupCLAPLoss(InfoNCE(), SupportVectorRegularization(radius, "both"), tile)


class SortedByTorch(DynamicRadius):
    """The default radius as it was: PyTorch's sort also keeps where each number came from."""

    def forward(self, similarities: Tensor, offset: int = 0) -> Tensor:
        inputs = positive_first(similarities, offset)
        negatives = inputs[:, 1:].sort(dim=1, descending=True).values
        radius: Tensor = self.predictor(torch.cat([inputs[:, :1], negatives], dim=1))
        return radius.squeeze(1)


def rivals(pairs: int) -> dict[str, Loss]:
    static = regularized(StaticRadius())
    losses: dict[str, Loss] = {
        "InfoNCE": InfoNCE(),
        "bi-StaticSVR literal": lambda a, t: literal_loss(static, a, t).total,
        "bi-StaticSVR fast": total(static),
        "bi-StaticSVR tiled": total(regularized(StaticRadius(), TILE)),
        "bi-DynamicSVR fast, batch order": total(regularized(DynamicRadius(pairs, "batch"))),
        "bi-DynamicSVR fast, sorted": total(regularized(DynamicRadius(pairs))),
        "bi-DynamicSVR fast, sorted by PyTorch": total(regularized(SortedByTorch(pairs))),
    }
    clip_loss = open_clip_loss()
    if clip_loss is not None:
        losses["open_clip ClipLoss"] = clip_loss
    return losses


def total(loss: SupCLAPLoss) -> Loss:
    def of(audio: Tensor, text: Tensor) -> Tensor:
        value: Tensor = loss(audio, text).total
        return value

    return of


def open_clip_loss(device: torch.device | str = "cpu") -> Loss | None:
    """open_clip's loss, read from its own file: the package as a whole wants torchvision."""
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        return None
    spec = importlib.util.spec_from_file_location(
        "open_clip_loss", Path(package.origin).with_name("loss.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loss = module.ClipLoss()
    scale = torch.tensor(1 / 0.07, device=device)

    def of(audio: Tensor, text: Tensor) -> Tensor:
        value: Tensor = loss(audio, text, scale)
        return value

    return of


def step(loss: Loss, audio: Tensor, text: Tensor) -> None:
    audio.grad = text.grad = None
    loss(audio, text).backward()


def speed(sizes: list[int]) -> dict[int, dict[str, list[float]]]:
    measured = {}
    for pairs in sizes:
        audio, text = embeddings(pairs)
        calls = {name: partial(step, loss, audio, text) for name, loss in rivals(pairs).items()}
        repeats = 300 if pairs < 100 else 15 if pairs < 2000 else 7 if pairs < 4000 else 3
        measured[pairs] = interleaved(calls, repeats)
    names = list(measured[sizes[0]])
    rows = []
    for name in names:
        cells = [f"{median_ratio(measured[n], name, 'InfoNCE'):.2f}" for n in sizes]
        rows.append([name, *cells])
    milliseconds = [f"{1e3 * statistics.median(measured[n]['InfoNCE']):.3g}" for n in sizes]
    print("Time of forward and backward, as a multiple of InfoNCE's (last row: its milliseconds)")
    print_table(["", *(f"N = {n:,}" for n in sizes)], [*rows, ["InfoNCE, ms", *milliseconds]])
    return measured


def memory(measured: dict[int, dict[str, list[float]]]) -> None:
    """Peak memory at N = 16,384 in processes of their own, and time against the literal form's."""
    base, _ = _in_process("none")
    rows = []
    for kind in ("static", "dynamic"):
        peak, seconds = _in_process(kind)
        row = [f"bi-SVR tiled, {kind}", f"{(peak - base) / 1024:.2f} GB", f"{seconds:.0f} s"]
        largest = max(measured)
        literal = statistics.median(measured[largest]["bi-StaticSVR literal"])
        extrapolated = literal * (LARGE / largest) ** 2
        rows.append([*row, f"{seconds / extrapolated:.2f} of {extrapolated:.0f} s"])
    print(
        f"\nN = {LARGE:,}, tiles of {TILE}: peak memory beyond embeddings and libraries, and time"
    )
    print(f"against the literal form's, extrapolated from N = {max(measured):,} by N x N")
    print_table(["", "memory", "time", "of literal"], rows)


def _in_process(kind: str) -> tuple[float, float]:
    """Peak resident MB of a process that runs one step, and the seconds of the step."""
    command = [sys.executable, "-m", "benchmarks.losses", "--one", kind]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    peak, seconds = output.split()
    return float(peak), float(seconds)


def one(kind: str) -> None:
    audio, text = embeddings(LARGE)
    start = time.perf_counter()
    if kind != "none":
        radius = StaticRadius() if kind == "static" else DynamicRadius(LARGE, "batch")
        step(total(regularized(radius, TILE)), audio, text)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(peak, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=[24, 512, 2048, 4096])
    parser.add_argument("--no-memory", action="store_true", help="leave N = 16,384 out")
    parser.add_argument("--one", choices=("none", "static", "dynamic"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one)
        return
    print(describe())
    measured = speed(options.sizes)
    if not options.no_memory:
        memory(measured)


if __name__ == "__main__":
    main()
