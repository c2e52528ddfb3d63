"""The job server of a Ray cluster, as `submit`, `jobs`, `logs` and `cancel` speak to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supclap.errors import INTERRUPTED, InputError
from supclap.secrets import masked, without_password
from supclap.wording import gist, one_line
from supclap_platform.running.submit import Request, entrypoint, pack

POLL = 1.0  # seconds between looks
OUTAGE = 10.0  # seconds without a connection that are passed over in silence
QUIET = 60.0  # seconds without a word, after which a connection is made anew
PATIENCE = 300.0  # seconds without any answer, after which following ends
GRACE = 60  # seconds that a cancelled run has to give its cells back; Ray's own default is 3
OVER = ("SUCCEEDED", "FAILED", "STOPPED")
EXPERIMENT, COMMAND = "supclap experiment", "supclap command"  # what a job of ours says of itself
GOES_ON = "every finished cell is kept, and the same `supclap submit` goes on"
_RAYS_OWN = re.compile(  # what Ray writes into a job's output
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\tINFO \S+\.py:\d+ -- |Running entrypoint for job "
)
_CHATTY = ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """A job of ours. Times in seconds since 1970; None: not yet."""

    name: str
    state: str
    experiment: str
    command: str
    began: float | None
    ended: float | None


class JobLost(InputError):
    """The cluster does not know the job, or does not answer any more.

    Attributes:
        look: the words of the command that may show more later, without its --address; or "".
    """

    def __init__(self, message: str, look: str = "") -> None:
        super().__init__(message)
        self.look = look


def connect(address: str) -> Any:
    """A client of the cluster's job server, such as ``http://head:8265``.

    Raises:
        InputError: nothing answers there, or it does not accept this client's token.
    """
    from ray.job_submission import JobSubmissionClient

    for name in (*_CHATTY, "ray._private.runtime_env.packaging"):
        logging.getLogger(name).setLevel(logging.WARNING)
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
    """Uploads and starts; the job's name. Raises InputError where the cluster refuses it."""
    environment = {
        "working_dir": str(pack(request, folder / "supclap.zip")),
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(GRACE), **(request.env or {})},
    }
    name = f"{re.sub('[^A-Za-z0-9_-]+', '-', request.name)}-{secrets.token_hex(3)}"
    try:
        job: str = client.submit_job(
            entrypoint=entrypoint(request),
            runtime_env=environment,
            submission_id=name,
            metadata={EXPERIMENT: request.name, COMMAND: " ".join(request.options)},
        )
    except Exception as error:
        raise InputError(f"the cluster does not take the job: {_reason(error)}") from error
    return job


def jobs_of(client: Any) -> tuple[list[Job], int]:
    """Our jobs that the cluster knows, the newest first; how many others it knows."""
    with _answering():
        known = [one for one in client.list_jobs() if one.submission_id]
    ours = [
        Job(
            name=str(one.submission_id),
            state=str(getattr(one.status, "value", one.status)),
            experiment=one.metadata[EXPERIMENT],
            command=one.metadata.get(COMMAND, ""),
            began=one.start_time and one.start_time / 1000,
            ended=one.end_time and one.end_time / 1000,
        )
        for one in known
        if EXPERIMENT in (one.metadata or {})
    ]
    return sorted(ours, key=lambda job: job.began or 0, reverse=True), len(known) - len(ours)


def choose(client: Any, name: str | None) -> str:
    """The job of a name or of its beginning; the newest where none is given.

    Raises:
        InputError: there is none, or there are several.
    """
    jobs, _ = jobs_of(client)
    if not jobs:
        raise InputError("the cluster knows no job of `supclap submit`")
    if name is None:
        return jobs[0].name
    names = [job.name for job in jobs]
    found = [one for one in names if one == name] or [one for one in names if one.startswith(name)]
    if len(found) != 1:
        shown = one_line(", ".join(found or names))
        how = "several jobs begin so" if found else "the cluster knows no such job"
        raise InputError(f"job {name}: {how} ({shown})")
    return found[0]


def logs(client: Any, job: str) -> str:
    """All that a job has said so far, without Ray's own lines."""
    said: list[str] = []
    lines = _Lines(said.append)
    with _answering():
        lines(client.get_job_logs(job))
    lines.end()
    return "".join(said)


def cancel(client: Any, job: str) -> str:
    """Ends a job as SIGTERM ends a run, and waits for it; the state that it ended in.

    Raises:
        JobLost: it is not known, or the server does not answer.
    """
    with _answering():
        client.stop_job(job)
    since = time.monotonic()
    while True:
        info = _info(client, job)
        if info is not None and str(info.status.value) in OVER:
            return str(info.status.value)
        if time.monotonic() - since > GRACE + PATIENCE:
            raise JobLost(f"job {job}: it does not end", "jobs")
        time.sleep(POLL / 4)


def follow(client: Any, job: str, say: Say, warn: Say, patience: float = PATIENCE) -> int:
    """Passes the job's output to ``say`` until it ends; the exit code of its `supclap run`, 1 where
    that was killed.

    A connection that is lost is no failure of the job: what it says meanwhile comes after. One that
    is away for a while is said to ``warn``.

    Raises:
        JobLost: the cluster has forgotten the job, or does not answer for ``patience`` seconds.
    """
    lines = _Lines(say)
    listener = _Listener(lines)
    since, said = time.monotonic(), False
    while True:
        whole = False
        try:
            asyncio.run(listener.hear(client, job))
            whole = True
        except TimeoutError:  # quiet, or a connection that died while this machine was asleep
            pass
        except Exception as error:  # of the connection, whichever library it is of
            if not said and time.monotonic() - since > OUTAGE:
                warn(f"no connection to the job ({_reason(error)}); trying again")
                said = True
        info = _info(client, job)
        if info is not None:
            since, said = time.monotonic(), False
            if str(info.status.value) in OVER:
                break
        elif time.monotonic() - since > patience:
            raise JobLost(
                f"job {job}: the cluster has not answered for {patience:.0f} s; the job may go on",
                f"logs {job} --follow",
            )
        time.sleep(POLL)
    if not whole:
        with contextlib.suppress(Exception):  # what came before is shown all the same
            lines(client.get_job_logs(job)[listener.heard :])
    lines.end()
    if info.status.value == "SUCCEEDED":
        return 0
    code = info.driver_exit_code
    if code is None:
        warn(f"job {job}: {info.status.value.lower()}: {info.message or 'no reason given'}")
    elif _killed_by(code):
        warn(f"job {job}: its `supclap run` was killed by {_killed_by(code)}; {GOES_ON}")
        return 1
    return int(code or 1)


class _Lines:
    """Says whole lines, but not those of Ray itself."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._begun = ""

    def __call__(self, text: str) -> None:
        *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            if not _RAYS_OWN.match(line):
                self._say(f"{line}\n")

    def end(self) -> None:
        """Says a last line that has no end."""
        if self._begun:
            self._say(self._begun)
        self._begun = ""


class _Listener:
    """Says a job's output once, over any number of connections: each begins with all of it.

    Attributes:
        heard: characters so far.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self.heard = 0

    async def hear(self, client: Any, job: str) -> None:
        """Listens to the end. Raises TimeoutError where nothing comes for `QUIET` seconds, and
        whatever the connection raises."""
        came = 0
        stream = client.tail_job_logs(job)
        while True:
            try:
                text = await asyncio.wait_for(anext(stream), QUIET)
            except StopAsyncIteration:
                return
            came += len(text)
            new = min(len(text), came - self.heard)
            if new > 0:
                self._say(text[-new:])
                self.heard = came


def _killed_by(code: int) -> str:
    """The signal that has ended a process of an exit code, in words; empty where none has. A run
    that was asked to stop has ended by itself, and has said so."""
    number = -code if code < 0 else code - 128  # as Python has it, and as a shell
    if code == INTERRUPTED or number not in set(signal.Signals):
        return ""
    name = signal.Signals(number).name
    return f"{name} (out of memory?)" if number == signal.SIGKILL else name


def _info(client: Any, job: str) -> Any:
    """What the cluster says of a job; None where it does not answer. Raises JobLost."""
    try:
        return client.get_job_info(job)
    except Exception as error:  # of a proxy on the way, of a server that starts; or for good
        if "does not exist" in str(error):
            raise JobLost(
                f"job {job}: the cluster no longer knows it (its head has restarted?); {GOES_ON}"
            ) from None
        return None


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if "does not exist" in str(error):
            raise JobLost("the cluster knows no such job") from None
        raise JobLost(f"the cluster does not answer: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    text = gist(error, None).lower()
    if "token" in text or "authenticat" in text:
        return (
            "the cluster wants its own token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the "
            "token or RAY_AUTH_TOKEN_PATH to its file"
        )
    return gist(error)
