"""Pretrained encoders as a configuration names them: the folder that each comes out of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supclap import registry
from supclap.config.values import FEATURES
from supclap.hub import as_place
from supclap.section import fault_of

# Pretrained encoders, each with the files of the folder that holds it and sets its sizes; weights
# that come in several forms are looked for where they are read.
PRETRAINED = {
    "ced": ("config.json", "model.safetensors"),
    "sonar": ("config.json", "model.safetensors", "tokenizer.json"),
    "huggingface": ("config.json",),
    "sentence_transformers": ("modules.json",),
}
_FROM_SCRATCH = ("cnn", "transformer")


def missing_from(encoder: str, folder: Path) -> str | None:
    """What a pretrained encoder's folder lacks, and what to do; None where it can be read."""
    names = PRETRAINED.get(encoder, ())
    missing = [name for name in names if not (folder / name).is_file()]
    if not missing or (encoder == "ced" and original_checkpoint(folder) is not None):
        return None
    remedy = f"{encoder} needs {', '.join(names)}"
    if encoder == "ced":
        remedy += ", or one .pt file, the original's"
    if missing == ["tokenizer.json"] and (folder / "sentencepiece.bpe.model").is_file():
        remedy = "make it, once, of the sentencepiece.bpe.model that is there: "
        remedy += f"python -m supclap.model.nllb {folder}"
    return f"{folder} has no {missing[0]}; {remedy} (docs/models.md)"


def original_checkpoint(folder: Path) -> Path | None:
    """The one .pt file of a folder: CED's original checkpoints come as such."""
    found = [path for path in folder.glob("*.pt") if path.is_file()]
    return found[0] if len(found) == 1 else None


def is_pretrained(kind: str, name: str) -> bool:
    """Whether a built-in encoder's weights and sizes come out of a folder."""
    return name in PRETRAINED and name in registry.BUILT_IN[kind]


def placed(kind: str, values: Any) -> Any:
    """A pretrained encoder's values with its place, and without the sizes that its folder sets.

    These are set aside rather than refused: a profile lays its encoder over a base whose own, from
    scratch, has sizes. ``repo: NAME@REVISION`` becomes a folder (`supclap.hub`). Features, which
    have no weights, are frozen.
    """
    if not isinstance(values, Mapping):
        return values
    sizes = ("width", "layers", "vocabulary")
    if values.get("name") == FEATURES:
        return {"freeze": True} | {k: v for k, v in values.items() if k not in sizes}
    if not is_pretrained(kind, str(values.get("name"))):
        return values
    placed = {k: v for k, v in values.items() if k not in (*sizes, "repo")}
    repo = values.get("repo")
    if repo is not None:
        if placed.get("folder") is not None:
            both = "'folder' and 'repo' both say where the model lies; give one of them"
            raise fault_of("repo", both, repo)
        try:
            placed["folder"] = as_place(str(repo))
        except ValueError as error:
            raise fault_of("repo", str(error), repo) from None
    return placed


def check_folder(kind: str, name: str, folder: str | None) -> None:
    """An encoder that somebody else registered may do with a folder as it likes."""
    if is_pretrained(kind, name) and folder is None:
        raise ValueError(
            f"{name} needs 'folder', where the pretrained model lies, or 'repo', NAME@REVISION"
        )
    if name in (*_FROM_SCRATCH, FEATURES) and folder is not None:
        names = [one for one in registry.BUILT_IN[kind] if one in PRETRAINED]
        raise ValueError(f"'folder' goes with {' or '.join(names)}, not with {name}")
