"""Contrastive losses with Support Vector Regularization. Needs nothing but PyTorch.

loss = SupCLAPLoss(InfoNCE(0.07), SupportVectorRegularization(DynamicRadius(batch_size)))
loss(audio, text).total.backward()      # audio, text: (N, d), L2-normalised
"""

from supclap.losses.build import build_loss
from supclap.losses.contrastive import ContrastiveLoss, InfoNCE, SigLIP
from supclap.losses.distributed import GlobalBatchLoss
from supclap.losses.multilingual import MultilingualLoss, MultilingualOutput
from supclap.losses.radius import DynamicRadius, StaticRadius
from supclap.losses.svr import LossOutput, SupCLAPLoss, SupportVectorRegularization

__all__ = [
    "ContrastiveLoss",
    "DynamicRadius",
    "GlobalBatchLoss",
    "InfoNCE",
    "LossOutput",
    "MultilingualLoss",
    "MultilingualOutput",
    "SigLIP",
    "StaticRadius",
    "SupCLAPLoss",
    "SupportVectorRegularization",
    "build_loss",
]
