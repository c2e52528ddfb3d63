"""What base losses share: temperature, logits and what pairs of one clip are."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from supclap.bounds import TEMPERATURE_BOUNDS
from supclap.losses.checks import check_clip_ids, check_embeddings, check_number
from supclap.losses.pairs import full_precision, row_losses, widened
from supclap.losses.passes import Layout, Partition

SameClip = Literal["mask", "target"]

# CLIP's bound on a learned temperature: below 0.01 the softmax is an argmax and gradients explode.


class ContrastiveLoss(nn.Module):
    """A loss on all N x N logits ``scale * cosine + bias`` of a batch.

    ``partition`` names how logits become a loss: a softmax over each row and column, or a
    sigmoid of every pair.

    A subclass may have a ``forward`` of its own: then its value is the base term of `SupCLAPLoss`
    (the whole batch's, on every worker), while the SVR term stays the partition's, at the support
    vectors. So may its ``scale`` and ``bias``, which both terms use.
    """

    partition: Partition

    def __init__(
        self,
        temperature: float,
        learn: bool,
        same_clip: SameClip,
        partition: Partition | None = None,
    ) -> None:
        super().__init__()
        if partition is not None:
            self.partition = partition
        found = getattr(self, "partition", None)
        if found not in ("softmax", "sigmoid"):
            raise ValueError(
                f"partition: expected 'softmax' or 'sigmoid' of {type(self).__name__}, got "
                f"{found!r}; derive it from InfoNCE or SigLIP"
            )
        low, high = TEMPERATURE_BOUNDS
        check_number("temperature", temperature, above=0.0)
        if learn:
            check_number("temperature", temperature, at_least=low, at_most=high)
        if same_clip not in ("mask", "target"):
            raise ValueError(f"same_clip: expected 'mask' or 'target', got {same_clip!r}")
        self.same_clip = same_clip
        log_scale = torch.tensor(-math.log(temperature))
        self.log_scale: Tensor
        if learn:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    @property
    def learns_temperature(self) -> bool:
        return isinstance(self.log_scale, nn.Parameter)

    def scale(self) -> Tensor:
        """1 / temperature: (), within `TEMPERATURE_BOUNDS` where learned.

        It is as wide as the module's own numbers: float32, also under float64 embeddings, unless
        the loss is made ``double()``; tau is then exact to 1e-7 only.
        """
        self.hold_temperature()
        return self.log_scale.exp()

    def hold_temperature(self) -> None:
        """Puts a learned temperature back within `TEMPERATURE_BOUNDS`."""
        if self.learns_temperature:
            low, high = TEMPERATURE_BOUNDS
            # The parameter itself is held, as a clamp of its value alone would have no gradient
            # outside the bounds and never come back.
            with torch.no_grad():
                self.log_scale.clamp_(-math.log(high), -math.log(low))

    def set_temperature(self, temperature: float) -> None:
        """Another temperature, where it is not learned."""
        with torch.no_grad():
            self.log_scale.fill_(-math.log(temperature))

    def bias(self) -> Tensor:
        """The logits' additive constant: ()."""
        return torch.zeros_like(self.log_scale)

    def forward(self, audio: Tensor, text: Tensor, clip_ids: Tensor | None = None) -> Tensor:
        """The loss of a batch: ().

        Args:
            audio, text: (N, d), L2-normalised; row i of one belongs to row i of the other.
            clip_ids: (N,) integers. Pairs of one clip are no negatives of each other: "mask"
                leaves their logits out, "target" counts them as positives (as in ML-CLAP).

        Raises:
            ValueError: names the argument, what is expected and what was found.
        """
        check_embeddings(audio, text, by=self)
        check_clip_ids(clip_ids, len(audio))
        with full_precision(audio):
            audio, text = widened(audio), widened(text)
            loss, _ = row_losses(
                self, Layout(len(audio)), text, audio, text, audio, None, None, clip_ids, clip_ids
            )
        return loss

    def extra_repr(self) -> str:
        learned = " (learned)" if self.learns_temperature else ""
        return f"temperature={math.exp(-self.log_scale.item()):.4g}{learned}"
