"""The data-parallel loss, on real processes over gloo, against the one-process run."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from supclap.losses import (
    DynamicRadius,
    InfoNCE,
    MultilingualLoss,
    SigLIP,
    StaticRadius,
    SupCLAPLoss,
    SupportVectorRegularization,
)
from supclap.losses.distributed import GlobalBatchLoss
from supclap.losses.output import LossOutput

Case = tuple[str, str | None, str, int | None, bool]
PAIRS = 11


class Hinge(InfoNCE):
    """A base loss of one's own: of each pair's nearest negative, and of the learned temperature."""

    def forward(
        self, audio: torch.Tensor, text: torch.Tensor, clip_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        logits = text @ audio.T * self.scale()
        same = torch.eye(len(text), dtype=torch.bool)
        if clip_ids is not None:
            same = clip_ids[:, None] == clip_ids[None, :]
        nearest = logits.masked_fill(same, -torch.inf).amax(1)
        return F.relu(1 + nearest - logits.diagonal()).mean()


BASES: dict[str, Callable[..., Any]] = {
    "infonce": lambda: InfoNCE(0.07, learn_temperature=True),
    "siglip": SigLIP,
    "own": lambda: Hinge(0.07, learn_temperature=True),
}
CASES: list[Case] = [
    (base, radius, sides, tile, with_clips)
    for base, radius, sides in itertools.product(
        BASES,
        (None, "static", "sorted", "batch", "attached", "pooled"),
        ("text", "both"),
    )
    for tile, with_clips in ((None, False), (3, True))
]


class Towers(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.audio, self.text = torch.nn.Linear(9, 6), torch.nn.Linear(9, 6)

    def forward(self, audio: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return F.normalize(self.audio(audio), dim=1), F.normalize(self.text(text), dim=1)


class Step(torch.nn.Module):
    """Encoders and loss in one module, so that DDP averages the gradients of both."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        base, radius, sides, tile, _ = case
        torch.manual_seed(4)
        self.towers = Towers()
        radii = {
            "static": lambda: StaticRadius(0.4),
            "sorted": lambda: DynamicRadius(PAIRS, width=8),
            "batch": lambda: DynamicRadius(PAIRS, "batch", width=8),
            "attached": lambda: DynamicRadius(PAIRS, width=8, detach=False),
            "pooled": lambda: DynamicRadius(5, "pooled", width=8),
        }
        svr = None
        if radius is not None:
            svr = SupportVectorRegularization(radii[radius](), sides, beta=0.2)
        loss = SupCLAPLoss(BASES[base](), svr, tile)
        for parameter in loss.parameters():
            if parameter.ndim > 0:
                torch.nn.init.normal_(parameter, 0, 0.1)
        self.loss = GlobalBatchLoss(loss)
        self.embeddings = []

    def forward(
        self, audio: torch.Tensor, text: torch.Tensor, clip_ids: torch.Tensor | None
    ) -> torch.Tensor:
        self.embeddings = list(self.towers(audio, text))
        for side in self.embeddings:
            side.retain_grad()
        return self.loss(*self.embeddings, clip_ids).total


def batch(with_clips: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    generator = torch.Generator().manual_seed(5)
    audio, text = torch.randn(2, PAIRS, 9, generator=generator)
    return audio, text, (torch.arange(PAIRS) // 2 if with_clips else None)


def worker(rank: int, counts: list[int], meeting: Path) -> None:
    failures = []
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # what differs is then a fault, not another order
    world = len(counts)
    # A file, not a port: between finding a free one and using it, another test may take it.
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    rows = slice(sum(counts[:rank]), sum(counts[: rank + 1]))
    for number, case in enumerate(CASES):
        inside = (number + number // 2) % 2 == 0  # DDP wraps towers and loss, or towers alone
        audio, text, clips = batch(case[-1])
        step = Step(case)
        if inside:  # DDP averages the loss's parameters as well
            parallel = DistributedDataParallel(step)  # must outlive the backward pass
        else:  # the loss lies outside, as in most loops, and its first values differ
            with torch.no_grad():
                for parameter in step.loss.parameters():
                    parameter.add_(rank)
            step.towers = DistributedDataParallel(step.towers)  # type: ignore[assignment]
            parallel = step  # type: ignore[assignment]
        total = parallel(audio[rows], text[rows], None if clips is None else clips[rows])
        total.backward()
        single = Step(case)
        # the truth: the plain loss over the whole batch, in this process alone
        embeddings = single.towers(audio, text)
        for side in embeddings:
            side.retain_grad()
        want = single.loss.loss(*embeddings, clips).total
        want.backward()
        compared = {"total": (total, want)}
        for name, expected in single.named_parameters():
            found = name if inside else name.replace("towers.", "towers.module.")
            compared[name] = (dict(step.named_parameters())[found].grad, expected.grad)
        for side in (0, 1):
            mine = step.embeddings[side].grad / world
            compared[f"embedding {side}"] = (mine, embeddings[side].grad[rows])
        for name, (got, expected) in compared.items():
            error = (got - expected).detach().abs().max().item() if got.numel() else 0.0
            size = max(1.0, expected.detach().abs().max().item() if expected.numel() else 0.0)
            if not error <= 1e-12 * size:
                failures.append(f"{case}, {inside}, worker {rank}: {name} is off by {error:g}")
    dist.destroy_process_group()
    assert not failures, failures


@pytest.mark.heavy
@pytest.mark.parametrize("counts", [[6, 5], [5, 3, 0, 3]], ids=str)
def test_workers_agree_with_one_process(counts: list[int], tmp_path: Path) -> None:
    mp.spawn(worker, (counts, tmp_path / "meeting"), nprocs=len(counts))


def worker_with_one_pair(rank: int, meeting: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    pairs = F.normalize(torch.ones(1 - rank, 4), dim=1)
    try:
        GlobalBatchLoss(SupCLAPLoss(InfoNCE()))(pairs, pairs)
    except ValueError as error:
        assert "at least 2 pairs over all workers" in str(error)  # noqa: PT017 - in a subprocess
    else:
        raise AssertionError("a global batch of one pair was accepted")
    finally:
        dist.destroy_process_group()  # its threads may abort a process that just ends


@pytest.mark.heavy
def test_a_global_batch_of_one_pair_is_refused(tmp_path: Path) -> None:
    mp.spawn(worker_with_one_pair, (tmp_path / "meeting",), nprocs=2)


def lone_worker(rank: int, meeting: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=0, world_size=1)
    for case in CASES:
        found = []
        for loss_of in (lambda step: step.loss, lambda step: step.loss.loss):
            step = Step(case)
            audio, text, clips = batch(case[-1])
            embeddings = step.towers(audio, text)
            output = loss_of(step)(*embeddings, clips)
            output.total.backward()
            values = [output.total, *output.parts.values(), *output.radii.values()]
            found.append([*values, *(p.grad for p in step.parameters())])
        for grouped, alone in zip(*found, strict=True):
            assert (grouped is None) == (alone is None), case
            assert alone is None or grouped.equal(alone), case
    dist.destroy_process_group()


@pytest.mark.heavy
def test_a_group_of_one_is_the_loss_itself_to_the_bit(tmp_path: Path) -> None:
    mp.spawn(lone_worker, (tmp_path / "meeting",), nprocs=1)


def test_without_workers_it_is_the_loss_itself() -> None:
    audio, text, clips = batch(True)
    loss = SupCLAPLoss(InfoNCE())
    audio, text = F.normalize(audio, dim=1), F.normalize(text, dim=1)
    assert torch.equal(
        GlobalBatchLoss(loss)(audio, text, clips).total, loss(audio, text, clips).total
    )


class Doubled(SupCLAPLoss):
    def forward(
        self, audio: torch.Tensor, text: torch.Tensor, clip_ids: torch.Tensor | None = None
    ) -> LossOutput:
        return super().forward(audio, text, clip_ids)


class DoubledRows(Doubled):
    def of_rows(self, *arguments: Any) -> Any:
        return super().of_rows(*arguments)


def test_a_loss_whose_own_forward_no_worker_could_call_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Doubled has a forward of its own.*of_rows"):
        GlobalBatchLoss(Doubled(InfoNCE()))
    assert GlobalBatchLoss(DoubledRows(InfoNCE())).loss.svr is None
    with pytest.raises(ValueError, match=r"expected a SupCLAPLoss, got InfoNCE"):
        GlobalBatchLoss(InfoNCE())
    kcl = MultilingualLoss(SupCLAPLoss(InfoNCE()), "kcl")
    with pytest.raises(ValueError, match=r"got MultilingualLoss \(a MultilingualLoss wraps"):
        GlobalBatchLoss(kcl)


def test_it_adds_nothing_to_the_losss_parameters_and_state() -> None:
    loss = SupCLAPLoss(SigLIP(), SupportVectorRegularization(DynamicRadius(4)))
    wrapped = GlobalBatchLoss(loss)
    assert [id(p) for p in wrapped.parameters()] == [id(p) for p in loss.parameters()]
    assert list(wrapped.state_dict()) == [f"loss.{name}" for name in loss.state_dict()]
