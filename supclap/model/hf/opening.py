"""A model of transformers out of a folder, and again out of its description alone.

Its weights are read by transformers itself, which knows the names of its own earlier versions; they
are refused unless every one that the encoder has is there. No code of a folder is ever run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from supclap.audio_library import torchaudio  # noqa: F401  transformers' own import would fail
from supclap.errors import InputError
from supclap.model.pretrained import CONFIG, listed
from supclap.model.registry import Source
from supclap.vision_library import mend_torchvision
from supclap.wording import gist, shown

Choose = Callable[[Any], Any]  # of a whole model the encoder, to be trained and kept
RATES = ("layerdrop", "drop_path_rate", "mask_time_prob", "mask_feature_prob")


def library() -> Any:
    """transformers. Seconds and hundreds of modules: only a run that asks for it pays for them."""
    mend_torchvision()
    import transformers

    return transformers


def description(content: bytes, where: str, kinds: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a config.json says.

    Args:
        kinds: the types of model that are wanted; none: any that transformers has.

    Raises:
        InputError: it is none, or that of a model that is not wanted or needs code of its own.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        raise InputError(f"{where}: is not JSON (truncated?)") from None
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kinds and kind not in kinds:
        expected = " or ".join(repr(one) for one in kinds)
        raise InputError(f"{where}: describes a model of type {kind!r}, expected {expected}")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        code = "; it brings code of its own, which is never run" if _brings_code(values) else ""
        raise InputError(f"{where}: describes a model of type {shown(kind)}, which {_ours()}{code}")
    return dict(values)


def quiet(values: dict[str, Any], dropout: float, where: str) -> Any:
    """A description as transformers has it, with this run's dropout and nothing else at random:
    no layer is dropped, and no frame is masked."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    # Precision is the run's own business.
    kept = {k: v for k, v in values.items() if k not in ("dtype", "torch_dtype", "auto_map")}
    try:
        config = CONFIG_MAPPING[kept["model_type"]].from_dict(kept)
        _still(config, dropout)
    except Exception as error:  # which ones, changes with the versions of transformers
        fault = gist(error)
    else:
        return config
    raise InputError(f"{where}: is no description of a {kept['model_type']}: {fault}")


def opened(config: Any, folder: Path, choose: Choose, auto: str = "AutoModel") -> nn.Module:
    """The encoder of the model in a folder, float32, on the CPU.

    Args:
        auto: the class of transformers that opens it.

    Raises:
        InputError: weights that are missing, of another shape, damaged, or that need code.
    """
    fault = ""
    with _in_silence(), torch.device("cpu"):  # weights of their own, also where shapes are wanted
        try:
            model, found = getattr(library(), auto).from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # named below
                dtype=torch.float32,
            )
        except Exception as error:
            fault = f"{folder}: cannot be opened (truncated? copy it again): {gist(error)}"
    if fault:
        raise InputError(fault)
    encoder = chosen(model, choose)
    ours = {id(value) for value in encoder.state_dict(keep_vars=True).values()}
    wanted = {n for n, v in model.state_dict(keep_vars=True).items() if id(v) in ours}
    other = {name: shapes for name, *shapes in found["mismatched_keys"]}
    faults = [
        listed("missing", sorted(found["missing_keys"] & wanted)),
        listed(
            "of another shape",
            [
                f"{n} {tuple(theirs)} for {tuple(mine)}"
                for n, (theirs, mine) in sorted(other.items())
                if n in wanted
            ],
        ),
    ]
    if any(faults):
        said = "; ".join(one for one in faults if one)
        raise InputError(f"{folder}: is not the model that its {CONFIG} describes: {said}")
    return encoder


def empty(config: Any, choose: Choose, auto: str = "AutoModel") -> nn.Module:
    """The same encoder with random weights: a saved model's own are poured in afterwards."""
    fault = ""
    with _in_silence():
        try:
            opens = getattr(library(), auto)
            made_of = opens.from_config if auto.startswith("Auto") else opens._from_config
            model = made_of(config, dtype=torch.float32)
        except Exception as error:
            fault = gist(error)
    if fault:
        raise InputError(f"{CONFIG}: is no description of a model: {fault}")
    return chosen(model, choose)


def made(config: Any, folder: Path | None, choose: Choose, auto: str = "AutoModel") -> nn.Module:
    """The encoder of a folder; without one, where a saved model is opened, an empty one."""
    if folder is None:
        return empty(config, choose, auto)
    return opened(config, folder, choose, auto)


def kept(source: Source, folder: Path | None, name: str) -> bytes:
    """A small file of a saved model, or of the folder that an encoder begins with.

    Raises InputError: it is not there, or cannot be read."""
    if folder is None:
        if name not in source.files:
            raise InputError(f"{name}: is missing from the model folder; copy it again")
        return source.files[name]
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise InputError(f"{folder / name}: cannot be read: {error.strerror or error}") from None


def chosen(model: Any, choose: Choose) -> nn.Module:
    """The encoder of a model, without a pooler that nothing trains."""
    encoder: nn.Module = choose(model)
    if isinstance(getattr(encoder, "pooler", None), nn.Module):
        encoder.pooler = None  # type: ignore[assignment]
    return encoder


def still_norms(module: nn.Module) -> None:
    """BatchNorm keeps to the statistics it came with: a clip's output does not depend on its
    neighbours, and several workers compute what one computes."""
    for one in module.modules():
        if isinstance(one, nn.modules.batchnorm._BatchNorm):
            one.eval()


def _still(config: Any, dropout: float) -> None:
    for name, value in config.to_dict().items():
        own = getattr(config, name, None)
        if isinstance(value, dict) and hasattr(own, "to_dict"):
            _still(own, dropout)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            if name == "apply_spec_augment":
                config.apply_spec_augment = False
        elif name in RATES or name.endswith("layerdrop"):
            setattr(config, name, 0.0)
        elif "dropout" in name or name == "dropout_rate":
            setattr(config, name, 0.0 if "activation" in name else dropout)


def _brings_code(values: Any) -> bool:
    return isinstance(values, dict) and "auto_map" in values


def _ours() -> str:
    return f"transformers {library().__version__} does not have"


@contextmanager
def _in_silence() -> Iterator[None]:
    """Without transformers' own reports and bars: what is amiss is said in one line."""
    from transformers.utils import logging

    before, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bar:
            logging.enable_progress_bar()
