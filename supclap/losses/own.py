"""Base losses and loss terms of one's own within a loss: their shares, checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from supclap.labels import LOGGABLE, check_label
from supclap.losses.checks import check_number
from supclap.losses.contrastive import ContrastiveLoss, SameClip
from supclap.losses.passes import Layout
from supclap.parts.calling import guarded, wrong
from supclap.parts.losses import BaseLoss, LossTerm, Pairs, offers_rows
from supclap.parts.seeds import TERM, seed_of


class OwnBase(ContrastiveLoss):
    """A `BaseLoss` with what every base has beside its value: temperature, bias, same-clip rule.

    Args:
        part: the base loss.
        temperature: 0.07 by default, 0.1 beside a sigmoid.
        learn_temperature: no by default, yes beside a sigmoid.
        same_clip: as `InfoNCE` and SVR take it; of the part's own value the part itself decides.
        bias: of the logits beside a sigmoid.

    Raises:
        ValueError: a setting out of its range, or a partition that there is not.
    """

    def __init__(
        self,
        part: BaseLoss,
        temperature: float | None = None,
        learn_temperature: bool | None = None,
        same_clip: SameClip = "mask",
        bias: float = -10.0,
    ) -> None:
        sigmoid = part.partition == "sigmoid"
        learn = sigmoid if learn_temperature is None else learn_temperature
        start = temperature or (0.1 if sigmoid else 0.07)
        super().__init__(start, learn, same_clip, part.partition)
        self.part = part
        if sigmoid:
            offset = torch.tensor(check_number("bias", bias))
            self.offset: Tensor
            if learn:
                self.offset = nn.Parameter(offset)
            else:
                self.register_buffer("offset", offset)

    def forward(self, audio: Tensor, text: Tensor, clip_ids: Tensor | None = None) -> Tensor:
        """The loss of a batch, as the part has it at the start of a run: ()."""
        pairs = Pairs(
            audio,
            text,
            clip_ids,
            scale=self.scale(),
            bias=self.bias(),
            partition=self.partition,
            same_clip=self.same_clip,
        )
        return found_by(self.part, "forward", pairs)[0]

    def set_bias(self, bias: float) -> None:
        with torch.no_grad():
            self.offset.fill_(bias)

    def bias(self) -> Tensor:
        return self.offset if self.partition == "sigmoid" else super().bias()


def check_labels(terms: Mapping[str, Any]) -> None:
    """Raises ValueError unless each is a `LossTerm` under a label that can be logged."""
    for label, term in terms.items():
        if not isinstance(term, LossTerm):
            raise ValueError(f"terms: expected a LossTerm as '{label}', got {type(term).__name__}")
        check_label(label)


@dataclass(frozen=True)
class Moment:
    """When in a run a loss is taken."""

    step: int = 0
    progress: float = 0.0  # share of the run's steps that are done
    seed: int = 0  # of the run


class Shares:
    """What parts of one's own give for some rows of a batch; see `SupCLAPLoss.of_rows`."""

    def __init__(
        self,
        base: ContrastiveLoss,
        moment: Moment,
        layout: Layout,
        audio_rows: Tensor,
        text_rows: Tensor,
        audio: Tensor,
        text: Tensor,
        clips: Tensor | None,
    ) -> None:
        self.moment, self.layout = moment, layout
        self.audio_rows, self.text_rows = audio_rows, text_rows
        self.audio, self.text = audio, text
        self._base, self._clips = base, clips
        self._whole: Pairs | None = None
        self._rows: Pairs | None = None

    def of(self, part: BaseLoss | LossTerm, label: str) -> tuple[Tensor, dict[str, Tensor]]:
        """The share of the rows in a part's value, and in what it wants logged: () each.

        A part with a row-wise form has its rows computed where there are several workers or tiles.
        Of another nothing is known but its value for the whole batch, so every worker computes
        that, and has an equal share in it.
        """
        seed = seed_of(self.moment.seed, self.moment.step, TERM, label=label)
        if not offers_rows(part) or (self.layout.tile is None and not self.layout.distributed):
            value, numbers = found_by(part, "forward", self._of_whole().with_seed(seed))
            if self.layout.distributed:
                workers = dist.get_world_size(self.layout.group)
                value = value / workers
                numbers = {name: number / workers for name, number in numbers.items()}
        elif self.layout.tile is None:
            value, numbers = found_by(part, "rows", self._of_rows().with_seed(seed))
        else:
            value, numbers = self._by_tiles(part, seed)
        return self._tied(value, part), numbers

    def _of_whole(self) -> Pairs:
        if self._whole is None:
            sparing = self.layout.tile is not None
            self._whole = Pairs(self.audio, self.text, sparing=sparing, **self._settings())
        return self._whole

    def _of_rows(self) -> Pairs:
        if self._rows is None:
            self._rows = self._between(0, len(self.text_rows))
        return self._rows

    def _between(self, first: int, last: int) -> Pairs:
        """Pairs for the share of rows ``first`` to ``last`` within this call's rows."""
        at = self.layout.offset
        return Pairs(
            self.audio,
            self.text,
            rows=slice(at + first, at + last),
            audio_rows=self.audio_rows[first:last],
            text_rows=self.text_rows[first:last],
            **self._settings(),
        )

    def _settings(self) -> dict[str, Any]:
        return {
            "clip_ids": self._clips,
            "scale": self._base.scale(),
            "bias": self._base.bias(),
            "partition": self._base.partition,
            "same_clip": self._base.same_clip,
            "progress": self.moment.progress,
        }

    def _by_tiles(self, part: BaseLoss | LossTerm, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The share tile by tile; each is computed again in the backward pass."""
        tile, n = self.layout.tile, len(self.text_rows)
        assert tile is not None

        def share(first: int) -> tuple[Tensor, dict[str, Tensor]]:
            pairs = self._between(first, min(first + tile, n))
            return found_by(part, "rows", pairs.with_seed(seed))

        found = [
            checkpoint(share, first, use_reentrant=False, preserve_rng_state=False)
            for first in range(0, max(1, n), tile)
        ]
        total = torch.stack([value for value, _ in found]).sum()
        names = found[0][1]
        return total, {
            name: torch.stack([numbers[name] for _, numbers in found]).sum() for name in names
        }

    def _tied(self, value: Tensor, part: nn.Module) -> Tensor:
        """The value, in whose graph stands all that a backward pass must reach.

        A parameter that a step does not use has a gradient of zeros, on one worker as on several;
        and what was gathered has one on every worker, which all of them wait for.
        """
        if not torch.is_grad_enabled():
            return value
        reached: list[Tensor] = [p for p in part.parameters() if p.requires_grad]
        if self.layout.distributed:
            reached += [self.audio, self.text]
        for tensor in reached:
            value = value + 0 * tensor.reshape(-1)[:1].sum().to(value.dtype)
        return value


def found_by(
    part: BaseLoss | LossTerm, what: str, pairs: Pairs
) -> tuple[Tensor, dict[str, Tensor]]:
    """What a part's ``forward`` or ``rows`` gives: () with gradient, and numbers without, () each.

    Raises:
        PartError: it gives something else.
    """
    with guarded(part, what):
        found = part(pairs) if what == "forward" else part.rows(pairs)
    value, numbers = found, {}
    if isinstance(found, tuple):
        if len(found) != 2 or not isinstance(found[1], Mapping):
            _refuse(part, what, f"a tuple of {', '.join(type(one).__name__ for one in found)}")
        value, numbers = found
    if not isinstance(value, Tensor):
        _refuse(part, what, type(value).__name__)
    if value.shape != ():
        _refuse(part, what, f"a tensor of shape {tuple(value.shape)}")
    if not value.is_floating_point():
        _refuse(part, what, f"a tensor of {value.dtype}")
    learns = pairs.audio.requires_grad or pairs.text.requires_grad
    if learns and torch.is_grad_enabled() and not value.requires_grad and value.item():
        _refuse(part, what, "one without a gradient (detached, or not computed from the pairs)")
    like = pairs.text
    return value.to(like.device, like.dtype), dict(_numbers(part, what, numbers, like))


def _numbers(
    part: BaseLoss | LossTerm, what: str, numbers: Mapping[Any, Any], like: Tensor
) -> Iterator[tuple[str, Tensor]]:
    for name, number in numbers.items():
        if not isinstance(name, str) or not LOGGABLE.fullmatch(name):
            raise wrong(
                part,
                what,
                f"wants {name!r} logged: a name is 1 to 40 letters, digits, '-', '_' and '@'",
            )
        if isinstance(number, bool) or not isinstance(number, int | float | Tensor):
            raise wrong(part, what, f"wants '{name}' logged, which is a {type(number).__name__}")
        found = torch.as_tensor(number, dtype=like.dtype, device=like.device).detach()
        if found.shape != ():
            raise wrong(part, what, f"wants '{name}' logged, of shape {tuple(found.shape)}, not ()")
        yield name, found


def _refuse(part: BaseLoss | LossTerm, what: str, got: str) -> NoReturn:
    raise wrong(
        part,
        what,
        "expected a loss of shape (), with gradient, alone or with a dictionary of numbers to "
        f"log, got {got}",
    )
