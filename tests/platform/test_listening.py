"""What can be reached from other machines is named, with the rule that keeps strangers out."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from supclap_platform.running.listening import Listener, advice, listening
from waiting import until

# A process that is called as a server of MLflow, on a port of loopback and one of all addresses.
SERVER = """
import socket, sys
sockets = [socket.create_server((host, 0)) for host in ("127.0.0.1", "0.0.0.0")]
print(*(one.getsockname()[1] for one in sockets), flush=True)
sys.stdin.read()
"""


@pytest.mark.heavy
def test_ports_beyond_loopback_are_found_and_no_others() -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, "mlflow server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    inside, outside = map(int, server.stdout.readline().split())
    other = socket.create_server(("0.0.0.0", 0))  # neither Ray's nor MLflow's: none of our business
    found = {one.port: one for one in listening()}
    assert found[outside] == Listener(outside, "MLflow", "0.0.0.0")
    assert inside not in found
    assert other.getsockname()[1] not in found
    other.close()
    server.communicate("")
    until(lambda: outside not in {one.port for one in listening()})


def test_the_rule_names_each_port_once() -> None:
    assert "nothing" in advice([])
    found = [
        Listener(5000, "MLflow", "0.0.0.0"),
        Listener(6379, "gcs_server", "::"),
        Listener(6379, "gcs_server", "0.0.0.0"),
    ]
    text = advice(found)
    assert "MLflow on port 5000; gcs_server on port 6379." in text
    assert "tcp dport { 5000, 6379 } drop" in text
