"""What a job is made of: the files that are uploaded, and the command line that it runs.

What travels is the two packages, the experiment file and the code that it names: no data, no
results, no environment. They lie side by side in the job's working directory, which Ray puts on the
path of driver and workers.
"""

from __future__ import annotations

import shlex
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from supclap.user_code import INSTALLED

CODE = ("*.py", "*.yaml", "*.json", "*.html", "*.css", "*.js", "py.typed")
FILE = "experiment.yaml"
TOGETHER = "experiments"  # holds a file that names others, and those
OLDEST = (1980, 1, 1, 0, 0, 0)  # the first day that a zip file can name


@dataclass(frozen=True)
class Request:
    """What `supclap run` is to do on the cluster."""

    file: Path
    options: Sequence[str] = ()  # of `supclap run`
    env: Mapping[str, str] | None = None  # of the job: its driver and its workers
    others: Sequence[Path] = ()  # the files that it names, in its folder or below
    code: Mapping[str, bytes] = field(default_factory=dict)  # by place (`Experiment.code_files`)
    name: str = "supclap"  # the experiment's

    @property
    def place(self) -> str:
        """Where the file lies in the job's working directory."""
        return f"{TOGETHER}/{self.file.name}" if self.others or self.code else FILE

    def own(self) -> dict[str, bytes]:
        """What is uploaded besides the two packages, by its place in the working directory."""
        files = {self.place: self.file.read_bytes()}
        for other in self.others:
            below = other.relative_to(self.file.parent).as_posix()
            files[f"{TOGETHER}/{below}"] = other.read_bytes()
        for place, content in self.code.items():
            inside = place.removeprefix(f"{INSTALLED}/")
            files[f"{TOGETHER}/{place}" if inside == place else inside] = content
        return files


def packages() -> dict[str, dict[str, bytes]]:
    """The files of each package, by their place in the working directory."""
    import supclap
    import supclap_platform

    found: dict[str, dict[str, bytes]] = {}
    for package in (supclap, supclap_platform):
        source = Path(str(package.__file__)).parent
        paths = sorted({path for pattern in CODE for path in source.rglob(pattern)})
        found[source.name] = {
            f"{source.name}/{path.relative_to(source).as_posix()}": path.read_bytes()
            for path in paths
            if not any(part.startswith(".") for part in path.relative_to(source).parts)
        }
    return found


def contents(request: Request) -> dict[str, bytes]:
    """All that is uploaded, by its place in the working directory."""
    both: dict[str, bytes] = {}
    for files in packages().values():
        both |= files
    return both | request.own()


def lay_out(request: Request, folder: Path) -> Path:
    """The working directory, laid out in ``folder``."""
    for place, content in contents(request).items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder


def pack(request: Request, file: Path) -> Path:
    """Writes what is uploaded as one zip file: a quarter of the size that Ray's own would have.

    The same content gives the same bytes, which Ray then does not take a second time.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for place, content in sorted(contents(request).items()):
            entry = zipfile.ZipInfo(place, OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, content)
    return file


def entrypoint(request: Request) -> str:
    """The command line that the job runs."""
    words = ["python", "-m", "supclap_platform", "run", request.place, "--address", "auto"]
    return shlex.join([*words, *request.options])
