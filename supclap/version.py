"""What a result was made with: the version of this package, and of what lies below it.

The version of the package is a hash of its code that can change a result, not a commit.
"""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@cache
def code_version() -> str:
    """Hash over the names and contents of the package's Python files, 12 hexadecimal digits."""
    return hash_of_code(Path(__file__).parent)


def hash_of_code(folder: Path) -> str:
    """The hash that `code_version` gives, for any folder of Python files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py"), key=lambda p: p.relative_to(folder).as_posix()):
        content = path.read_bytes().replace(b"\r\n", b"\n")  # a Windows checkout is the same code
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def made_with(device: torch.device) -> dict[str, str]:
    """Versions of Python and PyTorch, and the name of the device, as reports show them."""
    import torch

    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {platform.machine()}"
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "device": name,
    }
