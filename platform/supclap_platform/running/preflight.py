"""Whether a node of a cluster has what cells need: asked of every node before the first of them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from supclap.errors import InputError
from supclap.secrets import masked
from supclap.wording import gist
from supclap_platform.ledger.ledger import open_ledger
from supclap_platform.ledger.staleness import code_of_package
from supclap_platform.running.node_check import check_code, unseen
from supclap_platform.running.task import Task

SECONDS = 5.0  # in which all nodes answer together; of one that takes longer see `Nodes.doubt`


@dataclass(frozen=True)
class Questions:
    """What a node is asked.

    storage: path or URI. marker: a file there that the driver has just written. code: the driver's,
    as a hash. tasks: one for each kind of data. gpus: how many Ray says that the node has.
    """

    storage: str
    marker: str
    code: str
    tasks: tuple[tuple[str, Task], ...] = ()
    gpus: int = 0
    fetching: bool = True


@dataclass(frozen=True)
class Answers:
    """What a node lacks. ``data``: by its kind, as the questions have it. ``cards``: the memory of
    each device, in MB."""

    lacks: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    cards: tuple[float, ...] = ()


def answer(questions: Questions) -> Answers:
    """What this node lacks of storage, code, devices and data."""
    missing: dict[str, str] = {}
    seen: set[Any] = set()
    try:
        _check_storage(questions)
        # Before a run each task's own modules, and no others, are compared.
        if not questions.tasks or not questions.fetching:
            _check_code(questions.code)
        cards = _check_devices(questions.gpus)
        for kind, task in questions.tasks:
            check_code(task)
            try:
                if questions.fetching:
                    task.method.check_data(task.configuration(), seen)
                else:
                    _look_for_needs(task)
            except InputError as error:
                missing[kind] = str(error)
    except InputError as error:
        return Answers(str(error))
    except OSError as error:
        return Answers(masked(gist(error, None), questions.storage))
    return Answers("", missing, cards)


def _look_for_needs(task: Task) -> None:
    """Raises InputError where this node lacks something that lies outside of the experiment's file
    and that a run would not fetch by itself."""
    for need in task.method.needs(task.configuration()):
        fault = need.fault() if need.awaited(SECONDS) is None else None
        if fault is not None:
            raise InputError(fault)


def _check_storage(questions: Questions) -> None:
    """Raises InputError where this node does not see the driver's storage, or cannot write."""
    storage = open_ledger(questions.storage).storage
    if not storage.exists(questions.marker):
        raise InputError(unseen(questions.storage))
    own = f"{questions.marker}-{secrets.token_hex(4)}"
    try:
        storage.write(own, b"")
        storage.delete(own)
    except OSError as error:
        text = masked(gist(error), questions.storage)
        raise InputError(f"it cannot write to the storage: {text}") from None


def _check_code(code: str) -> None:
    """Raises InputError where this node has another SupCLAP than the driver."""
    own = code_of_package()
    if own != code:
        raise InputError(
            f"it has SupCLAP {own}, the driver has {code}: install the same on every node, or use "
            "`supclap submit`, which uploads it"
        )


def cards_here() -> tuple[float, ...]:
    """The memory of each device of this machine, in MB."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides devices from who reserves none
    from supclap.device_share import cards

    return cards()


def _check_devices(count: int) -> tuple[float, ...]:
    """The memory of the devices. Raises InputError where one that Ray counts on does not
    compute."""
    if not count:
        return ()
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides devices from who reserves none
    import torch

    found = torch.cuda.device_count()
    if found < count:
        raise InputError(f"PyTorch finds {found} of its {count} GPUs (driver, or a build for CPUs)")
    for number in range(count):
        try:
            torch.ones(8, device=f"cuda:{number}").sum().item()
        except RuntimeError as error:
            raise InputError(f"its GPU {number} does not compute: {gist(error)}") from None
    return cards_here()
