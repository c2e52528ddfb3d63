"""Base losses, loss terms and radii: what a loss is made of (docs/parts/loss.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from supclap.parts.part import Part

# A scalar, and numbers to be shown beside it.
Found = Tensor | tuple[Tensor, dict[str, Any]]


class Pairs:
    """The global batch as a base loss or a loss term sees it. Whoever the workers are, it is whole.

    audio, text: (N, d), unit vectors; row i of one belongs to row i of the other. float32, under
        autocast too; float64 where the embeddings are. The gradient goes through them.
    clip_ids: (N,) integers where a clip stands in the batch more than once, else None.
    scale, bias: (), 1 / temperature and SigLIP's constant, of the base loss.
    partition, same_clip: the base loss's, "softmax" or "sigmoid", "mask" or "target".
    progress: the share of the run's steps that are done, 0 <= progress < 1.
    audio_rows, text_rows, row_clips: (n, d) and (n,), the rows whose share ``rows`` gives: those
        from ``offset`` on. All of them in ``forward``.
    """

    def __init__(
        self,
        audio: Tensor,
        text: Tensor,
        clip_ids: Tensor | None = None,
        *,
        scale: Tensor | float = 1 / 0.07,
        bias: Tensor | float = 0.0,
        partition: Literal["softmax", "sigmoid"] = "softmax",
        same_clip: Literal["mask", "target"] = "mask",
        progress: float = 0.0,
        seed: int = 0,
        rows: slice | None = None,
        audio_rows: Tensor | None = None,
        text_rows: Tensor | None = None,
        sparing: bool = False,
    ) -> None:
        """``rows``: the share's rows, all by default. ``audio_rows``, ``text_rows``: them, where
        they are tensors of their own. ``sparing``: there is no room for N x N products."""
        self.audio, self.text, self.clip_ids = audio, text, clip_ids
        self.scale = torch.as_tensor(scale, dtype=text.dtype, device=text.device)
        self.bias = torch.as_tensor(bias, dtype=text.dtype, device=text.device)
        self.partition, self.same_clip = partition, same_clip
        self.progress, self.seed, self.sparing = progress, seed, sparing
        self.offset = 0 if rows is None else rows.start
        whole = rows is None
        self.audio_rows = audio if whole else audio[rows] if audio_rows is None else audio_rows
        self.text_rows = text if whole else text[rows] if text_rows is None else text_rows
        self.row_clips = clip_ids if whole or clip_ids is None else clip_ids[rows]
        self._made: dict[str, Any] = {}  # what all who ask share
        self._generator: torch.Generator | None = None

    def __len__(self) -> int:
        return len(self.audio)

    @property
    def similarities(self) -> Tensor:
        """Cosines of the rows' texts with all audios: (n, N), (N, N) in ``forward``; with gradient.

        The positive of row i stands in column ``offset + i``. Computed once for all who ask.
        """
        return self._once("similarities", lambda: self.text_rows @ self.audio.T)

    @property
    def audio_similarities(self) -> Tensor:
        """Cosines of the rows' audios with all texts: (n, N), with gradient."""
        if self.audio_rows is self.audio:
            return self.similarities.T
        return self._once("audio_similarities", lambda: self.audio_rows @ self.text.T)

    @property
    def negatives(self) -> Tensor:
        """(n, N) bool: True where another clip's pair stands."""
        return self._once("negatives", self._others)

    @property
    def generator(self) -> torch.Generator:
        """Random numbers of the run's seed, the step and the part's label, the same on all workers.

        A row-wise form draws for the whole batch and takes its rows' numbers.
        """
        if self._generator is None:
            self._generator = torch.Generator(self.text.device).manual_seed(self.seed)
        return self._generator

    def with_seed(self, seed: int) -> Pairs:
        """The same pairs with random numbers of their own; what has been computed is shared."""
        view = object.__new__(Pairs)
        view.__dict__ = {**self.__dict__, "seed": seed, "_generator": None}
        return view

    def _others(self) -> Tensor:
        columns = torch.arange(len(self), device=self.text.device)
        if self.clip_ids is None or self.row_clips is None:
            rows = columns[self.offset : self.offset + len(self.text_rows)]
            return rows[:, None] != columns
        return self.row_clips[:, None] != self.clip_ids

    def _once(self, what: str, make: Callable[[], Tensor]) -> Tensor:
        if what not in self._made:
            if self.sparing:
                raise ValueError(
                    f"pairs.{what} is N x N, which a loss with a tile never holds: give it a "
                    "row-wise form, rows(pairs), or leave the tile out"
                )
            self._made[what] = make()
        found: Tensor = self._made[what]
        return found


class _Loss(Part, nn.Module):
    """What base losses and loss terms have in common."""

    # False declares that its value depends on the order of the pairs within a batch.
    unordered: ClassVar[bool] = True
    # True declares that a part of its value is kept from the gradient on purpose.
    stops_gradient: ClassVar[bool] = False

    def forward(self, pairs: Pairs) -> Found:
        """The loss of the batch: (), or that and numbers to be logged, by name.

        The names are the same at every call. Numbers are shown as ``train.LABEL.NAME``, and are
        means over the steps of an epoch.
        """
        if not offers_rows(self):
            raise NotImplementedError(f"{type(self).__name__} has neither forward nor rows")
        return self.rows(pairs)

    def rows(self, pairs: Pairs) -> Found:
        """Optional: the share that ``pairs.text_rows`` and ``audio_rows`` have in the loss.

        The shares of all rows sum to the loss of the batch, and so do the numbers. Each of several
        workers, and each tile, computes its own rows alone then, in time and memory n x N.
        """
        raise NotImplementedError


class LossTerm(_Loss):
    """A term that is added to a base loss: ``loss.terms: {NAME: {weight: 0.1, own keys}}``.

    ``forward(pairs)`` gives a scalar, or a scalar and numbers to log. It is logged unweighted as
    ``train.LABEL``, added with its weight, and trained wherever it has parameters. It always sees
    the global batch, in float32 or wider: under several workers, chunks and autocast alike.

        @register("angle")
        class Angle(LossTerm):
            margin: float = 0.2

            def forward(self, pairs):
                return (1 - self.margin - pairs.similarities.diagonal()).relu().mean()
    """

    kind = "loss term"
    weight: float = 1.0


class BaseLoss(_Loss):
    """A loss in the place of InfoNCE: ``loss: {name: NAME, own keys}``.

    As `LossTerm` in all; logged as ``train.base``. Temperature (``pairs.scale``, learned where
    ``loss.learn_temperature`` says so) and ``loss.same_clip`` are the section's. ``partition``
    says at which logits SVR works beside it, and the diagnostics measure push and pull: "softmax"
    or "sigmoid" (`supclap.losses.contrastive.ContrastiveLoss`).

        @register("triplet")
        class Triplet(BaseLoss):
            margin: float = 0.2

            def forward(self, pairs):
                nearest = pairs.similarities.masked_fill(~pairs.negatives, -1).amax(1)
                return (self.margin + nearest - pairs.similarities.diagonal()).relu().mean()
    """

    kind = "base loss"
    partition: ClassVar[Literal["softmax", "sigmoid"]] = "softmax"


class Radius(Part, nn.Module):
    """The semantic radius of SVR: ``loss.svr: {radius: NAME, own keys}``.

    ``forward(similarities, offset)`` gives R of each anchor from its own row alone, so that tiles
    and workers may hold any of the rows. Parameters are trained with the loss's. The section's keys
    ``initial`` and ``detach`` hold for it too.

        @register("near")
        class Near(Radius):
            share: float = 0.5

            def forward(self, similarities, offset=0):
                return self.share * (2 - 2 * similarities.softmax(1).diagonal(offset)).sqrt()
    """

    kind = "radius"
    # Whether it reads the similarities; if not, it gets (n, 0) of them and they are not computed.
    reads: ClassVar[bool] = True
    initial: float = 0.5  # R at the start
    detach: bool = True  # the similarities come without gradient

    def forward(self, similarities: Tensor, offset: int = 0) -> Tensor:
        """R of every anchor: (n,).

        Args:
            similarities: (n, N), an anchor's cosines with all of the other side / temperature.
            offset: the positive of row i stands in column ``offset + i``.
        """
        raise NotImplementedError

    def check_batch(self, pairs: int) -> None:
        """Raises ValueError where a batch of ``pairs`` does not fit it. Optional."""


def offers_rows(part: _Loss) -> bool:
    """Whether a base loss or a loss term has a row-wise form."""
    return type(part).rows is not _Loss.rows
