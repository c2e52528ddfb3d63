"""What is measured: by which epoch a run is judged, on which further sets, with which metrics."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, field_validator

from supclap.config.data import DataConfig
from supclap.config.values import FEATURES, by_name
from supclap.open_section import OpenSection
from supclap.section import Section


class SelectConfig(Section):
    """Which epoch is the result. The paper's own protocol is ``split: test`` (a leak; say so)."""

    split: Literal["val", "test", "last"] = "val"
    metric: str = "t2a.R@1"


# What says of a DataConfig which clips there are; the rest is about training on them.
_PLACE = {"soundscenes": {"name", "clips", "seed", "seconds", "events"}}
_PLACE["collection"] = {"name", "folder"}
_PLACE[FEATURES] = {"name", "folder", "arrays"}


class AlsoConfig(Section):
    """A further test set, measured at the end: retrieval where it has captions in the run's
    languages, zero-shot classification where its clips have single labels of several classes."""

    # Where it lies; null: the run's own data. Clips are cut to the model's length.
    data: Annotated[DataConfig | None, BeforeValidator(by_name)] = None
    split: str = "test"

    @field_validator("data")
    @classmethod
    def _only_a_place(cls, data: DataConfig | None) -> DataConfig | None:
        if data is not None:
            default = DataConfig.model_validate(
                {"name": data.name, "folder": data.folder, "arrays": data.arrays, **data.own_keys}
            )
            place = _PLACE.get(data.name, _PLACE["collection"])
            for name in sorted(DataConfig.model_fields.keys() - place):
                if getattr(data, name) != getattr(default, name):
                    raise ValueError(
                        f"'{name}' has no meaning for a further test set of {data.name} (valid: "
                        f"{', '.join(sorted(place))})"
                    )
        return data


class MetricConfig(OpenSection):
    """A metric of one's own, with its keys."""

    names_part = ("name", "metric")

    name: str
