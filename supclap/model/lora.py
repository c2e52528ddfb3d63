"""LoRA: an encoder whose own weights stand still learns by pairs of narrow matrices beside them.

Hu et al. 2022, "LoRA: Low-rank adaptation of large language models": a layer W becomes
W + alpha / rank * B A, with A (rank, in) at random and B (out, rank) at zero. The layers are
peft's. A saved model holds the sum, so that it is a model like any other.
"""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from supclap.audio_library import torchaudio  # noqa: F401  transformers' own import would fail
from supclap.config import LoRAConfig
from supclap.errors import SettingError
from supclap.model.depth import layers_of
from supclap.parts.seeds import SETUP, seed_of
from supclap.vision_library import mend_torchvision
from supclap.wording import shown

# Modules that read the weights of their linear layers and do not call them: what stands beside
# such a layer would be left out in silence. PyTorch's does so in evaluation alone.
READERS = ("WavLMAttention", "TransformerEncoderLayer")


def check_installed(key: str) -> None:
    """Raises SettingError where peft is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise SettingError(
            key, f"{key}: needs peft, which is not installed: pip install 'supclap[lora]'"
        )


def targets_of(encoder: nn.Module, config: LoRAConfig, key: str) -> list[str]:
    """The names of the linear layers that get adapters, none of them frozen.

    By default all of the encoder's own layers (`supclap.model.depth`), else wherever the last
    parts of the name are one of ``targets``.

    Raises:
        SettingError: there is none, or none of one of these names.
    """
    linear = {name: one for name, one in _linear(encoder) if one.weight.requires_grad}
    if config.targets is None:
        within = {id(m) for layer in layers_of(encoder) for m in layer.modules()}
        names = [name for name, one in linear.items() if id(one) in within]
        if not names:
            raise SettingError(key, f"{key}: this encoder has no linear layers to adapt")
        return names
    for wanted in config.targets:
        if not any(_ends_with(name, wanted) for name in linear):
            there = sorted({name.rpartition(".")[2] for name in linear})
            raise SettingError(
                key,
                f"{key}.targets: no linear layer that could learn is called {shown(wanted)} "
                f"(there are {', '.join(there) or 'none'})",
            )
    return [name for name in linear if any(_ends_with(name, one) for one in config.targets)]


def adapt(encoder: nn.Module, config: LoRAConfig, key: str, seed: int) -> None:
    """Puts adapters into an encoder, and stops the learning of all else in it.

    Args:
        key: of the configuration, such as "model.audio.lora".
        seed: of the run; with ``key`` it decides the first values.

    Raises:
        SettingError: as `check_installed` and `targets_of` say.
    """
    check_installed(key)
    mend_torchvision()  # peft imports transformers, which otherwise fails beside a broken one
    from peft import LoraConfig, inject_adapter_in_model

    names = targets_of(encoder, config, key)
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=rf"encoder\.({'|'.join(map(re.escape, names))})",
    )
    encoder.requires_grad_(False)
    holder = nn.Module()  # an encoder's own `config` is none of peft's business
    holder.add_module("encoder", encoder)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has found a Conv1D, whose weights lie transposed
        torch.default_generator.manual_seed(seed_of(seed, SETUP, label=key))
        inject_adapter_in_model(settings, holder)


def check_called(encoder: nn.Module, key: str) -> None:
    """Raises SettingError where a backward pass has left an adapter without a gradient: the encoder
    reads that layer's weights and does not call it, and would learn nothing in silence."""
    left = [
        name
        for name, layer in _adapted(encoder)
        if any(b.weight.grad is None for b in layer.lora_B.values())
    ]
    if left:
        names = sorted({name.rpartition(".")[2] for name in left})
        raise SettingError(
            key,
            f"{key}: the encoder does not call {len(left)} of its layers ({', '.join(names)}), so "
            "that they cannot be adapted; give targets without them",
        )


def merged_weights(module: nn.Module) -> dict[str, Tensor]:
    """A module's weights by the names that they have without adapters, with what these have learned
    in them."""
    weights: dict[str, Tensor] = module.state_dict()
    for name, layer in _adapted(module):
        own = layer.get_base_layer().state_dict()
        with torch.no_grad():
            own["weight"] = own["weight"] + layer.get_delta_weight(layer.active_adapters[0])
        for key in [one for one in weights if one.startswith(f"{name}.")]:
            del weights[key]
        weights |= {f"{name}.{key}": value for key, value in own.items()}
    return weights


def merge(module: nn.Module) -> None:
    """Makes a module one without adapters, whose weights are those of `merged_weights`."""
    for name, layer in list(_adapted(module)):
        layer.merge()
        above, _, own = name.rpartition(".")
        setattr(module.get_submodule(above), own, layer.get_base_layer())


def _adapted(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, one in module.named_modules():
        if hasattr(one, "lora_B") and hasattr(one, "get_base_layer"):
            yield name, one


def _linear(encoder: nn.Module) -> Iterator[tuple[str, Any]]:
    """Linear layers that are called: PyTorch's, and the transposed ones of GPT-2."""
    for above, parent in encoder.named_modules():
        if any(one.__name__ in READERS for one in type(parent).__mro__):
            continue
        for name, child in parent.named_children():
            if type(child) is nn.Linear or type(child).__name__ == "Conv1D":
                yield f"{above}.{name}".lstrip("."), child


def _ends_with(name: str, wanted: str) -> bool:
    return f".{name}".endswith(f".{wanted}")
