"""A Ray of our own: what it starts, and what it says."""

import subprocess
import sys

import pytest
from supclap_platform.running.ray_internals import sparing
from waiting import PATIENCE

OWN = """
import sys
import time
import psutil
import ray
from ray._private.utils import publish_error_to_driver
from supclap_platform.running.cluster import connected

shown, write = [], sys.stdout.write
sys.stdout.write = lambda text: (shown.extend(text.splitlines()), write(text))[1]
with connected(cpus=1):
    for process in psutil.Process().children(recursive=True):
        print("process:", *process.cmdline())
    for text in ("one line\\n  of a long" + " story" * 100, "another", "another", "the last"):
        gcs = ray._private.worker.global_worker.gcs_client
        publish_error_to_driver("test", text, gcs)
    while "Ray: the last" not in shown:  # they come by way of Ray's own server
        time.sleep(0.05)
"""


def run() -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", OWN], capture_output=True, text=True, timeout=PATIENCE
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.heavy
def test_an_own_ray_starts_what_a_run_needs_and_says_each_thing_once_in_one_line() -> None:
    lines = run()
    started = " ".join(line for line in lines if line.startswith("process:"))
    assert "/gcs_server " in started
    assert "/raylet " in started
    for needless in ("monitor.py", "log_monitor.py", "dashboard.py"):
        assert needless not in started
    assert "--listen-port=0" in started  # of the agent: any port that is free
    told = [line for line in lines if line.startswith("Ray: ")]
    assert told[0].startswith("Ray: one line of a long story story")
    assert len(told[0]) == len("Ray: ") + 160
    assert told[1:] == ["Ray: another", "Ray: the last"]


STRICT = """
from ray._private import node, parameter
whole = node.Node.__init__
def strict(self, *others, ray_params, **more):
    assert isinstance(ray_params, parameter.RayParams)
    whole(self, *others, ray_params=ray_params, **more)
node.Node.__init__ = strict
"""
ANOTHER_RAY = """
import ray._private.worker
{change}
import ray
from supclap_platform.running.cluster import connected
with connected(cpus=1):
    print("answer:", ray.get(ray.remote(lambda: 6 * 7).remote()))
"""


@pytest.mark.heavy
@pytest.mark.parametrize(
    "change",
    [
        "del ray._private.worker.print_to_stdstream",  # what is replaced is not there
        STRICT,  # it is there, and a start with the changes fails
    ],
)
def test_a_ray_that_is_another_inside_is_used_with_its_public_settings(change: str) -> None:
    code = ANOTHER_RAY.format(change=change)
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE
    )
    assert ran.returncode == 0, ran.stderr
    assert "answer: 42" in ran.stdout


def test_what_is_changed_inside_ray_is_put_back_and_what_is_absent_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray._private import parameter, services

    whole = parameter.RayParams, services.start_api_server
    with sparing():
        assert parameter.RayParams(num_cpus=1).no_monitor is True
        assert services.start_api_server() == ("", None)
    assert (parameter.RayParams, services.start_api_server) == whole

    class Later:
        def __init__(self, no_monitor: bool = False) -> None:
            self.no_monitor = no_monitor

    monkeypatch.setattr(parameter, "RayParams", Later)
    monkeypatch.delattr(services, "start_api_server")
    with sparing():
        assert parameter.RayParams().no_monitor is True  # the other settings it does not know
        assert not hasattr(services, "start_api_server")
    monkeypatch.delattr(parameter, "RayParams")
    with sparing():
        assert not hasattr(parameter, "RayParams")
