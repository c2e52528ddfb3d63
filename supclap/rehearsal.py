"""A loss of one's own is tried on random pairs before anything starts.

A loss without parts of one's own is not tried, and needs no PyTorch here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from supclap import registry
from supclap.config import LossConfig, RunConfig
from supclap.errors import SettingError

MOST_PAIRS, MOST_WIDTH = 512, 32  # of the batch that is tried
STEPS = 1_000


def rehearse_loss(config: RunConfig) -> None:
    """Takes the loss of a run, and its gradient, at the run's start and end.

    Each configuration of a loss is tried once in a process.

    Raises:
        SettingError: a part of one's own fails or gives what it should not; names its source.
    """
    makes = tuple(part.make for part in _own(config.loss))
    if makes:
        pairs, width = min(config.batch_size, MOST_PAIRS), min(config.model.dim, MOST_WIDTH)
        shown = pairs, width, config.data.languages, config.epochs
        _rehearse(config.loss.model_dump_json(), shown, makes)


def _own(loss: LossConfig) -> Iterator[registry.Registered]:
    named = [("base loss", loss.name)] + [("loss term", term.name) for term in loss.terms.values()]
    if loss.svr is not None:
        named.append(("radius", loss.svr.radius))
    yield from (part for kind, name in named if (part := registry.own(kind, name)) is not None)


@lru_cache(maxsize=1_000)
def _rehearse(values: str, shown: tuple[Any, ...], makes: tuple[Callable[..., Any], ...]) -> None:
    """``makes``: the classes behind the names, which another file's may be tomorrow."""
    import torch

    from supclap.losses import build_loss
    from supclap.parts.calling import PartError, wrong
    from supclap.parts.part import Place

    config, place = LossConfig.model_validate_json(values), Place(*shown)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        try:
            loss = build_loss(config, place.batch_size, place)
            # The second time a clip stands in the batch twice, where that leaves any negative.
            ids = (torch.arange(place.batch_size) - 1).clamp(min=0)
            for step, clips in ((0, None), (STEPS - 1, ids if len(ids) > 2 else None)):
                loss.begin_step(step, STEPS)
                sides = [torch.randn(place.batch_size, place.dim) for _ in range(2)]
                audio, text = (torch.nn.functional.normalize(one, dim=1) for one in sides)
                output = loss(audio.requires_grad_(), text.requires_grad_(), clips)
                for label, part in loss.own_parts.items():
                    logged = {n: v for n, v in output.numbers.items() if n.startswith(f"{label}.")}
                    for name, value in {label: output.parts[label], **logged}.items():
                        if not value.isfinite():
                            what = f"train.{name} is {value.item()} for random pairs"
                            raise wrong(part, "forward", what)
                output.total.backward()
                leaves = [audio, text, *loss.parameters()]
                if not all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in leaves):
                    raise wrong(
                        next(iter(loss.own_parts.values()), loss.svr and loss.svr.radius),
                        "forward",
                        "its gradient is not finite for random pairs",
                    )
        except PartError as error:
            raise SettingError(_key(error.kind, error.label), str(error)) from None
        except ValueError as error:
            raise SettingError("loss", f"loss: {error}") from None


def _key(kind: str, label: str) -> str:
    """The key of a part in a run's configuration."""
    keys = {"base loss": "loss.name", "radius": "loss.svr.radius"}
    return keys.get(kind, f"loss.terms.{label}")
