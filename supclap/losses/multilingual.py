"""Learning from captions in several languages at once: KCL and CACL (ATRI, arXiv 2502.14627).

Both make a loss of a clip and its K captions out of a loss of pairs, so that SVR, SigLIP or a
global batch enter as they do in one language:

    KCL    mean over the K languages of L(audio, text_k)
    CACL   (L(audio, first) + L(audio, other) + L(first, other)) / 3

loss = MultilingualLoss(SupCLAPLoss(InfoNCE(0.07)), "kcl")
loss(audio, texts).total.backward()     # audio: (N, d), texts: (N, K, d), L2-normalised
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from supclap.losses.composite import SupCLAPLoss
from supclap.losses.distributed import GlobalBatchLoss
from supclap.losses.output import LossOutput

Multilingual = Literal["kcl", "cacl"]


@dataclass(frozen=True)
class View:
    """Clips and their captions in one language, as one term of the loss has seen them.

    audio, text: (N, d), a tensor of this term's own each. After ``retain_grad`` and the backward
        pass its ``grad`` is what this term alone contributes to the gradient.
    radii: `LossOutput.radii` of the term.
    """

    audio: Tensor
    text: Tensor
    radii: dict[str, Tensor]


@dataclass(frozen=True)
class MultilingualOutput(LossOutput):
    """Means over the terms; ``radii`` over those of audio and text, which are the ``views``."""

    views: tuple[View, ...]


class MultilingualLoss(nn.Module):
    """``loss`` over clips and their captions in several languages.

    It has no parameters beside those of ``loss``: temperature, radius and predictor serve all
    languages, and in CACL the pairs of texts as well. There L(first, other) is the whole L, SVR
    included (our choice): the first language stands where audio stands, and with ``sides: text``
    the support vector is a step of the other language's caption towards it.

    Args:
        loss: of pairs; with `GlobalBatchLoss` the mean of the workers' gradients is that of one
            process, as a mean of terms keeps what holds for each.
        kind: "kcl" or "cacl".
    """

    def __init__(self, loss: SupCLAPLoss | GlobalBatchLoss, kind: Multilingual) -> None:
        super().__init__()
        if kind not in ("kcl", "cacl"):
            raise ValueError(f"kind: expected 'kcl' or 'cacl', got {kind!r}")
        self.loss, self.kind = loss, kind

    def forward(
        self, audio: Tensor, texts: Tensor, clip_ids: Tensor | None = None
    ) -> MultilingualOutput:
        """The loss of a batch.

        Args:
            audio: (N, d), L2-normalised.
            texts: (N, K, d), each clip's captions, one per language in the same order; for CACL
                K = 2, the first language (English, as a rule) and another one, which may differ
                from clip to clip. L2-normalised.
            clip_ids: (N,) integers, as `SupCLAPLoss` takes them.

        Raises:
            ValueError: names the argument, what is expected and what was found.
        """
        self._check(audio, texts)
        spoken = texts.unbind(1)
        outputs, views = [], []
        for text in spoken:
            # Aliases, so that the gradients of the terms can be kept apart without a second
            # backward pass.
            here, there = audio.view_as(audio), text.view_as(text)
            outputs.append(self.loss(here, there, clip_ids))
            views.append(View(here, there, outputs[-1].radii))
        radii = {side: _mean([view.radii[side] for view in views]) for side in views[0].radii}
        if self.kind == "cacl":
            outputs.append(self.loss(*spoken, clip_ids))
        return MultilingualOutput(
            _mean([output.total for output in outputs]),
            {name: _mean([o.parts[name] for o in outputs]) for name in outputs[0].parts},
            radii,
            tuple(views),
            numbers={n: _mean([o.numbers[n] for o in outputs]) for n in outputs[0].numbers},
        )

    def _check(self, audio: Tensor, texts: Tensor) -> None:
        if not isinstance(texts, Tensor) or texts.ndim != 3:
            found = tuple(texts.shape) if isinstance(texts, Tensor) else type(texts).__name__
            raise ValueError(f"texts: expected embeddings of shape (N, K, d), got {found}")
        if len(audio) != len(texts):
            raise ValueError(
                f"audio and texts: expected the captions of each clip, got {len(audio)} clips and "
                f"captions of {len(texts)}"
            )
        languages = texts.shape[1]
        if self.kind == "cacl" and languages != 2:
            raise ValueError(
                f"texts: CACL takes captions in 2 languages, the first and another, got {languages}"
            )
        if languages < 2:
            raise ValueError(f"texts: KCL takes captions in at least 2 languages, got {languages}")

    def extra_repr(self) -> str:
        return f"kind={self.kind!r}"


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean(0)
