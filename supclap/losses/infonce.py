"""InfoNCE over a batch of pairs."""

from __future__ import annotations

from supclap.losses.contrastive import ContrastiveLoss, SameClip


class InfoNCE(ContrastiveLoss):
    """Text-to-audio plus audio-to-text cross-entropy (METHOD: L_orig), each a mean over the batch.

    The two directions are summed, as in the paper; CLIP's customary half is a factor of the
    learning rate under Adam, but would halve L_orig against the regularization.

    Args:
        temperature: tau; the paper's 0.07.
        learn_temperature: trains log(1 / tau), held within `TEMPERATURE_BOUNDS`.
        same_clip: what ``clip_ids`` do: "mask" or "target".
    """

    partition = "softmax"

    def __init__(
        self,
        temperature: float = 0.07,
        learn_temperature: bool = False,
        same_clip: SameClip = "mask",
    ) -> None:
        super().__init__(temperature, learn_temperature, same_clip)
