"""SupCLAP: audio-text contrastive learning with Support Vector Regularization.

The package is pure PyTorch. `import supclap` costs nothing; each part is imported by name::

    from supclap.losses import InfoNCE, SupportVectorRegularization, SupCLAPLoss
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supclap.model.clap import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """``supclap.load(folder)`` opens a model; its parts are imported only when it is asked for."""
    if name == "load":
        from supclap.model.clap import load

        return load
    raise AttributeError(f"module 'supclap' has no attribute '{name}'")
