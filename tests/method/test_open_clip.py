"""open_clip's own model and training loop (PyPI open_clip_torch) with the loss in their place."""

import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from ended_worker import end_worker
from torch.nn.parallel import DistributedDataParallel

from supclap.losses import (
    DynamicRadius,
    GlobalBatchLoss,
    InfoNCE,
    SigLIP,
    StaticRadius,
    SupCLAPLoss,
    SupportVectorRegularization,
)
from supclap.losses.accumulation import backward_in_chunks
from supclap.losses.literal import literal_loss
from supclap.losses.open_clip import OpenClipLoss
from supclap.losses.output import LossOutput
from supclap.vision_library import mend_torchvision

mend_torchvision()
open_clip = pytest.importorskip("open_clip", reason="open_clip_torch comes with supclap[test]")
from open_clip_train.train import train_one_epoch  # noqa: E402

METHOD = Path(__file__).parent.parent.parent / "docs" / "method.md"
PAIRS, STEPS, RATE = 8, 3, 0.1


def make_model(bias: float | None = None) -> Any:
    torch.manual_seed(0)
    vision = {"layers": 1, "width": 16, "head_width": 8, "patch_size": 4, "image_size": 8}
    text = {"layers": 1, "width": 16, "heads": 2, "context_length": 6, "vocab_size": 30}
    return open_clip.CLIP(12, vision, text, init_logit_bias=bias, output_dict=True)


def batches(size: int = PAIRS, count: int = STEPS) -> list[tuple[torch.Tensor, torch.Tensor]]:
    numbers = torch.Generator().manual_seed(1)
    images = torch.randn(count * size, 3, 8, 8, generator=numbers)
    texts = torch.randint(1, 30, (count * size, 6), generator=numbers)
    return list(zip(images.split(size), texts.split(size), strict=True))


class Loader(list[Any]):
    num_batches = property(len)
    num_samples = property(lambda self: sum(len(images) for images, _ in self))


def arguments(**changes: Any) -> Namespace:
    values = {"device": "cpu", "precision": "fp32", "distill": False, "skip_scheduler": True}
    values |= {"accum_freq": 1, "grad_clip_norm": None, "horovod": False, "wandb": False}
    values |= {"batch_size": PAIRS, "world_size": 1, "rank": 0, "log_every_n_steps": 100}
    return Namespace(**values | changes)


def given(model: torch.nn.Module, **changes: Any) -> dict[str, Any]:
    """What open_clip's main has at hand before its loop."""
    data = {"train": Namespace(dataloader=Loader(batches()), set_epoch=lambda epoch: None)}
    names = {"model": model, "data": data, "epoch": 0, "args": arguments(**changes)}
    names |= {"scaler": None, "scheduler": None, "batch_size": PAIRS}
    return names | {"optimizer": torch.optim.SGD(model.parameters(), RATE)}


def printed_lines() -> str:
    text = METHOD.read_text(encoding="utf-8")
    (code,) = re.findall(r"^\*\*open_clip's loop.*?```python\n(.*?)```", text, re.M | re.S)
    return code


def criterion_of(radius: Any = None, base: Any = None) -> SupCLAPLoss:
    torch.manual_seed(2)
    radius = DynamicRadius(PAIRS, width=8) if radius is None else radius
    loss = SupCLAPLoss(InfoNCE() if base is None else base, SupportVectorRegularization(radius))
    for parameter in loss.parameters():
        if parameter.ndim:  # a zero last layer would hide what reaches the others
            torch.nn.init.normal_(parameter, 0, 0.1)
    return loss


def literally(
    model: torch.nn.Module, criterion: SupCLAPLoss, images: torch.Tensor, texts: torch.Tensor
) -> LossOutput:
    """The paper's form at the model's own temperature, and bias where it has one."""
    found = model(images, texts)
    criterion.base.log_scale = model.logit_scale  # type: ignore[assignment]
    if model.logit_bias is not None:
        criterion.base.offset = model.logit_bias
    return literal_loss(criterion, found["image_features"], found["text_features"])


def assert_alike(
    mine: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor], tolerance: float = 2e-5
) -> None:
    for name, expected in theirs.items():
        torch.testing.assert_close(mine[name], expected, rtol=tolerance, atol=tolerance)


def test_the_printed_lines_train_open_clips_model_as_the_paper_writes_the_loss() -> None:
    names = given(make_model())
    torch.manual_seed(3)
    exec(printed_lines(), names)
    model, criterion = make_model(), SupCLAPLoss(InfoNCE())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    criterion.svr = SupportVectorRegularization(DynamicRadius(PAIRS), sides="both")
    predictor = list(criterion.svr.parameters())
    optimizer = torch.optim.SGD([*model.parameters(), *predictor], RATE)
    for images, texts in batches():
        optimizer.zero_grad()
        literally(model, criterion, images, texts).total.backward()
        optimizer.step()
    assert_alike(names["model"].state_dict(), model.state_dict())
    assert_alike(names["criterion"].svr.state_dict(), criterion.svr.state_dict())
    assert all(not value.equal(before[name]) for name, value in model.named_parameters())


@pytest.mark.parametrize(
    ("base", "bias"), [(lambda: SigLIP(learn_temperature=False), -9.0), (InfoNCE, None)]
)
@pytest.mark.parametrize("radius", [lambda: StaticRadius(0.4), lambda: DynamicRadius(PAIRS)])
@pytest.mark.parametrize("wrapped", [lambda loss: loss, GlobalBatchLoss], ids=["bare", "global"])
def test_terms_add_up_to_the_literal_loss_with_all_its_gradients(
    base: Any, bias: float | None, radius: Callable[..., Any], wrapped: Callable[..., Any]
) -> None:
    (images, texts), *_ = batches()
    found = []
    for literal in (False, True):
        model, criterion = make_model(bias), criterion_of(radius(), base())
        own = list(criterion.svr.parameters())
        if literal:
            total = literally(model, criterion, images, texts).total
        else:
            loss = OpenClipLoss(wrapped(criterion))
            total = sum(loss(**model(images, texts), output_dict=True).values())
            alone = loss(**model(images, texts))
            torch.testing.assert_close(alone, total)
        total.backward()
        found.append([total, *(p.grad for p in (*model.parameters(), *own))])
    for mine, theirs in zip(*found, strict=True):
        assert theirs is not None
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_without_svr_it_is_twice_open_clips_own_loss() -> None:
    (images, texts), *_ = batches()
    output = make_model()(images, texts)
    mine = OpenClipLoss(SupCLAPLoss(InfoNCE()))(**output)
    assert mine.item() == pytest.approx(2 * open_clip.ClipLoss()(**output).item(), rel=1e-5)


def test_a_temperature_of_shape_one_and_in_half_precision_is_taken() -> None:
    (images, texts), *_ = batches()
    output = make_model()(images, texts)
    loss = OpenClipLoss(criterion_of())
    halved = output | {"logit_scale": output["logit_scale"].bfloat16().reshape(1)}
    expected = loss(**output | {"logit_scale": output["logit_scale"].bfloat16().float()})
    assert loss(**halved).item() == expected.item()


class Noting(torch.optim.SGD):
    """Takes no step, and notes the gradients instead."""

    def step(self, closure: Any = None) -> None:
        self.found = [p.grad.clone() for group in self.param_groups for p in group["params"]]


def named(model: torch.nn.Module, criterion: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: p for module in (model, criterion) for name, p in module.named_parameters()}


def gradients_after(accum_freq: int) -> dict[str, torch.Tensor]:
    """Of a batch of `PAIRS`, in as many parts, by open_clip's own loop."""
    model, criterion = make_model(), criterion_of()
    names = given(model)
    names["data"]["train"].dataloader = Loader(batches(PAIRS // accum_freq, accum_freq))
    optimizer = Noting(named(model, criterion).values())
    args = arguments(accum_freq=accum_freq)
    loss = OpenClipLoss(criterion)
    train_one_epoch(model, names["data"], loss, 0, optimizer, None, None, None, args)
    return dict(zip(named(model, criterion), optimizer.found, strict=True))


def test_accum_freq_doubles_the_gradients_of_temperature_and_criterion_alone() -> None:
    """What docs/method.md says of --accum-freq 2."""
    whole, halves = gradients_after(1), gradients_after(2)
    own = [n for n in whole if n.startswith("svr.") or n == "logit_scale"]
    assert len(own) == 7
    assert all(whole[name].abs().max() > 1e-6 for name in own)
    expected = {name: value * (2 if name in own else 1) for name, value in whole.items()}
    assert_alike(halves, expected)


def test_backward_in_chunks_gives_the_whole_batchs_gradients_instead() -> None:
    whole = gradients_after(1)
    model, criterion = make_model(), criterion_of()
    loss = OpenClipLoss(criterion)

    def encode(chunk: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        found = model(*chunk)
        return found["image_features"], found["text_features"]

    backward_in_chunks(
        encode,
        batches(PAIRS // 2, 2),
        lambda audio, text: loss.output(audio, text, model.logit_scale.exp()),
    )
    assert_alike({name: p.grad for name, p in named(model, criterion).items()}, whole)


def worker(rank: int, meeting: Path, out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    names = given(DistributedDataParallel(make_model()), rank=rank, world_size=2)
    half = slice(rank * PAIRS // 2, (rank + 1) * PAIRS // 2)
    parts = [(images[half], texts[half]) for images, texts in batches()]
    names["data"]["train"].dataloader = Loader(parts)
    torch.manual_seed(3 + rank)  # open_clip seeds each worker by its rank
    exec(printed_lines(), names)
    state = {**names["model"].module.state_dict(), **names["criterion"].state_dict()}
    torch.save(state, out / f"{rank}.pt")
    end_worker()


@pytest.mark.heavy
def test_the_printed_lines_under_ddp_are_one_process(tmp_path: Path) -> None:
    mp.spawn(worker, (tmp_path / "meeting", tmp_path), nprocs=2)
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    names = given(make_model())
    torch.manual_seed(3)
    exec(printed_lines(), names)
    alone = {**names["model"].state_dict(), **names["criterion"].state_dict()}
    assert all(value.equal(other[name]) for name, value in one.items())
    assert_alike(one, alone)


def test_what_would_come_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"learns a temperature.*SigLIP\(learn_temperature=False"):
        OpenClipLoss(GlobalBatchLoss(SupCLAPLoss(SigLIP())))
    with pytest.raises(ValueError, match="expected a SupCLAPLoss or GlobalBatchLoss, got InfoNCE"):
        OpenClipLoss(InfoNCE())
    (images, texts), *_ = batches()
    with pytest.raises(ValueError, match="logit_bias: InfoNCE has no bias"):
        OpenClipLoss(SupCLAPLoss(InfoNCE()))(**make_model(-9.0)(images, texts))
