"""Imports torchaudio, also beside a CPU build of PyTorch.

torchaudio's wheels link CUDA: beside a CPU-only PyTorch a plain ``import torchaudio`` raises
OSError while it loads its compiled extension. The transforms and the functional part need no
extension, so when, and only when, the plain import has failed, a stub stands in for it. Every
module that wants torchaudio takes it from here: ``from supclap.audio_library import torchaudio``.
"""

import importlib
import sys
from types import ModuleType


def _as_it_is(function: object) -> object:
    """Stands in for the decorator of the forced-alignment functions, which we never call."""
    return function


def _stub_extension() -> ModuleType:
    stub = ModuleType("torchaudio._extension")
    stub.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=_as_it_is,
        _check_cuda_version=lambda: None,
    )
    return stub


def _import_torchaudio() -> ModuleType:
    try:
        return importlib.import_module("torchaudio")
    except OSError:
        for name in [n for n in sys.modules if n.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules["torchaudio._extension"] = _stub_extension()
        return importlib.import_module("torchaudio")


torchaudio = _import_torchaudio()
