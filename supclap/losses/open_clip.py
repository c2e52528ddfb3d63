"""The loss as open_clip's training loop calls it (PyPI ``open_clip_torch``, 3.x).

loss = OpenClipLoss(criterion)                              # in place of open_clip's create_loss
optimizer.add_param_group({"params": loss.parameters()})    # radius, predictor
train_one_epoch(model, data, loss, epoch, optimizer, ...)   # open_clip's own, as it is
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from supclap.losses.composite import SupCLAPLoss
from supclap.losses.distributed import GlobalBatchLoss
from supclap.losses.output import LossOutput


class OpenClipLoss(nn.Module):
    """Called as ``loss(**model_out, output_dict=True)``, with the model's own temperature.

    open_clip's model learns ``logit_scale`` (and, for SigLIP, ``logit_bias``), which belongs to the
    model and is in its checkpoints. So these two stand in the place of the base's temperature and
    bias for the whole loss, the radius' similarities included, and get their gradients. "image" is
    open_clip's word for the first side: audio.

    Under DDP the loop hands over each worker's own pairs: give a `GlobalBatchLoss`, which gathers
    them; open_clip's ``--local-loss`` and ``--gather-with-grad`` do not matter then.

    Args:
        loss: with a base that does not learn its temperature, as nothing would come of it.

    Raises:
        ValueError: another loss, or one that learns its temperature.
    """

    def __init__(self, loss: SupCLAPLoss | GlobalBatchLoss) -> None:
        super().__init__()
        if not isinstance(loss, SupCLAPLoss | GlobalBatchLoss):
            raise ValueError(
                f"loss: expected a SupCLAPLoss or GlobalBatchLoss, got {type(loss).__name__}"
            )
        self.loss = loss
        pairs = self._pairs()
        if pairs.base.learns_temperature:
            raise ValueError(
                "loss: its base learns a temperature, but open_clip's model brings its own: build "
                f"{type(pairs.base).__name__}(learn_temperature=False)"
            )

    def forward(
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: Tensor,
        logit_bias: Tensor | None = None,
        output_dict: bool = False,
    ) -> Tensor | dict[str, Tensor]:
        """The loss of a batch, or its weighted terms, whose sum it is.

        Args:
            output_dict: as open_clip has it; the rest as in `output`.

        Returns:
            (): the total. With ``output_dict`` ``contrastive_loss``, with SVR ``svr_loss`` and
            ``constraint_loss``, and ``LABEL_loss`` of each term, () each and weighted, as the loop
            adds up what it finds.

        Raises:
            ValueError: as `output` does.
        """
        output = self.output(image_features, text_features, logit_scale, logit_bias)
        if not output_dict:
            return output.total
        terms = {"contrastive_loss": output.parts["base"]}
        svr = self._pairs().svr
        if svr is not None:
            terms["svr_loss"] = svr.alpha * output.parts["svr"]
            if "constraint" in output.parts:
                terms["constraint_loss"] = svr.beta * output.parts["constraint"]
        for label, term in self._pairs().terms.items():
            terms[f"{label}_loss"] = term.weight * output.parts[label]
        return terms

    def output(
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: Tensor,
        logit_bias: Tensor | None = None,
    ) -> LossOutput:
        """The loss's own output, for `backward_in_chunks` among others.

        Args:
            image_features, text_features: (N, d), L2-normalised.
            logit_scale: () or (1,), 1 / temperature, as the model gives it (``exp`` is taken).
            logit_bias: () or (1,); for SigLIP alone. Without it the base's own bias holds.

        Raises:
            ValueError: a bias for a loss that has none, or what the loss raises.
        """
        base = self._pairs().base
        prefix = "loss." if isinstance(self.loss, GlobalBatchLoss) else ""
        given = {f"{prefix}base.log_scale": _number(logit_scale).log()}
        if logit_bias is not None:
            if base.partition != "sigmoid":
                raise ValueError(
                    f"logit_bias: {type(base).__name__} has no bias; the model must be built "
                    "without init_logit_bias"
                )
            given[f"{prefix}base.offset"] = _number(logit_bias)
        found: LossOutput = functional_call(self.loss, given, (image_features, text_features))
        return found

    def _pairs(self) -> SupCLAPLoss:
        return self.loss.loss if isinstance(self.loss, GlobalBatchLoss) else self.loss


def _number(value: Tensor) -> Tensor:
    """() of a model's scalar, which may be (1,) and in half precision."""
    return (value if value.dtype == torch.float64 else value.float()).reshape(())
