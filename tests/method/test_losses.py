"""The losses against three truths: plain loops, the literal form, and PyTorch's functions."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from loss_forms import BASES, RADII, assert_same, build, embeddings, value_and_gradients
from torch.nn import functional as F

from supclap.losses import (
    DynamicRadius,
    InfoNCE,
    SigLIP,
    StaticRadius,
    SupCLAPLoss,
    SupportVectorRegularization,
)
from supclap.losses.dynamic_radius import WORTH_THREADS
from supclap.losses.literal import literal_loss
from supclap.parts import Pairs

GRID = [
    (base, radius, sides, beta)
    for base, radius in itertools.product(BASES, [None, *RADII])
    for sides, beta in (
        itertools.product(("text", "both"), (0.0, 0.3)) if radius else [("text", None)]
    )
]


@pytest.mark.parametrize(("base", "radius", "sides", "beta"), GRID)
@pytest.mark.parametrize("pairs", [9, 70])  # by autograd in one piece, and by the engine
def test_fast_and_tiled_equal_the_literal_form(
    base: str, radius: str | None, sides: str, beta: float | None, pairs: int
) -> None:
    raw = embeddings(pairs)
    for tile in (None, 4):
        loss = build(base, radius, sides, beta, pairs, tile=tile)
        literal = value_and_gradients(lambda a, t, c, L=loss: literal_loss(L, a, t, c), loss, raw)
        assert_same(value_and_gradients(loss, loss, raw), literal, 1e-10)


@pytest.mark.parametrize("same", ["mask", "target"])
@pytest.mark.parametrize(("base", "radius"), itertools.product(BASES, [None, "static", "sorted"]))
def test_same_clip_pairs_in_every_form(base: str, radius: str | None, same: str) -> None:
    raw = embeddings(20)
    clips = torch.arange(20) // 2  # two captions of each clip
    for tile in (None, 7):
        loss = build(base, radius, "both", 0.1, 20, same, tile)
        literal = value_and_gradients(
            lambda a, t, c, L=loss: literal_loss(L, a, t, c), loss, raw, clips
        )
        assert_same(value_and_gradients(loss, loss, raw, clips), literal, 1e-10)


@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize(("base", "radius"), itertools.product(BASES, [None, "static", "sorted"]))
def test_float32_stays_within_1e5_of_the_literal_form(
    base: str, radius: str | None, tile: int | None
) -> None:
    raw = embeddings(40, width=64, dtype=torch.float32)
    loss = build(base, radius, "both", 0.1, 40, tile=tile, dtype=torch.float32)
    ours = value_and_gradients(loss, loss, raw)
    literal = value_and_gradients(lambda a, t, c: literal_loss(loss, a, t, c), loss, raw)
    (output, gradients), (expected, expected_gradients) = ours, literal
    torch.testing.assert_close(output.total, expected.total, rtol=1e-5, atol=1e-5)
    for got, want in zip(gradients, expected_gradients, strict=True):
        if want is not None:
            assert (got - want).abs().max() <= 1e-5 * want.abs().max().clamp(min=1)


@pytest.mark.parametrize("radius", ["static", "sorted"])
def test_a_pair_that_coincides_is_finite_in_both_forms(radius: str) -> None:
    audio, text = embeddings(8)
    with torch.no_grad():
        text[3] = audio[3]
    loss = build("infonce", radius, "both", 0.3, 8)
    literal = value_and_gradients(lambda a, t, c: literal_loss(loss, a, t, c), loss, (audio, text))
    assert_same(value_and_gradients(loss, loss, (audio, text)), literal, 1e-10)


def loops(
    audio: list[list[float]],
    text: list[list[float]],
    tau: float,
    radius: float,
    alpha: float,
    beta: float,
) -> tuple[float, float, float, float]:
    """METHOD, sum by sum: InfoNCE with bi-SVR and the constraint, one fixed radius."""
    n = len(audio)

    def cross_entropy(anchor: list[float], candidates: list[list[float]], i: int) -> float:
        scores = [sum(x * y for x, y in zip(anchor, c, strict=True)) / tau for c in candidates]
        return -scores[i] + math.log(sum(math.exp(s) for s in scores))

    orig = svr = cons = 0.0
    for anchors, candidates in ((text, audio), (audio, text)):
        for i in range(n):
            distance = math.dist(anchors[i], candidates[i])
            support = [
                x + radius * (y - x) / distance
                for x, y in zip(anchors[i], candidates[i], strict=True)
            ]
            orig += cross_entropy(anchors[i], candidates, i) / n
            svr += cross_entropy(support, candidates, i) / n
            cons += (max(0.0, radius - distance) + max(0.0, -radius)) / n
    return orig, svr, cons, orig + alpha * svr + beta * cons


@pytest.mark.parametrize("radius", [0.3, 1.9, -0.2])
def test_bi_svr_against_loops_over_numbers(radius: float) -> None:
    audio, text = (F.normalize(x.detach(), dim=1) for x in embeddings(5, width=4))
    static = StaticRadius(radius)
    svr = SupportVectorRegularization(static, "both", alpha=0.7, beta=0.2)
    output = SupCLAPLoss(InfoNCE(0.1), svr).double()(audio, text)
    want = loops(audio.tolist(), text.tolist(), 0.1, static.value.item(), 0.7, 0.2)
    got = [*output.parts.values(), output.total]
    np.testing.assert_allclose([x.item() for x in got], want, rtol=1e-6)


def test_infonce_is_the_sum_of_two_cross_entropies() -> None:
    audio, text = (F.normalize(x, dim=1) for x in embeddings(300))
    logits = text @ audio.T / 0.07
    labels = torch.arange(300)
    want = F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)
    torch.testing.assert_close(InfoNCE(0.07).double()(audio, text), want, rtol=1e-6, atol=0)


def test_siglip_is_the_sum_over_all_pairs_by_the_batch() -> None:
    audio, text = (F.normalize(x, dim=1) for x in embeddings(6))
    loss = SigLIP(temperature=0.1, bias=-10.0).double()
    want = 0.0
    for i, j in itertools.product(range(6), range(6)):
        z = 1.0 if i == j else -1.0
        want += math.log1p(math.exp(-z * (float(text[i] @ audio[j]) / 0.1 - 10.0))) / 6
    assert float(loss(audio, text)) == pytest.approx(want, rel=1e-6)


def test_masked_pairs_have_no_influence() -> None:
    audio, text = (F.normalize(x, dim=1).detach() for x in embeddings(4))
    clips = torch.tensor([0, 0, 1, 2])
    logits = (text @ audio.T / 0.07).double()
    logits[0, 1] = logits[1, 0] = -torch.inf
    labels = torch.arange(4)
    want = F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)
    got = InfoNCE(0.07).double()(audio, text, clips)
    torch.testing.assert_close(got, want, rtol=1e-6, atol=0)


def test_soft_targets_share_the_positive_among_captions_of_a_clip() -> None:
    audio, text = (F.normalize(x, dim=1).detach() for x in embeddings(4))
    clips = torch.tensor([0, 0, 1, 2])
    target = torch.eye(4, dtype=torch.float64)
    target[:2, :2] = 0.5
    logits = text @ audio.T / 0.07
    want = F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)
    got = InfoNCE(0.07, same_clip="target").double()(audio, text, clips)
    torch.testing.assert_close(got, want, rtol=1e-6, atol=0)


@pytest.mark.heavy
@pytest.mark.parametrize("base", ["infonce-learned", "siglip"])
@pytest.mark.parametrize("tile", [None, 3])
def test_gradients_are_finite_differences(base: str, tile: int | None) -> None:
    loss = build(base, "attached", "both", 0.3, 5, tile=tile)
    raw = embeddings(5, width=4)

    def total(audio: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return loss(F.normalize(audio, dim=1), F.normalize(text, dim=1)).total

    assert torch.autograd.gradcheck(total, raw, eps=1e-6, atol=1e-6)


@pytest.mark.heavy
def test_tiles_never_hold_all_pairs() -> None:
    """Every tensor that the tiled form makes stays far below N x N."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    sizes = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = function(*args, **(kwargs or {}))
            sizes.extend(x.numel() for x in tree_leaves(result) if isinstance(x, torch.Tensor))
            return result

    for radius in RADII:
        loss = build("infonce", radius, "both", 0.1, 256, tile=8, dtype=torch.float32)
        raw = [torch.randn(256, 4, requires_grad=True) for _ in range(2)]
        with Sizes():
            value_and_gradients(loss, loss, raw)
        assert max(sizes) <= 8 * 256, radius


def test_sorted_and_pooled_radii_ignore_the_order_of_the_batch() -> None:
    audio, text = (F.normalize(x, dim=1).detach() for x in embeddings(10))
    shuffled = torch.randperm(10, generator=torch.Generator().manual_seed(2))
    for radius, free in (("sorted", True), ("pooled", True), ("batch", False)):
        loss = build("infonce", radius, "both", None, 10)
        here = loss(audio, text).radii["text"][shuffled]
        there = loss(audio[shuffled], text[shuffled]).radii["text"]
        assert torch.allclose(here, there, atol=1e-12) == free, radius


def test_the_predictor_reads_the_positive_first_then_the_batch_order() -> None:
    from supclap.losses.dynamic_radius import positive_first

    matrix = torch.arange(12.0).view(3, 4)
    want = torch.tensor([[1.0, 0, 2, 3], [6, 4, 5, 7], [11, 8, 9, 10]])
    assert torch.equal(positive_first(matrix, offset=1), want)


@pytest.mark.parametrize("offset", [0, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_the_predictor_reads_the_negatives_in_descending_order(
    offset: int, transposed: bool
) -> None:
    """With a gradient and without are two ways of sorting: the same numbers to the bit."""
    radius, read = DynamicRadius(9, width=8), []
    radius.predictor.register_forward_pre_hook(lambda _, given: read.append(given[0].detach()))
    similarities = torch.randn(9 - offset, 9, generator=torch.Generator().manual_seed(1))
    similarities[1, :4] = similarities[2, 5]  # equal ones too
    given = similarities.T.contiguous().T if transposed else similarities
    radius(given, offset)
    radius(given.clone().requires_grad_(), offset)
    assert torch.equal(given, similarities)
    for row, values in enumerate(similarities.tolist()):
        positive = values.pop(offset + row)
        for found in read:
            assert found[row].tolist() == [positive, *sorted(values, reverse=True)]


@pytest.mark.parametrize("threads", [1, 3])
def test_large_batches_are_sorted_by_several_threads_alike(threads: int) -> None:
    n = 1500
    assert n * n >= WORTH_THREADS
    similarities = torch.randn(n, n, generator=torch.Generator().manual_seed(2))
    radius, read = DynamicRadius(n, width=8), []
    radius.predictor.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        radius(similarities)
    finally:
        torch.set_num_threads(before)
    others = ~torch.eye(n, dtype=torch.bool)
    expected = similarities[others].view(n, n - 1).sort(dim=1, descending=True).values
    assert torch.equal(read[0][:, 1:], expected)
    assert torch.equal(read[0][:, 0], similarities.diagonal())


def test_pooled_radius_takes_any_batch() -> None:
    loss = SupCLAPLoss(InfoNCE(), SupportVectorRegularization(DynamicRadius(8, "pooled")))
    for pairs in (2, 3, 8, 100):
        audio, text = (F.normalize(x, dim=1) for x in embeddings(pairs, dtype=torch.float32))
        assert torch.isfinite(loss(audio, text).total)


def test_radii_start_at_their_initial_value() -> None:
    audio, text = (F.normalize(x, dim=1) for x in embeddings(6, dtype=torch.float32))
    for radius in (StaticRadius(0.3), DynamicRadius(6, initial=0.3)):
        output = SupCLAPLoss(InfoNCE(), SupportVectorRegularization(radius))(audio, text)
        for values in output.radii.values():
            torch.testing.assert_close(values, torch.full((6,), 0.3))


def test_a_learned_temperature_is_held_at_its_bound_and_can_return() -> None:
    loss = InfoNCE(0.0101, learn_temperature=True)
    optimizer = torch.optim.SGD(loss.parameters(), lr=1.0)
    aligned = F.normalize(embeddings(8, dtype=torch.float32)[0].detach(), dim=1)
    for _ in range(5):  # perfect pairs ask for an ever smaller temperature
        loss.log_scale.grad = torch.tensor(-1.0)
        optimizer.step()
        loss(aligned, aligned)
        assert 1 / loss.scale().item() == pytest.approx(0.01, rel=1e-5)
    loss.log_scale.grad = torch.tensor(1.0)
    optimizer.step()
    assert 1 / loss.scale().item() > 0.02


def good(pairs: int = 4, width: int = 3) -> torch.Tensor:
    return F.normalize(torch.randn(pairs, width, generator=torch.Generator().manual_seed(0)), dim=1)


BAD_BATCHES = {
    "audio: expected embeddings of shape": lambda: (torch.ones(3), good()),
    "text: expected floating point embeddings, got torch.int64": lambda: (
        good(),
        torch.ones(4, 3, dtype=torch.int64),
    ),
    r"of equal width, got shapes \(4, 3\) and \(5, 3\)": lambda: (good(), good(5)),
    "at least 2 pairs.*got 1": lambda: (good(1), good(1)),
    "text: expected finite embeddings, row 2": lambda: (
        good(),
        good().index_fill(0, torch.tensor([2]), torch.nan),
    ),
    "audio: expected finite embeddings, row 1": lambda: (
        good().index_fill(0, torch.tensor([1]), torch.inf),
        good(),
    ),
    r"audio: expected L2-normalised.*row 0 has norm 2": lambda: (2 * good(), good()),
}


@pytest.mark.parametrize("message", BAD_BATCHES)
@pytest.mark.parametrize("loss", [InfoNCE(), SigLIP(), SupCLAPLoss(InfoNCE())])
def test_a_bad_batch_is_named(message: str, loss: torch.nn.Module) -> None:
    with pytest.raises(ValueError, match=message):
        loss(*BAD_BATCHES[message]())


def test_bad_clip_ids_are_named() -> None:
    with pytest.raises(ValueError, match=r"clip_ids: expected shape \(4,\)"):
        InfoNCE()(good(), good(), torch.arange(3))
    with pytest.raises(ValueError, match="clip_ids: expected integers"):
        InfoNCE()(good(), good(), torch.ones(4))


BAD_SETTINGS = {
    "temperature: expected a number above 0": lambda: InfoNCE(-0.07),
    "temperature: .*at least 0.01 and at most 10": lambda: InfoNCE(0.001, learn_temperature=True),
    "bias: expected a number finite": lambda: SigLIP(bias=math.nan),
    "same_clip: expected 'mask' or 'target'": lambda: InfoNCE(same_clip="drop"),
    "alpha: expected a number at least 0": lambda: SupportVectorRegularization(
        StaticRadius(), alpha=-1
    ),
    "beta: expected a number at least 0": lambda: SupportVectorRegularization(
        StaticRadius(), beta=-1
    ),
    "sides: expected 'text' or 'both'": lambda: SupportVectorRegularization(
        StaticRadius(), sides="audio"
    ),
    "radius: expected a StaticRadius": lambda: SupportVectorRegularization(0.5),
    "length: expected at least 2": lambda: DynamicRadius(1),
    "width: expected at least 1": lambda: DynamicRadius(4, width=0),
    "depth: expected at least 1": lambda: DynamicRadius(4, depth=0),
    "order: expected 'batch'": lambda: DynamicRadius(4, order="random"),
    "initial: expected a number finite": lambda: StaticRadius(math.inf),
    "base: expected InfoNCE, SigLIP or a BaseLoss": lambda: SupCLAPLoss(torch.nn.Identity()),
    "svr: expected a SupportVectorRegularization": lambda: SupCLAPLoss(InfoNCE(), StaticRadius()),
    "tile: expected at least 1": lambda: SupCLAPLoss(InfoNCE(), tile=0),
    "built for a batch of 5 pairs.*got 4.*pooled": lambda: SupCLAPLoss(
        InfoNCE(), SupportVectorRegularization(DynamicRadius(5))
    )(good(), good()),
}


@pytest.mark.parametrize("message", BAD_SETTINGS)
def test_a_bad_setting_is_named(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BAD_SETTINGS[message]()


@pytest.mark.heavy
def test_three_lines_in_a_foreign_loop() -> None:
    """What the README shows: a loss for somebody else's encoders and optimizer."""
    torch.manual_seed(0)
    audio_tower, text_tower = torch.nn.Linear(10, 6), torch.nn.Linear(7, 6)
    criterion = SupCLAPLoss(InfoNCE(0.07), SupportVectorRegularization(DynamicRadius(16)))
    parameters = [*audio_tower.parameters(), *text_tower.parameters(), *criterion.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    sounds, captions = torch.randn(16, 10), torch.randn(16, 7)
    losses = []
    for _ in range(60):
        audio = F.normalize(audio_tower(sounds), dim=1)
        text = F.normalize(text_tower(captions), dim=1)
        output = criterion(audio, text)
        optimizer.zero_grad()
        output.total.backward()
        optimizer.step()
        losses.append(output.total.item())
    assert losses[-1] < losses[0] / 2


class Squared(InfoNCE):
    """A base loss of one's own: squared distances of the pairs, apart from negatives."""

    def forward(
        self, audio: torch.Tensor, text: torch.Tensor, clip_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self.scale() * (audio - text).square().sum(1).mean()


@pytest.mark.parametrize("pairs", [10, 90])  # the small path and the blocks
@pytest.mark.parametrize("tile", [None, 4])
@pytest.mark.parametrize("radius", [None, "static", "sorted"])
def test_a_base_with_a_forward_of_its_own_is_the_base_term(
    pairs: int, tile: int | None, radius: str | None
) -> None:
    raw = embeddings(pairs)
    plain = build("infonce-learned", radius, "both", 0.3, pairs, tile=tile)
    own = build("infonce-learned", radius, "both", 0.3, pairs, tile=tile)
    own.base = Squared(0.07, learn_temperature=True).double()
    ours = value_and_gradients(own, own, raw)
    assert_same(ours, value_and_gradients(lambda *x: literal_loss(own, *x), own, raw), 1e-9)
    audio, text = (F.normalize(x, dim=1) for x in raw)
    expected = (audio - text).square().sum(1).mean() / 0.07
    assert ours[0].parts["base"].item() == pytest.approx(expected.item(), rel=1e-6)
    if radius is not None:  # what SVR adds is as it was
        other = plain(audio, text)
        assert ours[0].parts["svr"].item() == pytest.approx(other.parts["svr"].item(), rel=1e-9)


def test_a_forward_that_is_set_on_the_module_itself_counts_too() -> None:
    base = InfoNCE()
    base.forward = lambda audio, text, clip_ids=None: (audio * text).sum() * 0 + 3
    audio, text = (F.normalize(x, dim=1) for x in embeddings(6))
    assert SupCLAPLoss(base)(audio, text).total.item() == 3


class Scaled(SigLIP):
    def scale(self) -> torch.Tensor:
        return super().scale() * 2

    def bias(self) -> torch.Tensor:
        return super().bias() + 1


def test_a_subclass_with_its_own_scale_and_bias_is_the_loss_of_those() -> None:
    raw = embeddings(9)
    plain = SigLIP(0.05, bias=-9.0, learn_temperature=False)
    own = Scaled(0.1, bias=-10.0, learn_temperature=False)
    ours = value_and_gradients(SupCLAPLoss(own), own, raw)
    assert_same(ours, value_and_gradients(SupCLAPLoss(plain), plain, raw), 1e-6)


class Perceptron(InfoNCE):
    partition = "perceptron"  # type: ignore[assignment]


class Vector(InfoNCE):
    def forward(
        self, audio: torch.Tensor, text: torch.Tensor, clip_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        return (audio * text).sum(1)


class Verbose(SupportVectorRegularization):
    def forward(self, pairs: Pairs) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return pairs.audio.sum(), {}


def test_subclasses_that_could_not_do_what_they_say_are_refused() -> None:
    with pytest.raises(ValueError, match=r"partition: .*'softmax' or 'sigmoid'.*'perceptron'"):
        Perceptron()
    with pytest.raises(ValueError, match=r"Verbose has a forward, which nothing would call"):
        SupCLAPLoss(InfoNCE(), Verbose(StaticRadius()))
    audio, text = (F.normalize(x, dim=1) for x in embeddings(6))
    with pytest.raises(ValueError, match=r"Vector\.forward: expected .* shape \(\), got \(6,\)"):
        SupCLAPLoss(Vector())(audio, text)


def close_pairs(pairs: int, delta: float, width: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    """Float32 rows, all of them near each other, and each pair at ``delta``."""
    numbers = torch.Generator().manual_seed(1)

    def rows(count: int) -> torch.Tensor:
        return torch.randn(count, width, generator=numbers, dtype=torch.float64)

    audio = F.normalize(2 * F.normalize(rows(1), dim=1) + F.normalize(rows(pairs), dim=1), dim=1)
    aside = rows(pairs)
    aside = F.normalize(aside - (aside * audio).sum(1, keepdim=True) * audio, dim=1)
    cosine = 1 - delta**2 / 2
    text = cosine * audio + math.sqrt(1 - cosine**2) * aside
    return audio.float(), text.float()


@pytest.mark.heavy
@pytest.mark.parametrize("delta", [0.002, 0.01, 0.05])
@pytest.mark.parametrize(("pairs", "tile"), [(24, None), (90, None), (90, 32), (600, None)])
def test_in_float32_a_close_pair_has_the_digits_of_the_literal_form(
    pairs: int, tile: int | None, delta: float
) -> None:
    """R / delta, up to 250 here, magnifies whatever a step of a cosine is wrong by."""

    def gradients(literal: bool, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        raw = [x.to(dtype).requires_grad_() for x in close_pairs(pairs, delta)]
        svr = SupportVectorRegularization(StaticRadius(0.5), "both")
        loss = SupCLAPLoss(InfoNCE(0.07), svr, tile).to(dtype)
        output = literal_loss(loss, *raw) if literal else loss(*raw)
        found = torch.autograd.grad(output.total, [*raw, *loss.parameters()])
        return torch.cat([x.double().flatten() for x in found[:2]]), found[2].double()

    truth, radius = gradients(True, torch.float64)
    theirs, _ = gradients(True, torch.float32)
    ours, own_radius = gradients(False, torch.float32)
    allowed = 6 * ((theirs - truth).norm() / truth.norm()).item() + 2e-6
    assert ((ours - truth).norm() / truth.norm()).item() < allowed
    assert own_radius.item() == pytest.approx(radius.item(), rel=2e-5)


def test_a_learned_temperature_is_as_wide_as_the_loss_not_as_the_embeddings() -> None:
    """As docs/method.md says of float64."""
    raw = embeddings(9)
    audio, text = (F.normalize(x, dim=1) for x in raw)
    loss = SupCLAPLoss(InfoNCE(0.07, learn_temperature=True))
    exact = F.cross_entropy(text @ audio.T / 0.07, torch.arange(9))
    exact = exact + F.cross_entropy(audio @ text.T / 0.07, torch.arange(9))
    narrow = abs(loss(audio, text).total / exact - 1).item()
    assert loss(audio, text).total.dtype == torch.float64
    assert 1e-10 < narrow < 1e-6
    assert loss.base.log_scale.dtype == torch.float32
    loss.double()
    with torch.no_grad():
        loss.base.log_scale.fill_(-math.log(0.07))
    assert abs(loss(audio, text).total / exact - 1).item() < 1e-14
