"""A Ray of our own: what it starts, and what it says."""

import subprocess
import sys

import pytest

OWN = """
import time
import psutil
import ray
from ray._private.utils import publish_error_to_driver
from supclap_platform.running.cluster import connected

with connected(cpus=1{options}):
    for process in psutil.Process().children(recursive=True):
        print("process:", *process.cmdline())
    for text in ("one line\\n  of a long" + " story" * 100, "another", "another"):
        gcs = ray._private.worker.global_worker.gcs_client
        publish_error_to_driver("test", text, gcs)
    time.sleep(2)  # they come by way of Ray's own server
"""


def run(options: str) -> list[str]:
    code = OWN.format(options=options)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.heavy
def test_an_own_ray_starts_what_a_run_needs_and_says_each_thing_once_in_one_line() -> None:
    lines = run("")
    started = " ".join(line for line in lines if line.startswith("process:"))
    assert "/gcs_server " in started
    assert "/raylet " in started
    for needless in ("monitor.py", "log_monitor.py", "dashboard.py"):
        assert needless not in started
    assert "--listen-port=0" in started  # of the agent: any port that is free
    told = [line for line in lines if line.startswith("Ray: ")]
    assert told[0].startswith("Ray: one line of a long story story")
    assert len(told[0]) == len("Ray: ") + 160
    assert told[1:] == ["Ray: another"]


@pytest.mark.heavy
def test_a_dashboard_is_started_where_it_is_asked_for() -> None:
    started = " ".join(run(", dashboard=True"))
    assert "dashboard.py" in started
    assert "log_monitor.py" not in started
