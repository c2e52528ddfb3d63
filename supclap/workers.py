"""The processes of one run: one, several started here, or those a launcher has set up already.

The training loop is the same function in every process. What it needs of the others goes through
`Workers`: who am I, wait for all, one value for all, rows from all, the mean of the gradients.
"""

from __future__ import annotations

import atexit
import importlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from supclap.batches import part_of
from supclap.errors import InputError
from supclap.exchange import exchange, introduce, meet
from supclap.patience import MARGIN, TIMEOUT
from supclap.wording import counted, gist

Value = TypeVar("Value")


@dataclass(frozen=True)
class Workers:
    """This process among the ``size`` processes of a run, and the device it computes on.

    Where another one does not come to what they do together, its methods raise
    `supclap.exchange.WorkerMissing`, which names it.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def current(cls, timeout: timedelta = TIMEOUT) -> Workers:
        """Joins the run that this process belongs to.

        That is an initialised torch.distributed (as Ray Train leaves it), else the one that the
        environment of torchrun describes, else a run of one process.

        Args:
            timeout: how long it waits for the others before it gives up.

        Raises:
            InputError: the environment names several workers but they do not find each other, or
                more of them on this machine than it has GPUs.
        """
        if not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", 1)) > 1:
            check_devices(_beside(), "torchrun --nproc-per-node")
            join()
        if not dist.is_initialized():
            return cls(device=own_device(0))
        local = int(os.environ.get("LOCAL_RANK", dist.get_rank()))
        found = cls(dist.get_rank(), dist.get_world_size(), own_device(local))
        introduce(found.device, timeout)
        return found

    @property
    def first(self) -> bool:
        """Whether this is the one that reads and writes the run's folder."""
        return self.rank == 0

    def wait(self) -> None:
        """Returns when every worker has come here."""
        if self.size > 1:
            meet("a point where all meet")

    def from_first(self, make: Callable[[], Value]) -> Value:
        """Rank 0's value of ``make`` on every worker; an InputError of it is raised on every one.

        The value must be picklable. Tensors come to the CPU.
        """
        if self.size == 1:
            return make()
        sent: list[Any] = [None, None]
        if self.first:
            try:
                sent = [make(), None]
            except InputError as error:
                sent = [None, str(error)]
        meet("what rank 0 makes for all")
        dist.broadcast_object_list(sent, src=0, device=self._talk)
        value, fault = sent
        if fault is not None:
            raise InputError(fault)
        return value

    def part(self, length: int) -> slice:
        """This worker's contiguous part of ``length`` rows."""
        return part_of(length, self.rank, self.size)

    def gather(self, rows: torch.Tensor, length: int) -> torch.Tensor:
        """(length, ...) from every worker's ``part(length)`` of it; no gradient passes."""
        if self.size == 1:
            return rows.detach()
        # Parts differ by one row at most, and the collective wants them equal: pad, then cut.
        longest = -(-length // self.size)
        padded = rows.new_zeros(longest, *rows.shape[1:])
        padded[: len(rows)] = rows.detach()
        every = [torch.empty_like(padded) for _ in range(self.size)]
        exchange(lambda: dist.all_gather(every, padded, async_op=True), "rows of each rank")
        lengths = [part_of(length, rank, self.size) for rank in range(self.size)]
        parts = zip(every, lengths, strict=True)
        return torch.cat([part[: at.stop - at.start] for part, at in parts])

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Every gradient becomes its mean over the workers.

        One flat all-reduce after the backward pass instead of DDP's hooks: accumulation in chunks
        runs many backward passes a step, of which only the last may be averaged; a frozen encoder
        or a radius without gradient needs no special flag; and the order of the summation is the
        same in every step, which a bit-identical resume depends on. What DDP would win, overlap of
        the exchange with the backward pass, is little beside encoders of this size.
        """
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        exchange(lambda: dist.all_reduce(flat, async_op=True), "the mean of the gradients")
        flat /= self.size
        for gradient, mean in zip(
            gradients, flat.split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(mean.view_as(gradient))

    def same_start(self, *modules: torch.nn.Module) -> None:
        """Rank 0's parameters and buffers on every worker."""
        if self.size == 1:
            return
        for module in modules:
            for tensor in module.state_dict().values():
                begin = partial(dist.broadcast, tensor, src=0, async_op=True)
                exchange(begin, "the parameters that all start from")

    @property
    def _talk(self) -> torch.device:
        """Where objects are packed for the wire: NCCL speaks only from the GPU."""
        return self.device if dist.get_backend() == "nccl" else torch.device("cpu")


def more_than_devices(workers: int) -> bool:
    """Whether several workers of this machine would have to share GPUs, of which it has some: two
    on one die within NCCL, which only says that a call was invalid."""
    return workers > 1 and torch.cuda.is_available() and workers > torch.cuda.device_count()


def check_devices(workers: int, option: str) -> None:
    """Raises InputError where `more_than_devices`; ``option``: what asks for so many."""
    if more_than_devices(workers):
        found = torch.cuda.device_count()
        raise InputError(
            f"{option} {workers}: this machine has {counted(found, 'GPU')}, and NCCL refuses two "
            f"workers on one; give {option} {found}, or CUDA_VISIBLE_DEVICES= to train on the CPU"
        )


def _beside() -> int:
    """How many workers of a run are on this machine, as far as the environment says: torchrun how
    many, others only which one of them this process is."""
    least = int(os.environ.get("LOCAL_RANK", 0)) + 1
    return int(os.environ.get("LOCAL_WORLD_SIZE", least))


def join(**where: Any) -> None:
    """Initialises torch.distributed; without arguments from the environment, as torchrun sets it.

    Raises:
        InputError: the workers do not find each other.
    """
    # Workers of one machine talk over its loopback, whatever its host name resolves to.
    if where.get("init_method", "").startswith("file:") and os.path.exists("/sys/class/net/lo"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # Its functions take the group of the moment of their import as a default and hold it for good:
    # imported after this (PyTorch's optimizers do), they would keep gloo's threads alive to the
    # end of the process, which those threads may abort (PyTorch 2.13).
    importlib.import_module("torch.distributed.nn.functional")
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=TIMEOUT + MARGIN, **where)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"the workers of this run do not find each other: {gist(error)}") from None
    atexit.register(_leave)


def _leave() -> None:
    """Leaves the group before the process ends: its threads may abort one that just ends."""
    if dist.is_initialized():
        dist.destroy_process_group()


def own_device(local_rank: int) -> torch.device:
    """This worker's device. On a GPU the algorithms that give the same bits every time are asked
    for, as a bit-identical resume depends on them; those of a CPU do so anyway."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    device = torch.device("cuda", local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device
