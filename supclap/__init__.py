"""SupCLAP: audio-text contrastive learning with Support Vector Regularization.

The package is pure PyTorch. `import supclap` costs nothing; each part is imported by name::

    from supclap.losses import InfoNCE, SupportVectorRegularization, SupCLAPLoss
"""

__version__ = "0.1.0"
