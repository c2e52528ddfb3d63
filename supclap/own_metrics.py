"""The metrics of one's own that a run measures beside retrieval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from supclap import registry
from supclap.config import MetricConfig
from supclap.divergence import TrainingError
from supclap.inputs import SplitInputs
from supclap.metric_names import OwnName, own_names
from supclap.parts.calling import calling, named, wrong
from supclap.parts.metric import Embeddings, Metric
from supclap.wording import shown


class OwnMetrics:
    """The metrics that a configuration names, with their keys."""

    def __init__(self, metrics: Mapping[str, MetricConfig]) -> None:
        self._parts: dict[str, Metric] = {}
        self._names: dict[str, list[OwnName]] = {}
        for label, section in metrics.items():
            made = registry.class_of("metric", section.name)
            with calling(made, "__init__"):
                self._parts[label] = made(**section.own_keys)
            self._names[label] = own_names({label: section})

    def measure(self, audio: Tensor, text: Tensor, inputs: SplitInputs) -> dict[str, float]:
        """What they say of a split's embeddings, under the names without the split.

        Args:
            audio: (M, d) embeddings of the clips; text: (Q, d) those of the captions.
            inputs: the split.

        Raises:
            PartError: a metric that fails, or does not give a number for each of its names.
        """
        split = Embeddings(
            audio,
            text,
            torch.from_numpy(inputs.caption_rows).to(audio.device),
            tuple(inputs.clips.clip_ids),
            tuple(tuple(labels) for labels in inputs.clips.labels),
            tuple(inputs.caption_languages),
        )
        values = {}
        for label, part in self._parts.items():
            given = replace(
                split,
                audio=audio.clone(),
                text=text.clone(),
                caption_clips=split.caption_clips.clone(),
            )
            with torch.no_grad(), calling(part, "measure"):
                found = part.measure(given)
            for name in self._names[label]:
                values[name.short] = _number(part, found, name.name)
        return values

    def check(self, values: Mapping[str, float], split: str) -> None:
        """Raises TrainingError where one of its numbers is not finite."""
        for label, part in self._parts.items():
            for name in self._names[label]:
                value = values[f"{split}.{name.short}"]
                if not math.isfinite(value):
                    raise TrainingError(f"{named(part)}: {split}.{name.short} is {value}")

    def try_on(self, inputs: SplitInputs, dim: int) -> None:
        """Measures random embeddings in the place of a split's. Raises PartError as `measure`."""
        generator = torch.Generator().manual_seed(0)
        audio, text = (
            torch.nn.functional.normalize(torch.randn(count, dim, generator=generator), dim=1)
            for count in (len(inputs.clips), len(inputs.caption_rows))
        )
        self.measure(audio, text, inputs)


def _number(part: Metric, found: Any, name: str) -> float:
    if not isinstance(found, Mapping):
        gave = f"a {type(found).__name__}"
        raise wrong(part, "measure", f"gave {gave}, where a number for each name is expected")
    odd = sorted(map(str, found.keys() - set(part.names)))
    if odd:
        declared = ", ".join(part.names)
        raise wrong(part, "measure", f"gave '{odd[0]}', which its names do not have ({declared})")
    if name not in found:
        raise wrong(part, "measure", f"gave no '{name}', which its names have")
    value = found[name]
    if isinstance(value, Tensor) and value.ndim == 0 and not value.dtype.is_complex:
        value = value.item()
    if not isinstance(value, Real) or isinstance(value, bool):
        raise wrong(part, "measure", f"gave {shown(value)} as '{name}', where a number is expected")
    return float(value)
