"""The composite loss: a base loss, its regularization, and terms of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch.distributed as dist
from torch import Tensor, nn

from supclap.losses.checks import check_clip_ids, check_embeddings
from supclap.losses.contrastive import ContrastiveLoss
from supclap.losses.output import LossOutput
from supclap.losses.own import Moment, OwnBase, Shares, check_labels
from supclap.losses.pairs import full_precision, row_losses, widened
from supclap.losses.passes import Layout
from supclap.losses.schedules import Scheduled
from supclap.losses.svr import SupportVectorRegularization
from supclap.parts.calling import wrong
from supclap.parts.losses import BaseLoss, LossTerm


def overrides(module: nn.Module, base: type[nn.Module], name: str) -> bool:
    """Whether ``module`` has a method of its own where ``base`` has one of that name."""
    return name in vars(module) or getattr(type(module), name) is not getattr(base, name)


class SupCLAPLoss(nn.Module):
    """A base loss, its regularization and terms: ``loss(audio, text).total.backward()``.

    Args:
        base: `InfoNCE`, `SigLIP` or a subclass (see `ContrastiveLoss` for one's own ``forward``),
            or a `BaseLoss` of one's own, with the temperature 0.07 (`OwnBase` gives it another).
        svr: `SupportVectorRegularization`; None gives none.
        terms: `LossTerm` by label, each added with its ``weight``.
        tile: rows per tile. None is the fast form, which keeps up to three N x N products; a
            number (256, say) recomputes them tile by tile, and memory grows with N alone. Both are
            equal to the literal form (`supclap.losses.literal`) in value and gradient. A base or
            term of one's own is tiled where it has a row-wise form; without one it may not ask
            for N x N products.
    """

    def __init__(
        self,
        base: ContrastiveLoss | BaseLoss,
        svr: SupportVectorRegularization | None = None,
        tile: int | None = None,
        terms: Mapping[str, LossTerm] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(base, BaseLoss):
            base = OwnBase(base)
        if not isinstance(base, ContrastiveLoss):
            raise ValueError(
                "base: expected InfoNCE, SigLIP or a BaseLoss of one's own, got "
                f"{type(base).__name__}"
            )
        if svr is not None and not isinstance(svr, SupportVectorRegularization):
            raise ValueError(
                f"svr: expected a SupportVectorRegularization, got {type(svr).__name__}"
            )
        if svr is not None and overrides(svr, SupportVectorRegularization, "forward"):
            raise ValueError(
                f"svr: {type(svr).__name__} has a forward, which nothing would call; a term of "
                "one's own goes into terms"
            )
        if tile is not None and tile < 1:
            raise ValueError(f"tile: expected at least 1 row, got {tile}")
        self.base, self.svr, self.tile = base, svr, tile
        check_labels(terms or {})
        self._labels = tuple(terms or {})
        for label, term in (terms or {}).items():
            self.add_module(f"term-{label}", term)
        self.moment = Moment()
        self.schedules: list[Scheduled] = []
        self._logged: dict[str, list[str]] = {}  # the names of what each part logs

    @property
    def terms(self) -> dict[str, LossTerm]:
        """The terms by label."""
        return {label: getattr(self, f"term-{label}") for label in self._labels}

    @property
    def own_parts(self) -> dict[str, BaseLoss | LossTerm]:
        """The parts of one's own by label: a base loss as "base", and the terms."""
        base = {"base": self.base.part} if isinstance(self.base, OwnBase) else {}
        return {**base, **self.terms}

    def begin_step(self, step: int, steps: int, seed: int = 0) -> None:
        """What follows is the loss of that step, from 0, of a run of ``steps``.

        Numbers that have a schedule take its value there, and terms of one's own their progress and
        random numbers. Without a call a loss stands at its first step.
        """
        self.moment = Moment(step, step / steps, seed)
        for one in self.schedules:
            one.take(self.moment.progress)

    def scheduled(self) -> dict[str, float]:
        """The values that numbers with a schedule have now, by the names they are logged under."""
        return {one.name: one.schedule.at(self.moment.progress) for one in self.schedules}

    def forward(self, audio: Tensor, text: Tensor, clip_ids: Tensor | None = None) -> LossOutput:
        """The loss of a batch.

        Args:
            audio, text: (N, d), L2-normalised; row i of one belongs to row i of the other.
            clip_ids: (N,) integers; pairs of one clip are no negatives of each other (see
                `InfoNCE`). The radius predictor still reads all N similarities.

        Raises:
            ValueError: names the argument, what is expected and what was found.
        """
        check_embeddings(audio, text, by=self)
        check_clip_ids(clip_ids, len(audio))
        with full_precision(audio):
            audio, text = widened(audio), widened(text)
            layout = Layout(len(audio), tile=self.tile)
            return self.of_rows(layout, audio, text, audio, text, clip_ids, clip_ids)

    def of_rows(
        self,
        layout: Layout,
        audio_rows: Tensor,
        text_rows: Tensor,
        audio: Tensor,
        text: Tensor,
        row_clips: Tensor | None,
        clips: Tensor | None,
        gather: Callable[[Tensor], Tensor] = lambda rows: rows,
    ) -> LossOutput:
        """The share of some rows in the whole batch's loss; the shares of all rows sum to it.

        Args:
            layout: which rows of the batch these are.
            audio_rows, text_rows: (n, d), the rows.
            audio, text: (N, d), the whole batch.
            row_clips, clips: (n,) and (N,) clip ids.
            gather: (n,) -> (N,), the rows' values to those of the whole batch, with gradient.
        """
        shares = Shares(self.base, self.moment, layout, audio_rows, text_rows, audio, text, clips)
        own, numbers = self._own_base(shares, layout, audio, text, clips)
        if self.svr is not None:
            output = self.svr.of_rows(
                self.base,
                own,
                layout,
                audio_rows,
                text_rows,
                audio,
                text,
                row_clips,
                clips,
                gather,
            )
        else:
            base = own
            if base is None:
                base, _ = row_losses(
                    self.base,
                    layout,
                    text_rows,
                    audio_rows,
                    text,
                    audio,
                    None,
                    None,
                    row_clips,
                    clips,
                )
            output = LossOutput(base, {"base": base}, {})
        total, parts = output.total, dict(output.parts)
        for label, term in self.terms.items():
            parts[label], logged = shares.of(term, label)
            total = total + term.weight * parts[label]
            numbers |= self._named(term, label, logged)
        return replace(output, total=total, parts=parts, numbers=numbers)

    def _own_base(
        self,
        shares: Shares,
        layout: Layout,
        audio: Tensor,
        text: Tensor,
        clips: Tensor | None,
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """The share of a base with a ``forward`` of its own: (), and what it logs; None where it
        has none.

        Of a subclass of `ContrastiveLoss` nothing is known but its value for the whole batch, so
        every worker computes that, and has an equal share in it.
        """
        if isinstance(self.base, OwnBase):
            value, logged = shares.of(self.base.part, "base")
            return value, self._named(self.base.part, "base", logged)
        if not overrides(self.base, ContrastiveLoss, "forward"):
            return None, {}
        value = self.base(audio, text, clips)
        if value.shape != ():
            raise ValueError(
                f"base: {type(self.base).__name__}.forward: expected a loss of shape (), got "
                f"{tuple(value.shape)}"
            )
        return value / dist.get_world_size(layout.group) if layout.distributed else value, {}

    def _named(
        self, part: BaseLoss | LossTerm, label: str, logged: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """What a part logs by its names in full. Raises PartError: not those of its first call."""
        names = self._logged.setdefault(label, sorted(logged))
        if sorted(logged) != names:
            raise wrong(
                part,
                "forward",
                f"wants {sorted(logged)} logged, and at its first call {names}; a mean over the "
                "steps needs the same names at each",
            )
        found = {f"{label}.{name}": number for name, number in logged.items()}
        both = found.keys() & {one.name for one in self.schedules}
        if both:
            raise wrong(
                part, "forward", f"wants '{min(both)}' logged, which its schedule is logged as"
            )
        return found
