"""Makes torchvision importable beside another build of PyTorch, as transformers imports it.

transformers imports torchvision wherever it is installed. Its wheels link CUDA: beside a CPU-only
PyTorch its compiled extension does not load; ``import torchvision`` then raises RuntimeError, as
it describes an operator that is not there. Nothing here calls such an operator, so when, and only
when, the plain import has failed, the operators are declared without an implementation.
"""

import importlib
import sys
from importlib.util import find_spec

import torch

OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # an operator goes with its library


def mend_torchvision() -> None:
    """Imports torchvision, where it is installed."""
    if "torchvision" in sys.modules or find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except (RuntimeError, OSError):
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in OPERATORS:
            library.define(operator + SIGNATURE)
        _declared.append(library)
        importlib.import_module("torchvision")
