"""Which network interface the workers of a cell speak over, when they lie on several machines.

PyTorch asks the system what the machine's own name means. On Debian that is 127.0.1.1, elsewhere
nothing at all, and workers of other machines are then given an address that leads to themselves.
Ray knows an address of each node that the others have reached it by: the interface that has it is
the one.
"""

from __future__ import annotations

import os
from typing import Any

import psutil
import ray
from ray.train.torch import TorchConfig

# What PyTorch's two ways of speaking read; what a user has set stays.
SETTINGS = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def interface_of(address: str) -> str | None:
    """The interface of this machine that has an address; None where none has it, as behind a
    translation of addresses."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address.partition("%")[0] == address for one in addresses):
            return str(name)
    return None


def use_rays_interface(address: str | None = None) -> None:
    """Names to PyTorch the interface that Ray reaches this node by.

    Args:
        address: as Ray knows this node; by default it is asked.
    """
    found = interface_of(address or ray.util.get_node_ip_address())
    if found is not None:
        for name in SETTINGS:
            os.environ.setdefault(name, found)


class _Named(TorchConfig().backend_cls):  # type: ignore[misc]
    """Ray Train's set-up of PyTorch's processes, after each of them knows its interface.

    Workers of one machine are left as they are: they reach each other by any address, also where
    the one that Ray knows goes away, as a laptop's does.
    """

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        if len(set(worker_group.execute(ray.util.get_node_ip_address))) > 1:
            worker_group.execute(use_rays_interface)
        super().on_start(worker_group, backend_config)


class NamedInterface(TorchConfig):
    """PyTorch under Ray Train, over the interfaces that Ray itself uses."""

    @property
    def backend_cls(self) -> type[_Named]:
        return _Named
