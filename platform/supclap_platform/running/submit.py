"""An experiment as a Ray job: the code is uploaded, `supclap run` starts on the cluster's head.

What travels is the two packages, the experiment file and the code that it names: no data, no
results, no environment. They lie side by side in the job's working directory, which Ray puts on the
path of driver and workers.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supclap.errors import InputError
from supclap.secrets import masked, without_password
from supclap.user_code import INSTALLED
from supclap.wording import gist

CODE = ("*.py", "*.yaml", "*.json", "*.html", "*.css", "*.js", "py.typed")
FILE = "experiment.yaml"
TOGETHER = "experiments"  # holds a file that names others, and those
POLL = 1.0  # seconds
_OVER = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class Request:
    """What `supclap run` is to do on the cluster."""

    file: Path
    options: Sequence[str] = ()  # of `supclap run`
    env: Mapping[str, str] | None = None  # of the job: its driver and its workers
    others: Sequence[Path] = ()  # the files that it names, in its folder or below
    code: Mapping[str, bytes] = field(default_factory=dict)  # by place (`Experiment.code_files`)

    @property
    def place(self) -> str:
        """Where the file lies in the job's working directory."""
        return f"{TOGETHER}/{self.file.name}" if self.others or self.code else FILE

    def uploaded(self) -> dict[str, bytes]:
        """What is uploaded besides the two packages, by its place in the working directory."""
        files = {self.place: self.file.read_bytes()}
        for other in self.others:
            below = other.relative_to(self.file.parent).as_posix()
            files[f"{TOGETHER}/{below}"] = other.read_bytes()
        for place, content in self.code.items():
            inside = place.removeprefix(f"{INSTALLED}/")
            files[f"{TOGETHER}/{place}" if inside == place else inside] = content
        return files


def lay_out(request: Request, folder: Path) -> Path:
    """The working directory to upload, laid out in ``folder``."""
    import supclap
    import supclap_platform

    for package in (supclap, supclap_platform):
        source = Path(str(package.__file__)).parent
        for pattern in CODE:
            for path in source.rglob(pattern):
                target = folder / source.name / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
    for place, content in request.uploaded().items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder


def entrypoint(request: Request) -> str:
    """The command line that the job runs."""
    words = ["python", "-m", "supclap_platform", "run", request.place, "--address", "auto"]
    return shlex.join([*words, *request.options])


def connect(address: str) -> Any:
    """A client of the cluster's job server, such as ``http://head:8265``.

    Raises:
        InputError: nothing answers there, or it does not accept this client's token.
    """
    from ray.job_submission import JobSubmissionClient

    if not address.startswith(("http://", "https://")):
        raise InputError(
            f"--address {without_password(address)}: expected http://HOST:8265, the "
            "cluster's dashboard"
        )
    try:
        return JobSubmissionClient(address)
    except Exception as error:  # Ray raises many kinds, among them bare RuntimeErrors
        shown = without_password(address)
        raise InputError(f"--address {shown}: {masked(_reason(error), address)}") from error


def submit(client: Any, request: Request, folder: Path) -> str:
    """Uploads and starts; the job's id. Raises InputError where the cluster refuses it."""
    environment = {
        "working_dir": str(lay_out(request, folder)),
        "env_vars": dict(request.env or {}),
    }
    try:
        job: str = client.submit_job(entrypoint=entrypoint(request), runtime_env=environment)
    except Exception as error:
        raise InputError(f"the cluster does not take the job: {_reason(error)}") from error
    return job


def follow(client: Any, job: str, say: Callable[[str], None]) -> int:
    """Passes the job's output to ``say`` until it ends; the exit code of its `supclap run`.

    A connection that is lost is no failure of the job: it is waited for in silence then.
    """
    try:
        asyncio.run(_tail(client, job, say))
    except Exception as error:
        say(f"the job's output is lost from here ({_reason(error)}); waiting for its end\n")
    while True:
        info = _info(client, job)
        if info is not None and str(info.status.value) in _OVER:
            break
        time.sleep(POLL)
    if info.status.value == "SUCCEEDED":
        return 0
    if info.driver_exit_code is None:
        say(f"job {job}: {info.status.value.lower()}: {info.message or 'no reason given'}\n")
    return int(info.driver_exit_code or 1)


async def _tail(client: Any, job: str, say: Callable[[str], None]) -> None:
    async for text in client.tail_job_logs(job):
        say(text)


def _info(client: Any, job: str) -> Any:
    try:
        return client.get_job_info(job)
    except (ConnectionError, OSError):
        return None
    except RuntimeError as error:  # of a proxy on the way, or for good
        if "does not exist" in str(error):
            raise
        return None


def _reason(error: Exception) -> str:
    text = gist(error, None).lower()
    if "token" in text or "authenticat" in text:
        return (
            "the cluster wants its own token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the "
            "token or RAY_AUTH_TOKEN_PATH to its file"
        )
    return gist(error)
