"""The way back from the gradients of the products to those of the embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

# Rows and columns of a panel; below it, reading a panel twice is not worth the smaller ones.
PANEL = 256


def symmetric_sum(m: Tensor) -> Tensor:
    """m + m': (N, N). On a CPU by panels, as a plain transposed addition strides through all of
    memory; on a GPU that is one kernel, and panels are thousands. The bits are the same."""
    n = len(m)
    if n < 2 * PANEL or m.device.type != "cpu":
        return m + m.T
    out = torch.empty_like(m)
    for i in range(0, n, PANEL):
        for j in range(i, n, PANEL):
            upper = m[i : i + PANEL, j : j + PANEL] + m[j : j + PANEL, i : i + PANEL].T
            out[i : i + PANEL, j : j + PANEL] = upper
            if j > i:
                out[j : j + PANEL, i : i + PANEL] = upper.T
    return out


class Products:
    """Turns the blocks' gradients of X = T A', Y = A A', W = T T' into those of the embeddings.

    ``whole`` collects the gradient matrices and then takes four products, as Y and W are symmetric
    and their gradients can be added to their transposes first; otherwise six products per block,
    in memory that does not grow with N x N. ``merged``: rows and columns are the same embeddings.
    """

    def __init__(
        self,
        text_rows: Tensor,
        audio_rows: Tensor,
        text: Tensor,
        audio: Tensor,
        *,
        whole: bool,
        merged: bool,
    ) -> None:
        self.text_rows, self.audio_rows, self.text, self.audio = text_rows, audio_rows, text, audio
        self.whole, self.merged = whole, merged
        self.blocks: list[tuple[Tensor, Tensor | None, Tensor | None]] = []
        if not self.whole:
            self.g_text, self.g_audio = torch.zeros_like(text), torch.zeros_like(audio)
            self.g_text_rows = self.g_text if merged else torch.zeros_like(text_rows)
            self.g_audio_rows = self.g_audio if merged else torch.zeros_like(audio_rows)

    def add(self, first: int, last: int, dx: Tensor, dy: Tensor | None, dw: Tensor | None) -> None:
        """Takes the gradients (b, N) of rows ``first`` to ``last`` of X, Y and W."""
        if self.whole:
            self.blocks.append((dx, dy, dw))
            return
        t, a = self.text_rows[first:last], self.audio_rows[first:last]
        self.g_text_rows[first:last].addmm_(dx, self.audio)
        self.g_audio.addmm_(dx.T, t)
        if dy is not None:
            self.g_audio_rows[first:last].addmm_(dy, self.audio)
            self.g_audio.addmm_(dy.T, a)
        if dw is not None:
            self.g_text_rows[first:last].addmm_(dw, self.text)
            self.g_text.addmm_(dw.T, t)

    def gradients(self, scale: Tensor) -> list[Tensor | None]:
        """Of text rows, audio rows, text and audio; None for the columns where merged."""
        if self.whole:
            dx, dy, dw = (_joined(parts) for parts in zip(*self.blocks, strict=True))
            assert dx is not None
            g_text, g_audio = dx @ self.audio, dx.T @ self.text
            if dy is not None:
                g_audio.addmm_(symmetric_sum(dy), self.audio)
            if dw is not None:
                g_text.addmm_(symmetric_sum(dw), self.text)
            return [g_text.mul_(scale), g_audio.mul_(scale), None, None]
        if self.merged:
            return [self.g_text.mul_(scale), self.g_audio.mul_(scale), None, None]
        parts = (self.g_text_rows, self.g_audio_rows, self.g_text, self.g_audio)
        return [part.mul_(scale) for part in parts]


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    if not present:
        return None
    return present[0] if len(present) == 1 else torch.cat(present)
