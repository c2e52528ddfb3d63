"""The README's lines for a loop of one's own, as they are printed, alone and in two processes."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from ended_worker import end_worker
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

ROOT = Path(__file__).parent.parent.parent
PAGES = {"README.md": "The loss alone", "docs/method.md": "In a loop of your own"}
PAIRS, STEPS = 12, 40


def printed_lines(page: str) -> list[Any]:
    """The code under the page's heading: what is written once, and the line of each step."""
    text = (ROOT / page).read_text(encoding="utf-8")
    (code,) = re.findall(rf"^## {PAGES[page]}[^#]*?```python\n(.*?)```", text, re.M | re.S)
    *setup, step = ast.parse(code).body
    return [compile(ast.Module(part, []), page, "exec") for part in (setup, [step])]


class Towers(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.audio, self.text = torch.nn.Linear(9, 6), torch.nn.Linear(9, 6)

    def forward(self, audio: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return F.normalize(self.audio(audio), dim=1), F.normalize(self.text(text), dim=1)


def trained(page: str, rank: int = 0, world: int = 1) -> list[torch.Tensor]:
    """The parameters of towers and criterion after `STEPS` steps on this worker's part, in float64:
    Adam makes of any rounding of a gradient near zero a whole step."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return _trained(page, rank, world)
    finally:
        torch.set_default_dtype(before)


def _trained(page: str, rank: int, world: int) -> list[torch.Tensor]:
    setup, step = printed_lines(page)
    towers = Towers()
    model = DistributedDataParallel(towers) if dist.is_initialized() else towers
    optimizer = torch.optim.Adam(towers.parameters(), lr=0.01)
    torch.manual_seed(100 + rank)  # as in many loops, every worker has its own random numbers
    names: dict[str, Any] = {"batch_size": PAIRS, "optimizer": optimizer}
    exec(setup, names)
    numbers = torch.Generator().manual_seed(5)
    part = slice(rank * PAIRS // world, (rank + 1) * PAIRS // world)
    for _ in range(STEPS):
        batch = torch.randn(2, PAIRS, 9, generator=numbers)
        optimizer.zero_grad()
        names["audio"], names["text"] = model(*batch[:, part])
        exec(step, names)
        optimizer.step()
    return [p.detach() for module in (towers, names["criterion"]) for p in module.parameters()]


def worker(rank: int, page: str, meeting: Path, out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    torch.save(trained(page, rank, 2), out / f"{rank}.pt")
    end_worker()


@pytest.mark.heavy
@pytest.mark.parametrize("page", PAGES)
def test_the_printed_lines_train_two_workers_as_one_process(page: str, tmp_path: Path) -> None:
    mp.spawn(worker, (page, tmp_path / "meeting", tmp_path), nprocs=2)
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    alone = trained(page)
    assert len(one) == len(alone) == 4 + 6  # two towers, the predictor's three layers
    for mine, theirs, expected in zip(one, other, alone, strict=True):
        assert mine.equal(theirs)
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-9)


def test_the_printed_lines_learn_a_radius() -> None:
    """Guards the test above: what it compares has moved in these steps."""
    *_, bias = trained("README.md")
    assert abs(bias.item() - 0.5) > 1e-3
