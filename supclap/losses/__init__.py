"""Contrastive losses with Support Vector Regularization. Needs nothing but PyTorch.

loss = SupCLAPLoss(InfoNCE(0.07), SupportVectorRegularization(DynamicRadius(batch_size)))
loss(audio, text).total.backward()      # audio, text: (N, d), L2-normalised
"""

from supclap.losses.build import build_loss
from supclap.losses.composite import SupCLAPLoss
from supclap.losses.contrastive import ContrastiveLoss
from supclap.losses.distributed import GlobalBatchLoss
from supclap.losses.dynamic_radius import DynamicRadius
from supclap.losses.infonce import InfoNCE
from supclap.losses.multilingual import MultilingualLoss, MultilingualOutput
from supclap.losses.output import LossOutput
from supclap.losses.siglip import SigLIP
from supclap.losses.static_radius import StaticRadius
from supclap.losses.svr import SupportVectorRegularization

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
