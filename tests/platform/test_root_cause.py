"""What is shown of an error that Ray Train has wrapped."""

from __future__ import annotations

import pytest
from supclap_platform.running.root_cause import root_cause

pytestmark = pytest.mark.heavy  # imports Ray

GLOO = """[enforce fail at gloo/transport/tcp/device.cc:84] ifa != nullptr.
Unable to find address for: eth7"""


def started_badly() -> Exception:
    """A start that failed in a task of one worker."""
    import ray.exceptions
    from ray.train import ControllerError

    frames = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    f()'
    task = ray.exceptions.RayTaskError(
        "execute", f"{frames}\nRuntimeError: {GLOO}", RuntimeError(GLOO)
    )
    return ControllerError(task.as_instanceof_cause())


def ended_badly(*errors: Exception) -> Exception:
    from ray.train import WorkerGroupError
    from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

    wrapped = {
        rank: UserExceptionWithTraceback(error, f"Traceback ...\n{error}")
        for rank, error in enumerate(errors)
    }
    return WorkerGroupError("see above", wrapped)


def test_the_cause_of_a_start_that_failed_is_shown_whole() -> None:
    whole = "RuntimeError: [enforce fail at gloo/transport/tcp/device.cc:84] ifa != nullptr. "
    assert root_cause(started_badly()) == whole + "Unable to find address for: eth7"


def test_a_worker_s_message_of_several_lines_is_shown_whole() -> None:
    error = ended_badly(ValueError("first line\n\n  second line"))
    assert root_cause(error) == "ValueError: first line second line"


def test_what_only_echoes_another_worker_s_end_is_not_the_cause() -> None:
    echo = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]")
    assert root_cause(ended_badly(echo, MemoryError())) == "MemoryError"
    assert "Connection closed by peer" in root_cause(ended_badly(echo))  # where none else is known


def test_any_other_error_says_what_it_says() -> None:
    assert root_cause(OSError(28, "No space left on device")) == (
        "OSError: [Errno 28] No space left on device"
    )


def test_the_interface_is_the_one_that_has_rays_address_and_a_user_s_setting_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import os

    from supclap_platform.running.interface import interface_of, use_rays_interface

    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("192.0.2.1") is None  # of documentation: no machine has it
    use_rays_interface("192.0.2.1")
    assert "GLOO_SOCKET_IFNAME" not in os.environ
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth7")
    use_rays_interface("127.0.0.1")
    assert (os.environ["GLOO_SOCKET_IFNAME"], os.environ["NCCL_SOCKET_IFNAME"]) == ("eth7", "lo")
