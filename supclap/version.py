"""The version of the code that can change a result: a hash of this package, not a commit."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path


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
