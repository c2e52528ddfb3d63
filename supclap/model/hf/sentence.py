"""A folder that sentence-transformers wrote: an encoder and the modules behind it, in their order.

Read here without sentence-transformers: Transformer, Pooling, Dense, LayerNorm and Normalize.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supclap.config import TextConfig
from supclap.errors import InputError
from supclap.hub import located
from supclap.model.hf.opening import kept
from supclap.model.hf.text import KEY, States, first, last, mean
from supclap.model.pretrained import WEIGHTS, check_folder, pour, read_checkpoint, read_weights
from supclap.model.registry import Source
from supclap.model.tokens import Tokens
from supclap.wording import shown

MODULES, PROMPTS, LIMITS = (
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
)
PICKLED = "pytorch_model.bin"
MODES = ("cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken")  # in this order
# What a Pooling's config.json calls each mode, unless it names them in a list.
FLAGS = {mode: f"pooling_mode_{mode}_tokens" for mode in MODES}
FLAGS |= {"cls": "pooling_mode_cls_token", "lasttoken": "pooling_mode_lasttoken"}
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")


class SentenceTransformer(nn.Module):
    """A model of sentence-transformers with its pretrained weights and all its modules.

    A text is stripped, put behind the prefix (by default the folder's own default prompt), and cut
    to the folder's longest.

    Raises:
        InputError: as of a text encoder of transformers; a module of another kind.
    """

    def __init__(self, config: TextConfig, source: Source) -> None:
        super().__init__()
        folder = None if source.files else located(str(config.folder), KEY)
        if folder is not None:
            check_folder(folder, config.name, KEY)
        self._kept: dict[str, bytes] = {}
        stages = self._stages(source, folder)
        below, limits, prompts = self._of_the_encoder(source, folder, stages)
        longest = limits.get("max_seq_length")
        self.states = States(source, below, longest if isinstance(longest, int) else None)
        self.lower = bool(limits.get("do_lower_case", False))
        self.prefix = _prefix(config.own_keys["prefix"], prompts)
        self.width = self.states.width
        self.pooling: list[str] = []
        self.behind = nn.ModuleList()
        for kind, path in stages:
            self._add(source, folder, kind, path)
        if not self.pooling:
            raise InputError(f"{_place(folder, MODULES)}: names no Pooling behind the encoder")

    def files(self) -> dict[str, bytes]:
        """What the model folder must hold besides weights."""
        return self.states.kept | self._kept

    def tokenize(self, texts: list[str], languages: list[str]) -> Tokens:
        """N texts -> tokens of shape (N, L), each with the prefix before it."""
        given = [(self.prefix + text).strip() for text in texts]
        return self.states.tokenize([text.lower() for text in given] if self.lower else given)

    def forward(self, tokens: Tokens) -> Tensor:
        """Tokens of shape (N, L) -> (N, width)."""
        states = self.states(tokens)
        found = torch.cat([POOLING[mode](states, tokens.mask) for mode in self.pooling], dim=1)
        for module in self.behind:
            found = module(found)
        return found

    def _stages(self, source: Source, folder: Path | None) -> list[tuple[str, str]]:
        """The modules behind the encoder, each with its kind and its folder; first the encoder."""
        listed = self._read(source, folder, MODULES)
        where = _place(folder, MODULES)
        try:
            found = [(str(one["type"]).rpartition(".")[2], str(one["path"])) for one in listed]
        except (TypeError, KeyError, AttributeError):
            raise InputError(f"{where}: is no list of sentence-transformers' modules") from None
        for _, path in found:
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise InputError(f"{where}: {shown(path)} does not stay inside the folder")
        if not found or found[0][0] != "Transformer":
            first_one = found[0][0] if found else "nothing"
            raise InputError(f"{where}: begins with {first_one}, expected a Transformer")
        return found

    def _of_the_encoder(
        self, source: Source, folder: Path | None, stages: list[tuple[str, str]]
    ) -> tuple[Path | None, dict[str, Any], dict[str, Any]]:
        """Where the encoder lies, its limits, and the prompts."""
        _, path = stages.pop(0)
        below = None if folder is None else folder / path
        limits = self._read(source, folder, str(PurePosixPath(path, LIMITS)), optional=True)
        prompts = self._read(source, folder, PROMPTS, optional=True)
        return below, limits, prompts

    def _add(self, source: Source, folder: Path | None, kind: str, path: str) -> None:
        if kind == "Normalize":
            self.behind.append(Normalize())
        elif kind == "Dropout":
            pass  # the run's own, `model.dropout`, is inside the encoder
        elif kind == "Pooling":
            name = f"{path}/config.json"
            values = self._read(source, folder, name)
            self.pooling = _modes(values, _place(folder, name))
            if self.prefix and values.get("include_prompt") is False:
                raise InputError(
                    f"{_place(folder, name)}: include_prompt: false leaves a prompt out of the "
                    'pooling, which is not done here; give prefix: ""'
                )
            self.width *= len(self.pooling)
        elif kind in ("Dense", "LayerNorm"):
            name = f"{path}/config.json"
            values, where = self._read(source, folder, name), _place(folder, name)
            made = (_dense if kind == "Dense" else _norm)(values, self.width, where)
            self.width = made.width
            if folder is not None:
                _pour(made, folder / path)
            self.behind.append(made)
        else:
            known = "Transformer, Pooling, Dense, LayerNorm, Normalize"
            raise InputError(
                f"{_place(folder, MODULES)}: has a module {shown(kind)}; read are {known}"
            )

    def _read(self, source: Source, folder: Path | None, name: str, optional: bool = False) -> Any:
        """A JSON file; an empty mapping where it may be left out and is."""
        there = (folder / name).is_file() if folder is not None else name in source.files
        if optional and not there:
            return {}
        content = kept(source, folder, name)
        try:
            values = json.loads(content)
        except (ValueError, RecursionError):
            raise InputError(f"{_place(folder, name)}: is not JSON (truncated?)") from None
        if name != MODULES and not isinstance(values, dict):
            raise InputError(f"{_place(folder, name)}: expected keys and values")
        self._kept[name] = content
        return values


class Normalize(nn.Module):
    """Brings each row to length 1."""

    def forward(self, given: Tensor) -> Tensor:
        """(N, width) -> (N, width)."""
        return F.normalize(given, dim=1)


class Dense(nn.Module):
    """A linear layer and an activation, under the names of sentence-transformers' state."""

    def __init__(self, given: int, width: int, bias: bool, activation: nn.Module) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(given, width, bias=bias)
        self.activation = activation

    def forward(self, given: Tensor) -> Tensor:
        """(N, given) -> (N, width)."""
        found: Tensor = self.activation(self.linear(given))
        return found


class Norm(nn.Module):
    """A layer norm, under the name of sentence-transformers' state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.norm = nn.LayerNorm(width)

    def forward(self, given: Tensor) -> Tensor:
        """(N, width) -> (N, width)."""
        found: Tensor = self.norm(given)
        return found


def _greatest(states: Tensor, mask: Tensor) -> Tensor:
    return states.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(1)


def _by_root(states: Tensor, mask: Tensor) -> Tensor:
    """The sum over the root of the number of tokens."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).sqrt()


def _by_place(states: Tensor, mask: Tensor) -> Tensor:
    """The mean weighted by a token's place, from 1 on."""
    places = torch.arange(1, states.shape[1] + 1, device=states.device)
    weights = (mask * places).unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


POOLING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": first,
    "max": _greatest,
    "mean": mean,
    "mean_sqrt_len": _by_root,
    "weightedmean": _by_place,
    "lasttoken": last,
}


def _modes(values: dict[str, Any], where: str) -> list[str]:
    """What a Pooling's config.json asks for: one key of flags each, or one that names them."""
    named = values.get("pooling_mode")
    if named is not None:
        asked = [named] if isinstance(named, str) else list(named)
    else:
        asked = [mode for mode in MODES if values.get(FLAGS[mode])]
    unknown = [mode for mode in asked if mode not in MODES]
    if unknown or not asked:
        known = ", ".join(MODES)
        raise InputError(f"{where}: expected a way to pool ({known}), found {shown(unknown)}")
    return [mode for mode in MODES if mode in asked]


def _dense(values: dict[str, Any], width: int, where: str) -> Dense:
    given, wide = values.get("in_features"), values.get("out_features")
    if given != width or not isinstance(wide, int) or wide < 1:
        raise InputError(
            f"{where}: expected in_features {width} and a number out_features, found {given!r} "
            f"and {wide!r}"
        )
    name = str(values.get("activation_function", "Tanh")).rpartition(".")[2]
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise InputError(f"{where}: activation_function: expected one of {known}, found {name!r}")
    return Dense(width, wide, bool(values.get("bias", True)), getattr(nn, name)())


def _norm(values: dict[str, Any], width: int, where: str) -> Norm:
    if values.get("dimension") != width:
        raise InputError(f"{where}: expected dimension {width}, found {values.get('dimension')!r}")
    return Norm(width)


def _pour(module: nn.Module, folder: Path) -> None:
    safe = folder / WEIGHTS
    path = safe if safe.is_file() else folder / PICKLED
    pour(read_weights(path) if path == safe else read_checkpoint(path), module, path)


def _prefix(given: str | None, values: dict[str, Any]) -> str:
    if given is not None:
        return given
    prompts, name = values.get("prompts"), values.get("default_prompt_name")
    found = prompts.get(name) if isinstance(prompts, dict) else None
    return found if isinstance(found, str) else ""


def _place(folder: Path | None, name: str) -> str:
    return name if folder is None else str(folder / name)
