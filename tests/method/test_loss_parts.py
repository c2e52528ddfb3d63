"""Base losses, terms and radii of one's own: exact wherever a built-in loss is."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from own_losses import Angle, Drawn, Near, register_all
from torch.nn import functional as F

from supclap import registry
from supclap.config import parse_config
from supclap.drift import diagnose
from supclap.losses import (
    DynamicRadius,
    GlobalBatchLoss,
    InfoNCE,
    MultilingualLoss,
    SigLIP,
    StaticRadius,
    SupCLAPLoss,
    SupportVectorRegularization,
    build_loss,
)
from supclap.losses.accumulation import backward_in_chunks
from supclap.losses.literal import literal_loss
from supclap.losses.open_clip import OpenClipLoss
from supclap.losses.output import LossOutput
from supclap.parts import LossTerm, Pairs, PartError, Place

PAIRS, WIDTH = 11, 6
ANGLE = {"angle": {"weight": 0.3, "margin": 0.1}}
CASES: dict[str, dict[str, Any]] = {
    "term": {"terms": ANGLE},
    "rows": {"terms": {"rows": {"weight": 0.7}}, "svr": {"radius": "static"}},
    "both": {"terms": {**ANGLE, "rows": {}, "drawn": {"weight": 2}}, "learn_temperature": True},
    "base": {"name": "triplet", "learn_temperature": True, "svr": {"radius": "near"}},
    "base by rows": {"name": "pairwise", "slope": 0.5, "svr": {"radius": "near", "sides": "text"}},
    "radius": {"svr": {"radius": "near", "reach": 0.2}, "terms": {"far": {"name": "rows"}}},
}


@pytest.fixture(autouse=True)
def own_parts() -> Iterator[None]:
    with registry.forgotten():
        register_all()
        yield


def built(case: str, tile: int | None = None) -> SupCLAPLoss:
    config = parse_config({"loss": CASES[case]}).loss
    torch.manual_seed(3)
    loss = build_loss(config, PAIRS, Place(PAIRS, WIDTH), seed=4).double()
    loss.tile = tile
    loss.begin_step(25, 100, seed=4)
    return loss


def sides(seed: int = 0, languages: int = 0) -> list[torch.Tensor]:
    """Raw audio (N, d) and text (N, d) or (N, K, d): gradients go through the normalisation."""
    numbers = torch.Generator().manual_seed(seed)
    audio = torch.randn(PAIRS, WIDTH, generator=numbers, dtype=torch.float64)
    shape = (PAIRS, languages, WIDTH) if languages else (PAIRS, WIDTH)
    text = torch.randn(shape, generator=numbers, dtype=torch.float64)
    return [audio.requires_grad_(), text.requires_grad_()]


def clips(case: str) -> torch.Tensor | None:
    return torch.arange(PAIRS) // 2 if len(case) % 2 else None


def measured(
    function: Any, loss: SupCLAPLoss, raw: list[torch.Tensor], clip_ids: torch.Tensor | None
) -> tuple[LossOutput, list[torch.Tensor]]:
    output = function(*(F.normalize(one, dim=-1) for one in raw), clip_ids)
    leaves = [*raw, *(p for p in loss.parameters() if p.requires_grad)]
    return output, list(torch.autograd.grad(output.total, leaves))


def same(ours: Any, theirs: Any, tolerance: float = 1e-10) -> None:
    (one, gradients), (other, expected) = ours, theirs
    assert one.parts.keys() == other.parts.keys()
    assert one.numbers.keys() == other.numbers.keys()
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(one.total, other.total, **close)
    for name in other.parts:
        torch.testing.assert_close(one.parts[name], other.parts[name], **close)
    for name in other.numbers:
        torch.testing.assert_close(one.numbers[name], other.numbers[name], **close)
    for got, want in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got, want, **close)


def test_a_term_is_added_with_its_weight_and_logged_without() -> None:
    loss = built("term")
    raw = sides()
    audio, text = (F.normalize(one, dim=1) for one in raw)
    output = loss(audio, text)
    plain = SupCLAPLoss(InfoNCE()).double()(audio, text).total
    cosines = text @ audio.T
    value = 0.25  # progress
    direction = loss.state_dict()["term-angle.direction"]
    for i in range(PAIRS):
        nearest = max(cosines[i, j].item() for j in range(PAIRS) if j != i)
        gap = 0.1 + nearest - cosines[i, i].item()
        value += math.log1p(math.exp(gap / 0.07)) / PAIRS
        value += ((audio[i] - text[i]) @ direction).item() ** 2 / PAIRS
    assert output.parts["angle"].item() == pytest.approx(value, rel=1e-6)
    assert output.total.item() == pytest.approx(plain.item() + 0.3 * value, rel=1e-6)
    assert output.numbers["angle.margin-now"].item() == pytest.approx(0.1)
    assert 0 <= output.numbers["angle.hard"].item() <= 1
    assert [name for name in loss.state_dict() if "angle" in name] == ["term-angle.direction"]


@pytest.mark.heavy
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_finite_differences(case: str) -> None:
    loss = built(case)
    raw = sides()
    if case == "both":
        setattr(loss.terms["rows"], "margin", 0.4)  # noqa: B010 - what is set is taken at once
    leaves = [*raw, *(p for p in loss.parameters() if p.requires_grad)]
    for svr in [] if loss.svr is None else [loss.svr]:
        svr.radius.detach = False  # else R has a gradient that is none of the value's

    def value(*_: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = loss(*(F.normalize(one, dim=1) for one in raw), clips(case)).total
        return total

    assert torch.autograd.gradcheck(value, leaves, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_the_literal_form_has_them_too(case: str) -> None:
    loss, raw = built(case), sides()
    literal = measured(lambda *x: literal_loss(loss, *x), loss, raw, clips(case))
    same(measured(loss, loss, raw, clips(case)), literal)


@pytest.mark.parametrize("case", ["rows", "base by rows", "radius"])
@pytest.mark.parametrize("tile", [1, 4, 30])
def test_a_row_wise_form_is_tiled(case: str, tile: int) -> None:
    whole, tiled, raw = built(case), built(case, tile), sides()
    same(measured(tiled, tiled, raw, clips(case)), measured(whole, whole, raw, clips(case)))


def test_a_term_without_rows_gets_no_product_of_all_pairs_beside_tiles() -> None:
    told = r"own_losses\.py:\d+: loss term 'angle': .*similarities is N x N.*rows\(pairs\)"
    audio, text = (F.normalize(one, dim=1) for one in sides())
    with pytest.raises(PartError, match=told):
        built("term", tile=4)(audio, text)
    loss = SupCLAPLoss(InfoNCE(), tile=4, terms={"drawn": Drawn()})  # which asks for none
    assert (
        loss(audio, text).parts["drawn"]
        == SupCLAPLoss(InfoNCE(), terms={"drawn": Drawn()})(audio, text).parts["drawn"]
    )


@pytest.mark.parametrize("case", ["both", "base"])
def test_chunks_are_the_whole_batch(case: str) -> None:
    loss, twin = built(case), built(case)
    torch.manual_seed(0)
    encoder = torch.nn.Linear(WIDTH, WIDTH).double()
    other = copy.deepcopy(encoder)
    raw = [one.detach() for one in sides()]

    def encode(rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        audio, text = (F.normalize(encoder(one[rows]), dim=1) for one in raw)
        return audio, text

    backward_in_chunks(encode, [slice(0, 4), slice(4, 7), slice(7, 11)], loss)
    twin(*(F.normalize(other(one), dim=1) for one in raw)).total.backward()
    for mine, theirs in zip(
        [*encoder.parameters(), *loss.parameters()],
        [*other.parameters(), *twin.parameters()],
        strict=True,
    ):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-10, atol=1e-12)


class Width(LossTerm):
    def forward(self, pairs: Pairs) -> torch.Tensor:
        assert pairs.similarities.dtype == pairs.audio.dtype == torch.float32
        return (pairs.text @ pairs.audio.T).square().mean()


def test_under_bf16_a_term_computes_in_float32() -> None:
    audio, text = (F.normalize(one, dim=1).bfloat16() for one in sides())
    loss = SupCLAPLoss(InfoNCE(), terms={"width": Width()})
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(audio, text).parts["width"]
    assert value == (text.float() @ audio.float().T).square().mean()


@pytest.mark.parametrize(("kind", "languages"), [("kcl", 3), ("cacl", 2)])
def test_several_languages_are_a_mean_of_whole_losses(kind: Any, languages: int) -> None:
    loss, raw = built("both"), sides(languages=languages)
    ours = measured(MultilingualLoss(loss, kind), loss, raw, None)

    def by_hand(audio: torch.Tensor, texts: torch.Tensor, _: None) -> LossOutput:
        pairs = [(audio, texts[:, k]) for k in range(languages)]
        if kind == "cacl":
            pairs.append((texts[:, 0], texts[:, 1]))
        found = [loss(*pair) for pair in pairs]
        return LossOutput(
            torch.stack([one.total for one in found]).mean(),
            {n: torch.stack([o.parts[n] for o in found]).mean() for n in found[0].parts},
            {},
            numbers={n: torch.stack([o.numbers[n] for o in found]).mean() for n in ours[0].numbers},
        )

    same(ours, measured(by_hand, loss, raw, None))
    assert {"angle.hard", "rows.near"} <= ours[0].numbers.keys()


def worker(rank: int, meeting: Path) -> None:
    torch.set_num_threads(1)
    register_all()
    world = 2
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    runs = [(case, None) for case in CASES] + [("rows", 3), ("base by rows", 3), ("kcl", None)]
    try:
        for number, (case, tile) in enumerate(runs):
            first = 6 if number % 2 else PAIRS  # the other worker holds the rest, or no pair at all
            rows = slice(0, first) if rank == 0 else slice(first, PAIRS)
            several = case == "kcl"
            loss, single = (built("both" if several else case, tile) for _ in range(2))
            raw = sides(languages=2 if several else 0)
            mine = [one.detach()[rows].clone().requires_grad_() for one in raw]
            ids = clips(case)
            parallel: Any = GlobalBatchLoss(loss)
            if several:
                parallel = MultilingualLoss(parallel, "kcl")
            whole = MultilingualLoss(single, "kcl") if several else single
            output, want = (
                function(*(F.normalize(one, dim=-1) for one in inputs), clip_ids)
                for function, inputs, clip_ids in (
                    (parallel, mine, None if ids is None else ids[rows]),
                    (whole, raw, ids),
                )
            )
            output.total.backward()
            want.total.backward()
            got = [one.grad / world for one in mine] + [p.grad for p in loss.parameters()]
            expected = [one.grad[rows] for one in raw] + [p.grad for p in single.parameters()]
            same((output, got), (want, expected))
    finally:
        dist.destroy_process_group()


@pytest.mark.heavy
def test_workers_agree_with_one_process(tmp_path: Path) -> None:
    mp.spawn(worker, (tmp_path / "meeting",), nprocs=2)


@pytest.mark.parametrize("base", [InfoNCE(0.2), SigLIP(0.3, bias=-1.0)])
@pytest.mark.parametrize("sides_of", ["text", "both"])
def test_svr_is_a_term_like_others(base: Any, sides_of: Any) -> None:
    """Only that beside its base the products are computed once."""
    raw, found = sides(), []
    for fused in (True, False):
        torch.manual_seed(0)
        svr = SupportVectorRegularization(DynamicRadius(PAIRS, width=4), sides_of, 0.7, 0.2)
        loss = SupCLAPLoss(base, svr) if fused else SupCLAPLoss(base, terms={"sv": svr})
        loss = copy.deepcopy(loss).double()
        found.append(measured(loss, loss, raw, None))
    (fused_output, gradients), (output, expected) = found
    torch.testing.assert_close(fused_output.total, output.total)
    torch.testing.assert_close(gradients, expected)
    assert output.numbers["sv.svr"].item() == pytest.approx(fused_output.parts["svr"].item())


def test_random_numbers_follow_from_seed_step_and_label() -> None:
    audio, text = (F.normalize(one, dim=1) for one in sides())
    loss = SupCLAPLoss(InfoNCE(), terms={"one": Drawn(), "other": Drawn()})

    def values(step: int, seed: int) -> list[float]:
        loss.begin_step(step, 10, seed)
        return [loss(audio, text).parts[name].item() for name in ("one", "other")]

    first = values(3, 0)
    assert values(4, 0) != first
    assert values(3, 1) != first
    assert first[0] != first[1]
    torch.rand(5)
    assert values(3, 0) == first


def test_first_values_follow_from_the_seed_and_no_part_changes_anothers() -> None:
    def state(terms: dict[str, Any], seed: int = 0) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        config = parse_config({"loss": {"svr": {"radius": "dynamic"}, "terms": terms}}).loss
        return build_loss(config, PAIRS, Place(PAIRS, WIDTH), seed).state_dict()

    alone, both = state({"angle": {}}), state({"rows": {}, "angle": {}})
    assert all(torch.equal(both[name], value) for name, value in alone.items())
    other = state({"angle": {}}, seed=1)["term-angle.direction"]
    assert not torch.equal(other, alone["term-angle.direction"])


def test_a_parameter_that_a_step_does_not_use_has_a_gradient_of_zeros() -> None:
    """On one worker as on several, where Adam would else do two things."""

    class Sometimes(LossTerm):
        def setup(self, place: Place) -> None:
            self.used = torch.nn.Parameter(torch.tensor(1.0))

        def forward(self, pairs: Pairs) -> torch.Tensor:
            return pairs.text.new_zeros(())

    term = Sometimes()
    term.setup(Place())
    audio, text = (F.normalize(one, dim=1) for one in sides())
    SupCLAPLoss(InfoNCE(), terms={"sometimes": term})(audio, text).total.backward()
    assert term.used.grad is not None
    assert term.used.grad.item() == 0


def test_in_open_clips_loop_the_weighted_terms_sum_to_the_loss() -> None:
    audio, text = (F.normalize(one, dim=1) for one in sides())
    loss = OpenClipLoss(built("term"))
    scale = torch.tensor(20.0, dtype=torch.float64, requires_grad=True)
    found = loss(audio, text, scale, output_dict=True)
    assert isinstance(found, dict)
    assert found.keys() == {"contrastive_loss", "angle_loss"}
    total = loss(audio, text, scale)
    assert isinstance(total, torch.Tensor)
    assert sum(one.item() for one in found.values()) == pytest.approx(total.item())
    learned = torch.autograd.grad(found["angle_loss"], scale)[0]  # the model's own temperature
    assert learned.item() != 0


def test_diagnostics_need_the_gradients_where_an_update_has_no_closed_form() -> None:
    audio, text = (F.normalize(one, dim=1) for one in sides())
    for case, named in (("term", "loss term 'angle'"), ("base", "base loss OwnBase")):
        with pytest.raises(ValueError, match=f"gradients: are needed, as what the {named} adds"):
            diagnose(built(case), audio, text)


BAD_TERMS: dict[str, Any] = {
    "got a tensor of shape (11,)": lambda pairs: pairs.similarities.diagonal(),
    "got float": lambda pairs: 0.5,
    "got NoneType": lambda pairs: None,
    "got a tensor of torch.int64": lambda pairs: pairs.negatives.sum(),
    "got one without a gradient": lambda pairs: pairs.similarities.detach().sum(),
    "got a tuple of Tensor, Tensor": lambda pairs: (pairs.scale, pairs.scale),
    "'per pair' logged: a name is 1 to 40": lambda pairs: (pairs.text.sum(), {"per pair": 1}),
    "wants 'hard' logged, of shape (11,), not ()": lambda pairs: (
        pairs.text.sum(),
        {"hard": pairs.similarities.diagonal()},
    ),
    "wants 'hard' logged, which is a str": lambda pairs: (pairs.text.sum(), {"hard": "yes"}),
    "RuntimeError: The size of tensor": lambda pairs: (pairs.text + torch.zeros(3, 5)).sum(),
    "ZeroDivisionError: ": lambda pairs: pairs.text.sum() * (1 // 0),
}


class Bad(LossTerm):
    _does: Any

    def forward(self, pairs: Pairs) -> Any:
        return self._does(pairs)


@pytest.mark.parametrize("told", BAD_TERMS)
def test_what_a_term_may_not_do_is_one_line_of_its_source(told: str) -> None:
    term = Bad()
    term._does = BAD_TERMS[told]
    audio, text = (F.normalize(one, dim=1) for one in sides())
    with pytest.raises(PartError) as caught:
        SupCLAPLoss(InfoNCE(), terms={"bad": term})(audio, text)
    message = str(caught.value)
    assert message.startswith("tests/method/test_loss_parts.py:")
    assert "loss term 'Bad': " in message
    assert told in message


def test_other_names_are_logged_at_no_later_call() -> None:
    term = Bad()
    audio, text = (F.normalize(one, dim=1) for one in sides())
    loss = SupCLAPLoss(InfoNCE(), terms={"bad": term})
    term._does = lambda pairs: (pairs.text.sum(), {"a": 1})
    loss(audio, text)
    term._does = lambda pairs: (pairs.text.sum(), {"b": 1})
    with pytest.raises(PartError, match=r"wants \['b'\] logged, and at its first call \['a'\]"):
        loss(audio, text)


class Short(Near):
    def forward(self, similarities: torch.Tensor, offset: int = 0) -> torch.Tensor:
        return similarities[:2, 0]


def test_a_radius_gives_one_number_for_each_anchor() -> None:
    audio, text = (F.normalize(one, dim=1) for one in sides())
    loss = SupCLAPLoss(InfoNCE(), SupportVectorRegularization(Short()))
    with pytest.raises(PartError, match=r"radius 'Short': forward gave \(2,\), expected R of \(11"):
        loss(audio, text)


def test_terms_are_loss_terms_under_labels_that_can_be_logged() -> None:
    for terms, told in (
        ({"a": StaticRadius()}, "expected a LossTerm as 'a', got StaticRadius"),
        ({"a.b": Angle()}, "the label 'a.b' is not 1 to 40"),
        ({"svr": Angle()}, "train.svr is logged by runs"),
    ):
        with pytest.raises(ValueError, match=told):
            SupCLAPLoss(InfoNCE(), terms=terms)
