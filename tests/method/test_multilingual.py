"""KCL and CACL, against loops over languages and clips, and on several workers against one."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn import functional as F

from supclap.batches import Batches
from supclap.config import parse_config
from supclap.data.clips import Caption
from supclap.errors import InputError
from supclap.losses import (
    DynamicRadius,
    InfoNCE,
    MultilingualLoss,
    SigLIP,
    StaticRadius,
    SupCLAPLoss,
    SupportVectorRegularization,
)
from supclap.losses.accumulation import backward_in_chunks
from supclap.losses.distributed import GlobalBatchLoss
from supclap.losses.literal import literal_loss
from supclap.losses.output import LossOutput

N, D = 7, 5
RADII = {
    "none": None,
    "static": lambda: StaticRadius(0.4),
    "dynamic": lambda: DynamicRadius(N, width=6),
    "attached": lambda: DynamicRadius(N, width=6, detach=False),
}
CASES = [
    *itertools.product(["infonce", "siglip"], ["none"], ["text"]),
    *itertools.product(["infonce", "siglip"], ["static", "dynamic", "attached"], ["text", "both"]),
]


def pair_loss(base: str, radius: str, sides: str) -> SupCLAPLoss:
    torch.manual_seed(1)
    svr = None
    if RADII[radius] is not None:
        svr = SupportVectorRegularization(RADII[radius](), sides, alpha=0.7, beta=0.3)
    loss = SupCLAPLoss(InfoNCE(0.2, learn_temperature=True) if base == "infonce" else SigLIP(), svr)
    for parameter in loss.parameters():
        if parameter.ndim > 0:
            torch.nn.init.normal_(parameter, 0, 0.2)
    return loss.double()


def embeddings(languages: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(languages)
    audio = torch.randn(N, D, generator=generator, dtype=torch.float64)
    texts = torch.randn(N, languages, D, generator=generator, dtype=torch.float64)
    audio, texts = F.normalize(audio, dim=-1), F.normalize(texts + audio[:, None], dim=-1)
    return audio.requires_grad_(), texts.requires_grad_()


def pairs_of(
    kind: str, audio: torch.Tensor, texts: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Which pairs of modalities the definitions name."""
    if kind == "kcl":
        return [(audio, texts[:, k]) for k in range(texts.shape[1])]
    first, other = texts[:, 0], texts[:, 1]
    return [(audio, first), (audio, other), (first, other)]


@pytest.mark.parametrize("clips", [None, torch.arange(N) // 2], ids=["apart", "same clips"])
@pytest.mark.parametrize(("kind", "languages"), [("kcl", 2), ("kcl", 4), ("cacl", 2)])
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_it_is_the_mean_of_the_literal_losses(
    case: tuple[str, str, str], kind: str, languages: int, clips: torch.Tensor | None
) -> None:
    loss = pair_loss(*case)
    audio, texts = embeddings(languages)
    output = MultilingualLoss(loss, kind)(audio, texts, clips)
    leaves = [audio, texts, *loss.parameters()]
    got = torch.autograd.grad(output.total, leaves, allow_unused=True)

    terms = [literal_loss(loss, *pair, clips) for pair in pairs_of(kind, audio, texts)]
    total = sum(term.total for term in terms) / len(terms)
    torch.testing.assert_close(output.total, total, rtol=1e-10, atol=1e-10)
    for mine, theirs in zip(
        got, torch.autograd.grad(total, leaves, allow_unused=True), strict=True
    ):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)
    assert output.parts.keys() == terms[0].parts.keys()
    for name, part in output.parts.items():
        torch.testing.assert_close(part, sum(term.parts[name] for term in terms) / len(terms))
    for side, radius in output.radii.items():
        spoken = [term.radii[side] for term in terms[:languages]]  # without the pair of texts
        torch.testing.assert_close(radius, sum(spoken) / languages)


def cross_entropy(one: np.ndarray, other: np.ndarray, tau: float) -> float:
    """Symmetric InfoNCE, anchor by anchor."""
    total = 0.0
    for anchors, candidates in ((one, other), (other, one)):
        for i in range(len(anchors)):
            scores = [math.exp(float(anchors[i] @ c) / tau) for c in candidates]
            total -= math.log(scores[i] / sum(scores)) / len(anchors)
    return total


def test_the_definitions_without_torch() -> None:
    audio, texts = (x.detach() for x in embeddings(3))
    a, t = audio.numpy(), texts.numpy()
    base = SupCLAPLoss(InfoNCE(0.2)).double()
    kcl = MultilingualLoss(base, "kcl")(audio, texts).total.item()
    assert kcl == pytest.approx(sum(cross_entropy(a, t[:, k], 0.2) for k in range(3)) / 3)
    cacl = MultilingualLoss(base, "cacl")(audio, texts[:, :2]).total.item()
    english, other = t[:, 0], t[:, 1]
    three = ((a, english), (a, other), (english, other))
    assert cacl == pytest.approx(sum(cross_entropy(*pair, 0.2) for pair in three) / 3)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["kcl", "cacl"])
@pytest.mark.parametrize("case", [("infonce", "attached", "both"), ("siglip", "static", "text")])
def test_the_gradient_is_that_of_finite_differences(case: tuple[str, str, str], kind: str) -> None:
    loss = MultilingualLoss(pair_loss(*case), kind)
    audio, texts = embeddings(2)
    assert torch.autograd.gradcheck(lambda a, t: loss(a, t).total, (audio, texts), atol=1e-6)


@pytest.mark.parametrize("kind", ["kcl", "cacl"])
def test_each_view_has_the_gradient_of_its_own_term(kind: str) -> None:
    loss = pair_loss("infonce", "dynamic", "both")
    audio, texts = embeddings(2)
    output = MultilingualLoss(loss, kind)(audio, texts)
    for view in output.views:
        view.audio.retain_grad()
        view.text.retain_grad()
    output.total.backward()
    terms = 2 if kind == "kcl" else 3
    for k, view in enumerate(output.views):
        leaves = [x.detach().requires_grad_() for x in (audio, texts[:, k])]
        alone = loss(*leaves)
        want = torch.autograd.grad(alone.total / terms, leaves)
        torch.testing.assert_close(view.audio.grad, want[0])
        torch.testing.assert_close(view.text.grad, want[1])
        torch.testing.assert_close(view.radii["audio"], alone.radii["audio"])
    torch.testing.assert_close(sum(view.audio.grad for view in output.views), audio.grad)


@pytest.mark.parametrize("kind", ["kcl", "cacl"])
@pytest.mark.parametrize("case", [("infonce", "dynamic", "both"), ("siglip", "static", "text")])
def test_chunks_give_the_whole_batchs_gradients(case: tuple[str, str, str], kind: str) -> None:
    loss = MultilingualLoss(pair_loss(*case), kind)
    torch.manual_seed(2)
    sounds, words = torch.randn(N, 9).double(), torch.randn(N, 2, 9).double()
    towers = torch.nn.ModuleList([torch.nn.Linear(9, D), torch.nn.Linear(9, D)]).double()

    def encode(rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        both = towers[0](sounds[rows]), towers[1](words[rows])
        return F.normalize(both[0], dim=-1), F.normalize(both[1], dim=-1)

    parameters = [*towers.parameters(), *loss.parameters()]
    want = torch.autograd.grad(loss(*encode(slice(0, N))).total, parameters)
    backward_in_chunks(encode, [slice(0, 3), slice(3, 5), slice(5, N)], loss)
    for parameter, gradient in zip(parameters, want, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_under_autocast_it_stays_a_float32_loss() -> None:
    audio, texts = (x.detach().bfloat16() for x in embeddings(2))
    loss = MultilingualLoss(pair_loss("infonce", "dynamic", "both").float(), "cacl")
    with torch.autocast("cpu", torch.bfloat16):
        output = loss(audio, texts)
    exact = MultilingualLoss(loss.loss.double(), "cacl")(audio.double(), texts.double())
    assert output.total.dtype == torch.float32
    torch.testing.assert_close(output.total.double(), exact.total, rtol=2e-5, atol=2e-5)


WRONG = {
    r"texts: expected embeddings of shape \(N, K, d\), got \(7, 5\)": ("kcl", (N, D)),
    "CACL takes captions in 2 languages, the first and another, got 3": ("cacl", (N, 3, D)),
    "KCL takes captions in at least 2 languages, got 1": ("kcl", (N, 1, D)),
    "got 7 clips and captions of 6": ("kcl", (6, 2, D)),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_texts_are_named(message: str) -> None:
    kind, shape = WRONG[message]
    audio, _ = embeddings(2)
    with pytest.raises(ValueError, match=message):
        MultilingualLoss(SupCLAPLoss(InfoNCE()), kind)(audio, torch.ones(shape))


def test_a_wrong_kind_is_named() -> None:
    with pytest.raises(ValueError, match="kind: expected 'kcl' or 'cacl', got 'mlclap'"):
        MultilingualLoss(SupCLAPLoss(InfoNCE()), "mlclap")


# ---- several workers -----------------------------------------------------------------------


class Step(torch.nn.Module):
    """Encoders and loss over the global batch, as one training step has them."""

    def __init__(self, case: tuple[str, str, str], kind: str) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.audio, self.text = torch.nn.Linear(9, D), torch.nn.Linear(9, D)
        self.loss = MultilingualLoss(GlobalBatchLoss(pair_loss(*case)), kind)
        self.double()

    def forward(
        self, sounds: torch.Tensor, words: torch.Tensor, clips: torch.Tensor | None
    ) -> LossOutput:
        sides = self.audio(sounds), self.text(words)
        return self.loss(*(F.normalize(side, dim=-1) for side in sides), clips)


def worker(rank: int, counts: list[int], meeting: int) -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(5)
    sounds = torch.randn(N, 9, generator=generator).double()
    words = torch.randn(N, 4, 9, generator=generator).double()
    rows = slice(sum(counts[:rank]), sum(counts[: rank + 1]))
    cases = list(itertools.product(CASES, ["kcl", "cacl"], [None, torch.arange(N) // 2]))
    singles = []
    for case, kind, clips in cases:  # before there is a group: the run of one
        single = Step(case, kind)
        output = single(sounds, words[:, :2] if kind == "cacl" else words, clips)
        output.total.backward()
        singles.append((single, output))
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=len(counts)
    )
    failures = []
    for (case, kind, clips), (single, expected) in zip(cases, singles, strict=True):
        step = Step(case, kind)
        mine = words[rows, :2] if kind == "cacl" else words[rows]
        output = step(sounds[rows], mine, None if clips is None else clips[rows])
        output.total.backward()
        compared = {"total": (output.total, expected.total)}
        for side, radius in output.radii.items():
            compared[f"radius {side}"] = (radius, expected.radii[side][rows])
        for name, parameter in step.named_parameters():
            dist.all_reduce(parameter.grad)
            parameter.grad /= len(counts)
            compared[name] = (parameter.grad, single.get_parameter(name).grad)
        for name, (got, want) in compared.items():
            if not torch.allclose(got, want, rtol=1e-9, atol=1e-10):
                failures.append(f"{case}, {kind}, {clips is not None}, worker {rank}: {name}")
    dist.destroy_process_group()
    assert not failures, failures


@pytest.mark.heavy
@pytest.mark.parametrize("counts", [[4, 3], [7, 0]], ids=str)
def test_two_workers_agree_with_one(counts: list[int], tmp_path: Path) -> None:
    mp.spawn(worker, (counts, tmp_path / "meeting"), nprocs=2)


# ---- which captions a step takes -----------------------------------------------------------

SPOKEN = ["deu", "eng", "fra", "jpn"]


def clips_of(count: int, each: int = 3) -> list[tuple[Caption, ...]]:
    """Clips with ``each`` captions in four languages, number after number."""
    return [
        tuple(Caption(f"{clip} {i}", language) for i in range(each) for language in SPOKEN)
        for clip in range(count)
    ]


def drawn(batches: Batches, clips: list[tuple[Caption, ...]], epoch: int) -> dict[int, list]:
    return {
        int(row): [clips[row][c] for c in chosen]
        for batch in batches.epoch(epoch)
        for row, chosen in zip(batch.rows, batch.captions, strict=True)
    }


def test_kcl_takes_every_language_of_a_clip_and_translations_of_one_caption() -> None:
    clips = clips_of(40)
    batches = Batches(clips, SPOKEN, 8, seed=2, multilingual="kcl")
    numbers = Counter()
    for epoch in range(20):
        found = drawn(batches, clips, epoch)
        assert len(found) == 40
        for row, captions in found.items():
            assert [caption.language for caption in captions] == SPOKEN
            (text,) = {caption.text for caption in captions}
            assert text.startswith(f"{row} ")
            numbers[text.split()[1]] += 1
    assert all(abs(count - 800 / 3) < 70 for count in numbers.values())  # five standard deviations


def test_cacl_takes_english_and_another_language_drawn_by_clip_and_epoch() -> None:
    clips = clips_of(40)
    batches = Batches(clips, SPOKEN, 8, seed=2, multilingual="cacl")
    others, by_epoch = Counter(), []
    for epoch in range(20):
        found = drawn(batches, clips, epoch)
        for first, other in found.values():
            assert first.language == "eng"
            assert first.text == other.text
            others[other.language] += 1
        by_epoch.append({row: other.language for row, (_, other) in found.items()})
    assert set(others) == {"deu", "fra", "jpn"}
    assert all(abs(count - 800 / 3) < 70 for count in others.values())
    assert by_epoch[0] != by_epoch[1]
    without = Batches(clips, ["fra", "jpn"], 8, seed=2, multilingual="cacl")
    assert all(
        [c.language for c in pair] == ["fra", "jpn"] for pair in drawn(without, clips, 0).values()
    )


@pytest.mark.parametrize("kind", ["kcl", "cacl"])
def test_captions_depend_on_seed_epoch_and_clip_alone(kind: str) -> None:
    clips = clips_of(24)
    one, other = (Batches(clips, SPOKEN, size, seed=4, multilingual=kind) for size in (4, 12))
    assert drawn(one, clips, 3) == drawn(other, clips, 3)
    whole, rest = list(one.epoch(2)), list(one.epoch(2, start=4))
    for mine, theirs in zip(rest, whole[4:], strict=True):
        assert np.array_equal(mine.captions, theirs.captions)
        assert mine[1:3].captions.shape == (2, 4 if kind == "kcl" else 2)


@pytest.mark.parametrize("kind", ["kcl", "cacl"])
def test_clips_that_lack_a_language_are_left_out_and_counted(kind: str) -> None:
    clips = clips_of(12)
    clips[3] = tuple(c for c in clips[3] if c.language != "jpn")
    clips[5] = tuple(c for c in clips[5] if c.language != "eng")
    clips[7] = ()
    batches = Batches(clips, SPOKEN, 9, seed=0, multilingual=kind)
    assert (batches.left_out, batches.clips) == (3, 9)
    assert not {3, 5, 7} & drawn(batches, clips, 0).keys()
    with pytest.raises(InputError, match=r"only 9 pairs with a caption in \w+ and \w+ and"):
        Batches(clips, SPOKEN, 10, seed=0, multilingual=kind)


def test_languages_with_unequally_many_captions_give_each_of_them() -> None:
    clips = [(Caption("a", "eng"), Caption("b", "fra"), Caption("c", "fra"))] * 8
    batches = Batches(clips, ["eng", "fra"], 8, seed=0, multilingual="kcl")
    texts = {
        caption.text for epoch in range(20) for pair in drawn(batches, clips, epoch).values()
        for caption in pair
    }  # fmt: skip
    assert texts == {"a", "b", "c"}


# ---- the configuration ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "loss.multilingual: should go with at least two data.languages, found eng alone"),
        (
            {"data": {"languages": ["eng", "fra"], "pairs": "all"}},
            "loss.multilingual: should go with data.pairs: one",
        ),
    ],
)
def test_a_setting_that_does_not_fit_is_one_line(values: dict[str, Any], message: str) -> None:
    for kind in ("kcl", "cacl"):
        with pytest.raises(InputError) as error:
            parse_config({**values, "loss": {"multilingual": kind}}, "run.yaml")
        assert str(error.value).startswith(f"run.yaml: {message}")
        assert "\n" not in str(error.value)


def test_a_kind_that_does_not_exist_is_one_line() -> None:
    with pytest.raises(InputError, match=r"loss\.multilingual: input should be 'kcl' or 'cacl'"):
        parse_config({"loss": {"multilingual": "atri"}})
