"""What of Ray and MLflow here can be reached from other machines, and the rule that closes it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

RAY = ("gcs_server", "raylet")  # by the names of their processes
WORDS = {"/ray/dashboard/": "Ray's dashboard", "/ray/_private/": "Ray", "mlflow": "MLflow"}


@dataclass(frozen=True, order=True)
class Listener:
    """A port that a process listens on, on an address that is not loopback."""

    port: int
    process: str
    address: str


def listening() -> list[Listener]:
    """What of this user's Ray and MLflow listens beyond loopback, by port."""
    import psutil

    found = set()
    for process in psutil.process_iter(["name", "cmdline"]):
        name = _name(process.info["name"] or "", " ".join(process.info["cmdline"] or ()))
        if name is None:
            continue
        with suppress(psutil.Error):  # another user's, or gone meanwhile
            for one in process.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN and not _loopback(one.laddr.ip):
                    found.add(Listener(one.laddr.port, name, one.laddr.ip))
    return sorted(found)


def advice(found: Iterable[Listener]) -> str:
    """What listens, in one line, with the rule that keeps strangers from it."""
    once = {one.port: one for one in found}
    if not once:
        return "nothing of Ray or MLflow can be reached from other machines"
    each: dict[str, list[str]] = {}
    for one in once.values():
        each.setdefault(one.process, []).append(str(one.port))
    shown = "; ".join(f"{process} on port {', '.join(n)}" for process, n in each.items())
    ports = ", ".join(map(str, once))
    return (
        f"can be reached from other machines: {shown}. Let in the cluster's machines alone: "
        f"nft insert rule inet filter input ip saddr != {{ 127.0.0.1, MACHINES }} tcp dport "
        f"{{ {ports} }} drop (docs/cluster/hosts.md)"
    )


def _name(process: str, command: str) -> str | None:
    if process in RAY:
        return process
    return next((name for word, name in WORDS.items() if word in command), None)


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
