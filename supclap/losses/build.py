"""The loss that a configuration describes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from supclap.losses.composite import SupCLAPLoss
from supclap.losses.contrastive import ContrastiveLoss
from supclap.losses.dynamic_radius import DynamicRadius
from supclap.losses.infonce import InfoNCE
from supclap.losses.own import OwnBase
from supclap.losses.schedules import Scheduled
from supclap.losses.siglip import SigLIP
from supclap.losses.static_radius import StaticRadius
from supclap.losses.svr import SupportVectorRegularization
from supclap.parts.losses import LossTerm, Radius
from supclap.parts.making import make_part
from supclap.parts.part import Place

if TYPE_CHECKING:  # the losses themselves need no pydantic
    from supclap.config import LossConfig, SVRConfig

# Inputs of a pooled predictor: its positive and 63 bins of the sorted negatives.
POOLED_LENGTH = 64


def build_loss(
    config: LossConfig, batch_size: int, place: Place | None = None, seed: int = 0
) -> SupCLAPLoss:
    """The loss of a run whose global batch has ``batch_size`` pairs.

    Args:
        place: what parts of one's own are shown when they are made; by default the batch size.
        seed: of the run. Their first values come from it; a built-in predictor's from torch's
            global generator.

    Raises:
        ValueError: a setting out of its range, named; `PartError` for one of a part's own.
    """
    loss = _Loss(config, place or Place(batch_size=batch_size), seed)
    built = SupCLAPLoss(loss.base(), loss.svr(), terms=loss.terms())
    built.schedules = loss.schedules(built)
    built.begin_step(0, 1, seed)
    return built


class _Loss:
    """What a configuration describes, part by part."""

    def __init__(self, config: LossConfig, place: Place, seed: int) -> None:
        self.config, self.place, self.seed = config, place, seed

    def base(self) -> ContrastiveLoss:
        config, learn = self.config, self.config.learns_temperature
        temperature = None if config.temperature is None else _first(config.temperature)
        if config.name == "infonce":
            return InfoNCE(temperature or 0.07, learn, config.same_clip)
        bias = _first(config.bias)
        if config.name == "siglip":
            return SigLIP(temperature or 0.1, bias, learn, config.same_clip)
        part = self._part("base loss", config.name, config.own_keys)
        return OwnBase(part, temperature, learn, config.same_clip, bias)

    def svr(self) -> SupportVectorRegularization | None:
        config = self.config.svr
        if config is None:
            return None
        beta = 0.0 if config.radius == "static" else _first(config.constraint)
        svr = SupportVectorRegularization(
            self._radius(config), config.sides, _first(config.alpha), beta
        )
        svr.constrained = beta > 0 or (config.radius != "static" and _changes(config.constraint))
        return svr

    def _radius(self, config: SVRConfig) -> Radius:
        if config.radius == "static":
            return StaticRadius(config.initial)
        if config.radius == "dynamic":
            length = POOLED_LENGTH if config.order == "pooled" else self.place.batch_size
            return DynamicRadius(
                length, config.order, config.initial, config.width, config.detach, config.depth
            )
        common = {"initial": config.initial, "detach": config.detach}
        radius: Radius = self._part("radius", config.radius, {**common, **config.own_keys})
        return radius

    def terms(self) -> dict[str, LossTerm]:
        found = {}
        for label, config in self.config.terms.items():
            keys = {"weight": config.weight, **config.own_keys}
            found[label] = self._part("loss term", config.name, keys, label)
        return found

    def _part(self, kind: str, name: str, keys: dict[str, Any], label: str = "") -> Any:
        first = {key: _first(value) for key, value in keys.items()}
        return make_part(kind, name, first, self.place, self.seed, label)

    def schedules(self, loss: SupCLAPLoss) -> list[Scheduled]:
        """Every number that has a schedule, and how the loss takes it."""
        found = []

        def note(name: str, value: Any, put: Any) -> None:
            if _changes(value):
                found.append(Scheduled(name, value, put))

        config = self.config
        note("temperature", config.temperature, loss.base.set_temperature)
        if loss.base.partition == "sigmoid":
            note("bias", config.bias, getattr(loss.base, "set_bias", None))
        if isinstance(loss.base, OwnBase):
            for key, value in config.own_keys.items():
                note(f"base.{key}", value, partial(setattr, loss.base.part, key))
        if config.svr is not None:
            assert loss.svr is not None
            note("svr.alpha", config.svr.alpha, partial(setattr, loss.svr, "alpha"))
            if config.svr.radius != "static":
                note("svr.constraint", config.svr.constraint, partial(setattr, loss.svr, "beta"))
            for key, value in config.svr.own_keys.items():
                note(f"svr.{key}", value, partial(setattr, loss.svr.radius, key))
        for label, term in config.terms.items():
            for key, value in {"weight": term.weight, **term.own_keys}.items():
                note(f"{label}.{key}", value, partial(setattr, loss.terms[label], key))
        return found


def _changes(value: Any) -> bool:
    """Whether a key has a schedule (`supclap.number_schedule`) in the place of a number."""
    return hasattr(value, "at")


def _first(value: Any) -> Any:
    """A key's value when a run begins."""
    return value.at(0.0) if _changes(value) else value
